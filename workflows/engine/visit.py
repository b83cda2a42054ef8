"""The stages of a visit to one state, as pure functions: the core that all else is built on.

A visit goes: input → InputPath → Parameters → (the work itself, elsewhere) → ResultSelector →
ResultPath → OutputPath, with Assign beside it; a failure is retried, caught, or ends the state.
A live execution meets the stages one at a time; `teststate.visit` goes through all at once.

Source: https://docs.aws.amazon.com/step-functions/latest/dg/concepts-input-output-filtering.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from workflows.engine.choices import to_timestamp
from workflows.engine.definition import (
    ChoiceState,
    FailState,
    MapState,
    ParallelState,
    PassState,
    State,
    TaskState,
    WaitState,
)
from workflows.engine.errors import (
    DATA_LIMIT_EXCEEDED,
    RESULT_PATH_MATCH_FAILURE,
    RUNTIME,
    StateFailure,
)
from workflows.engine.jsontext import MISSING, Json, encode
from workflows.engine.paths import Path, Scope, put
from workflows.engine.retries import choose_catcher, choose_retry
from workflows.engine.templates import Expression, Template, evaluate, fill


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The work's outcome: its result."""

    result: Json


@dataclass(frozen=True, slots=True)
class Failed:
    """The work's outcome: an error, which may have no name."""

    error: str | None
    cause: str | None = None


Outcome = Succeeded | Failed


@dataclass(frozen=True, slots=True)
class Exit:
    """How a state is left.

    Attributes:
        output: What goes on.
        next: Where to; None ends the machine or branch.
        assigned: The variables that change.
    """

    output: Json
    next: str | None
    assigned: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Backoff:
    """A retry: which retrier, and how long until then."""

    retrier: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Caught:
    """A catcher took the error."""

    catcher: int
    exit: Exit


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """What a Task state asks for."""

    parameters: Json
    timeout_seconds: int | None
    heartbeat_seconds: int | None
    role_arn: str | None


@dataclass(frozen=True, slots=True)
class MapRequest:
    """What a Map state asks for; `max_concurrency` 0 is as many as there are."""

    items: Sequence[Json]
    max_concurrency: int


MOST: Final = 99_999_999
"""The largest number of seconds, or of iterations at once."""

_DIGITS: Final = re.compile(r"[0-9]{1,9}")

Trace = dict[str, Json]
"""Inspection data as it comes up: TestState's names to values."""


def effective_input(state: State, scope: Scope, trace: Trace | None = None) -> Json:
    """Apply InputPath.

    Raises:
        StateFailure: it selects nothing.
    """
    selected = _select(state.input_path, scope)
    if trace is not None:
        trace["afterInputPath"] = selected
    return selected


def request_task(state: TaskState, scope: Scope, trace: Trace | None = None) -> TaskRequest:
    """Work out what a Task calls with.

    Raises:
        StateFailure: a path selects nothing or no number.
    """
    here = scope.on(effective_input(state, scope, trace))
    parameters = here.data if state.parameters is None else fill(state.parameters, here)
    if trace is not None:
        trace["afterParameters"] = parameters
    credentials = {} if state.credentials is None else fill(state.credentials, here)
    return TaskRequest(
        parameters,
        _number(state.timeout_seconds, here, "TimeoutSecondsPath", least=1),
        _number(state.heartbeat_seconds, here, "HeartbeatSecondsPath", least=1),
        credentials.get("RoleArn"),
    )


def request_map(state: MapState, scope: Scope, trace: Trace | None = None) -> MapRequest:
    """Work out the items of a Map.

    Raises:
        StateFailure: ItemsPath selects no array, or MaxConcurrencyPath no number.
    """
    here = scope.on(effective_input(state, scope, trace))
    items = _select(state.items_path, here)
    if not isinstance(items, list):
        raise StateFailure(
            RUNTIME,
            f'Reference path "{state.items_path.text if state.items_path else "null"}" must '
            "point to array.",
        )
    if trace is not None:
        trace["afterItemsPath"] = items
    concurrency = _number(state.max_concurrency, here, "MaxConcurrencyPath", least=0)
    return MapRequest(items, concurrency or 0)


def item_input(state: MapState, scope: Scope, item: Json) -> Json:
    """Work out the input of one iteration; `scope`'s context tells the item.

    Raises:
        StateFailure: a path in ItemSelector selects nothing.
    """
    if state.parameters is None:
        return item
    return fill(state.parameters, scope.on(effective_input(state, scope)))


def branch_input(state: ParallelState, scope: Scope, trace: Trace | None = None) -> Json:
    """Work out the input of every branch.

    Raises:
        StateFailure: a path in Parameters selects nothing.
    """
    data = effective_input(state, scope, trace)
    if state.parameters is None:
        return data
    filled = fill(state.parameters, scope.on(data))
    if trace is not None:
        trace["afterParameters"] = filled
    return filled


def wait_until(state: WaitState, scope: Scope, entered_at: datetime) -> datetime:
    """Return when a Wait is over.

    Raises:
        StateFailure: a path selects nothing, no whole number or no timestamp.
    """
    here = scope.on(effective_input(state, scope))
    if state.seconds is not None:
        given = state.seconds
        seconds = _wait_seconds(given, here) if isinstance(given, Path) else given
        return entered_at + timedelta(seconds=seconds)
    if isinstance(state.timestamp, datetime):
        return state.timestamp
    assert state.timestamp is not None  # noqa: S101 - a Wait has one of its four forms
    value = _select(state.timestamp, here)
    moment = to_timestamp(value)
    if moment is None:
        raise StateFailure(
            RUNTIME,
            "The TimestampPath parameter does not reference a valid ISO-8601 extended offset "
            f"date-time format string: {state.timestamp.text} == {_plain(value)}",
            bare=True,
        )
    return moment


def failure_of(state: FailState, scope: Scope) -> Failed:
    """Return the error that a Fail state raises.

    Raises:
        StateFailure: a path selects nothing.
    """
    return Failed(_words(state.error, scope, "ErrorPath"), _words(state.cause, scope, "CausePath"))


def leave_simply(state: State, scope: Scope, trace: Trace | None = None) -> Exit:
    """Leave a state that does no work of its own: Pass, Succeed, Wait or Choice.

    Raises:
        StateFailure: a path selects nothing, or no choice rule holds and there is no Default.
    """
    data = effective_input(state, scope, trace)
    here = scope.on(data)
    if isinstance(state, PassState):
        result = data
        if state.parameters is not None:
            result = fill(state.parameters, here)
        if state.result is not None:
            result = fill(state.result, here)
        return _exit(state, scope, result, state.result_path, trace)
    assign, following = state.assign, state.next
    if isinstance(state, ChoiceState):
        rule = next((rule for rule in state.rules if rule.test.holds(here)), None)
        if rule is not None:
            assign, following = rule.assign, rule.next
        elif following is None:
            raise StateFailure(
                RUNTIME,
                "Failed to transition out of the state. The state does not point to a next state.",
            )
    output = _select(state.output_path, here)
    return Exit(output, following, _assigned(assign, here))


def leave_with(
    state: TaskState | ParallelState | MapState,
    scope: Scope,
    result: Json,
    trace: Trace | None = None,
) -> Exit:
    """Leave a state whose work brought `result`.

    Raises:
        StateFailure: a path selects nothing, or ResultPath fits nowhere.
    """
    if trace is not None:
        trace["result"] = result
    assigned = _assigned(state.assign, scope.on(result))
    if state.result_selector is not None:
        result = fill(state.result_selector, scope.on(result))
    if trace is not None:
        trace["afterResultSelector"] = result
    return _exit(state, scope, result, state.result_path, trace, assigned)


def settle_failure(
    state: State, scope: Scope, failed: Failed, retries: Sequence[int]
) -> Backoff | Caught | None:
    """Say what becomes of a failure: a retry, the way of a catcher, or None for the state's end.

    Args:
        state: The state that failed.
        scope: What it sees; its seed decides the jitter.
        failed: The error.
        retries: How often each retrier of the state was used during this visit.

    Raises:
        StateFailure: the catcher's ResultPath fits nowhere or its Assign selects nothing.
    """
    if not isinstance(state, TaskState | ParallelState | MapState):
        return None
    retry = choose_retry(state.retry, failed.error, retries, scope.seed)
    if retry is not None:
        return Backoff(*retry)
    index = choose_catcher(state.catch, failed.error)
    if index is None:
        return None
    catcher = state.catch[index]
    told = {"Error": failed.error, "Cause": failed.cause}
    output = _place(catcher.result_path, scope.data, told)
    return Caught(index, Exit(output, catcher.next, _assigned(catcher.assign, scope.on(told))))


def too_large(who: str) -> Failed:
    """Return the error for a value of more than 256 KiB."""
    return Failed(
        DATA_LIMIT_EXCEEDED,
        f"The state/task '{who}' returned a result with a size exceeding the maximum number of "
        "bytes service limit.",
    )


# --- pieces -------------------------------------------------------------------------------------


def _exit(
    state: State,
    scope: Scope,
    result: Json,
    result_path: Path | None,
    trace: Trace | None,
    assigned: Mapping[str, Json] | None = None,
) -> Exit:
    if assigned is None:
        assigned = _assigned(state.assign, scope.on(result))
    placed = _place(result_path, scope.data, result)
    if trace is not None:
        trace["afterResultPath"] = placed
    output = _select(state.output_path, scope.on(placed))
    return Exit(output, state.next, assigned)


_NOTHING_ASSIGNED: Final[Mapping[str, Json]] = {}


def _assigned(template: Template | None, scope: Scope) -> Mapping[str, Json]:
    if template is None:
        return _NOTHING_ASSIGNED
    filled: Mapping[str, Json] = fill(template, scope)
    return filled


def _place(path: Path | None, document: Json, result: Json) -> Json:
    if path is None:
        return document
    try:
        return put(path.keys, document, result)
    except LookupError as error:
        raise StateFailure(
            RESULT_PATH_MATCH_FAILURE,
            f"Unable to apply ResultPath '{path.text}' to the input '{encode(document)}': {error}",
        ) from error


def _select(path: Path | None, scope: Scope) -> Json:
    if path is None:
        return {}
    value = path.find(scope)
    if value is MISSING:
        reason = path.explain_missing(path.root_in(scope))
        raise StateFailure(RUNTIME, f"Invalid path '{path.text}' : {reason}")
    return value


def _number(value: int | Path | None, scope: Scope, name: str, *, least: int) -> int | None:
    """Return a whole number; AWS also takes one that is written as a string."""
    if not isinstance(value, Path):
        return value
    found = _select(value, scope)
    number = int(found) if isinstance(found, str) and _DIGITS.fullmatch(found) else found
    if isinstance(number, bool) or not isinstance(number, int) or not least <= number <= MOST:
        raise StateFailure(
            RUNTIME,
            f"The {name} parameter does not reference an integer of {least} to {MOST}: "
            f"{value.text} == {encode(found)}",
        )
    return number


def _wait_seconds(path: Path, scope: Scope) -> int:
    """Return a Wait's seconds; its refusals read as AWS's do, without the state's name."""
    found = path.find(scope)
    if found is MISSING:
        words = f"does not reference an input value: {path.text}"
    elif isinstance(found, bool) or not isinstance(found, int) or found > MOST:
        words = f"cannot be parsed as a long value: {path.text} == {_plain(found)}"
    elif found < 0:
        words = f"references a negative value: {path.text} == {found}"
    else:
        return found
    raise StateFailure(RUNTIME, f"The SecondsPath parameter {words}", bare=True)


def _plain(value: Json) -> str:
    return value if isinstance(value, str) else encode(value)


def _words(value: str | Expression | None, scope: Scope, name: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    found = evaluate(value, scope, field=name)
    if not isinstance(found, str):
        raise StateFailure(
            RUNTIME, f"The {name} parameter does not reference a string: {encode(found)}"
        )
    return found
