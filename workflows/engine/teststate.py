"""A whole visit to one state as one pure function, shaped like AWS's TestState.

(state, what it sees, the outcome of its work, retries so far) → what the visit came to, with the
data after each stage. Stepping, replay and AWS's own TestState can be held against it.

Source: https://docs.aws.amazon.com/step-functions/latest/apireference/API_TestState.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from workflows.engine.definition import FailState, MapState, ParallelState, State, TaskState
from workflows.engine.errors import StateFailure
from workflows.engine.jsontext import Json
from workflows.engine.paths import Scope
from workflows.engine.visit import (
    Backoff,
    Caught,
    Exit,
    Failed,
    Outcome,
    Succeeded,
    Trace,
    branch_input,
    failure_of,
    leave_simply,
    leave_with,
    request_map,
    request_task,
    settle_failure,
)


class Status(StrEnum):
    """How a visit ends, in TestState's words."""

    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    RETRIABLE = "RETRIABLE"
    CAUGHT_ERROR = "CAUGHT_ERROR"


@dataclass(frozen=True, slots=True)
class Report:
    """What one visit came to.

    Attributes:
        status: How it ended.
        output: What goes on, when something does.
        next: Where to.
        assigned: The variables that change.
        error: The error's name, when there was one.
        cause: Its cause.
        backoff: The retry, when there is to be one.
        inspection: The data after each stage, under TestState's names.
    """

    status: Status
    output: Json = None
    next: str | None = None
    assigned: Mapping[str, Json] = field(default_factory=dict)
    error: str | None = None
    cause: str | None = None
    backoff: Backoff | None = None
    inspection: Mapping[str, Json] = field(default_factory=dict)


def visit(
    state: State, scope: Scope, outcome: Outcome | None, retries: Sequence[int] = ()
) -> Report:
    """Visit a state once.

    Args:
        state: The state.
        scope: Its input (as `data`), the variables, the context object and the seed.
        outcome: What the work of a Task, Parallel or Map came to; None for the other types.
        retries: How often each retrier was used before.
    """
    trace: Trace = {"input": scope.data}
    try:
        failed = outcome if isinstance(outcome, Failed) else None
        if isinstance(state, FailState):
            failed = failure_of(state, scope)
        elif isinstance(state, TaskState | ParallelState | MapState):
            _REQUESTS[type(state)](state, scope, trace)
            if isinstance(outcome, Succeeded):
                return _reported(leave_with(state, scope, outcome.result, trace), trace)
            if failed is None:
                raise TypeError(f"a visit to the {type(state).__name__} needs its work's outcome")
        else:
            return _reported(leave_simply(state, scope, trace), trace)
    except StateFailure as failure:
        failed = Failed(failure.error, failure.cause)
    assert failed is not None  # noqa: S101 - every other way has returned
    settled = settle_failure(state, scope, failed, retries)
    if isinstance(settled, Backoff):
        trace["errorDetails"] = {
            "retryIndex": settled.retrier,
            "retryBackoffIntervalSeconds": settled.seconds,
        }
        return _told(Report(Status.RETRIABLE, backoff=settled, inspection=trace), failed)
    if isinstance(settled, Caught):
        trace["errorDetails"] = {"catchIndex": settled.catcher}
        way = settled.exit
        caught = Report(Status.CAUGHT_ERROR, way.output, way.next, way.assigned, inspection=trace)
        return _told(caught, failed)
    return _told(Report(Status.FAILED, inspection=trace), failed)


_REQUESTS: Final[Mapping[type, Callable[..., object]]] = {
    TaskState: request_task,
    ParallelState: branch_input,
    MapState: request_map,
}


def _told(report: Report, failed: Failed) -> Report:
    return replace(report, error=failed.error, cause=failed.cause)


def _reported(way: Exit, trace: Trace) -> Report:
    return Report(Status.SUCCEEDED, way.output, way.next, way.assigned, inspection=trace)
