"""Lambda-backed tasks at the host's edge: from a Task's parameters to a call, and back.

`TaskRunner` is the port: the local platform runs a function's code behind it. What a function
returns is wrapped here as Step Functions' optimised integration wraps it.

Source: https://docs.aws.amazon.com/step-functions/latest/dg/connect-lambda.html
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

from workflows.engine.definition import Pattern, Resource
from workflows.engine.errors import told_cause, told_error
from workflows.engine.happenings import Happening, StartTask, TaskErred, TaskReturned
from workflows.engine.jsontext import Json, copied, encode


@dataclass(frozen=True, slots=True)
class TaskCall:
    """One call of a function.

    Attributes:
        id: Names the attempt; the same when it is issued again after a crash.
        function: The function's name or ARN, as the definition says after substitution.
        payload: What it is called with: a copy, free to be changed.
        execution_arn: For whom.
        state: The Task state's name.
        retry_count: How often the state was retried before.
        token: The task token, when the task is to be answered by callback.
    """

    id: str
    function: str
    payload: Json
    execution_arn: str
    state: str
    retry_count: int
    token: str | None


@dataclass(frozen=True, slots=True)
class TaskSuccess:
    """The function returned `payload`."""

    payload: Json


@dataclass(frozen=True, slots=True)
class TaskFailure:
    """The function failed: `error` is what Retry and Catch match."""

    error: str
    cause: str = ""


TaskOutcome: TypeAlias = TaskSuccess | TaskFailure
Report: TypeAlias = Callable[[TaskOutcome], None]
"""Tells the engine an outcome, from any thread, inline too; the first one counts."""


class TaskRunnerClosed(Exception):
    """Raised by a runner that is shutting down: the next process issues the call again."""


class TaskRunner(Protocol):
    """Runs functions for the engine."""

    def start(self, call: TaskCall, report: Report) -> None:
        """Begin a call and return at once; `report` its outcome whenever it is there.

        Raises:
            TaskRunnerClosed: the process is ending; the call stays open until `recover`.
        """
        ...

    def cancel(self, call_id: str) -> None:
        """Nobody waits for this call any more; ending it is a courtesy."""
        ...


_PARAMETERS: Final = frozenset({"FunctionName", "Payload", "Qualifier", "InvocationType"})


def is_lambda(resource: Resource) -> bool:
    """Say whether a Task's resource is a call of a function, with or without callback."""
    return resource.service == "lambda" and resource.pattern is not Pattern.RUN_A_JOB


def call_of(execution_arn: str, begun: StartTask) -> TaskCall:
    """Return the call that a task attempt makes.

    Raises:
        ValueError: its parameters are none that a function can be called with here.
    """
    resource, parameters = begun.resource, begun.parameters
    if resource.direct:
        function, payload = resource.arn, parameters
    else:
        unknown = sorted(set(parameters) - _PARAMETERS)
        if unknown or parameters.get("InvocationType", "RequestResponse") != "RequestResponse":
            raise ValueError(
                "lambda:invoke takes FunctionName and Payload here, with InvocationType "
                f"RequestResponse, not {unknown or parameters['InvocationType']}"
            )
        function, payload = parameters["FunctionName"], parameters.get("Payload", {})
    if not isinstance(function, str) or not function:
        raise ValueError(f"FunctionName is a name or an ARN, not {encode(function)}")
    return TaskCall(
        id=f"{execution_arn}#{begun.attempt}",
        function=function,
        payload=copied(payload),
        execution_arn=execution_arn,
        state=begun.state,
        retry_count=begun.retry_count,
        token=begun.token if resource.pattern is Pattern.CALLBACK else None,
    )


def happening_of(call: TaskCall, begun: StartTask, outcome: TaskOutcome) -> Happening:
    """Return what an outcome means for the execution; the payload is copied by way of its JSON."""
    if isinstance(outcome, TaskFailure):
        return TaskErred(begun.attempt, told_error(outcome.error), told_cause(outcome.cause))
    try:
        payload = copied(outcome.payload)
    except (ValueError, TypeError, RecursionError) as error:
        return TaskErred(begun.attempt, "Runtime.MarshalError", f"The result is no JSON: {error}")
    return TaskReturned(begun.attempt, result_of(call, begun.resource, payload))


def result_of(call: TaskCall, resource: Resource, payload: Json) -> Json:
    """Return the task's result for what the function returned: wrapped, unless called directly."""
    if resource.direct:
        return payload
    request_id = str(uuid.UUID(bytes=hashlib.sha256(call.id.encode()).digest()[:16], version=4))
    headers: dict[str, Any] = {
        "Content-Type": "application/json",
        "X-Amz-Executed-Version": "$LATEST",
        "x-amzn-RequestId": request_id,
    }
    return {
        "ExecutedVersion": "$LATEST",
        "Payload": payload,
        "SdkHttpMetadata": {
            "AllHttpHeaders": {name: [value] for name, value in headers.items()},
            "HttpHeaders": headers,
            "HttpStatusCode": 200,
        },
        "SdkResponseMetadata": {"RequestId": request_id},
        "StatusCode": 200,
    }
