"""The parts that our machines are made of: Lambda-backed Tasks with their Retry and Catch lists.

Error names come from `atelier.contracts.errors`; none is typed here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from atelier.contracts import errors
from workflows.machines.sdk import Catch, Retry, State, Task

INVOKE = "arn:aws:states:::lambda:invoke"
INVOKE_AND_WAIT = f"{INVOKE}.waitForTaskToken"
EXECUTION_NAME = "$$.Execution.Name"
TOKEN = "$$.Task.Token"  # noqa: S105 - a path to it, not a secret
ERROR = "$.error"
"""Where a caught error is put: `{"Error": …, "Cause": …}` beside the data, which is kept."""

Fields = Mapping[str, Any]


def payload(**fields: str) -> dict[str, str]:
    """Return a payload template: each field by its path."""
    return {f"{name}.$": path for name, path in fields.items()}


def invoke(
    name: str,
    *,
    function: str,
    given: Fields,
    timeout_seconds: int,
    comment: str,
    returns: Sequence[str] = (),
    result_path: str | None,
    retry: Sequence[Retry],
) -> Task:
    """Return a state that calls a task's function and waits for its answer.

    Args:
        name: of the state.
        function: name in `asl.FUNCTIONS`; written as a placeholder that the platform fills in.
        given: template of what the function is given.
        timeout_seconds: after this the state fails with States.Timeout.
        comment: why the state is there.
        returns: fields of the function's result that are kept; one that is missing fails the
            state in place, because then a contract is broken.
        result_path: where they are kept; None drops the result and keeps the data.
        retry: retriers.
    """
    selector = payload(**{field: f"$.Payload.{field}" for field in returns})
    return Task(
        name,
        comment=comment,
        resource=INVOKE,
        parameters=_call(function, given),
        timeout_seconds=timeout_seconds,
        **({"result_selector": selector} if selector else {}),
        result_path=result_path,
        retry=list(retry),
    )


def invoke_and_wait(
    name: str,
    *,
    function: str,
    given: Fields,
    timeout_seconds_path: str,
    comment: str,
    returns: Sequence[str],
    result_path: str,
    retry: Sequence[Retry],
) -> Task:
    """Return a state that hands its token to a function and goes on when somebody completes it.

    The result is what SendTaskSuccess carries, not the function's answer; otherwise as `invoke`.
    """
    return Task(
        name,
        comment=comment,
        resource=INVOKE_AND_WAIT,
        parameters=_call(function, given),
        timeout_seconds_path=timeout_seconds_path,
        result_selector=payload(**{field: f"$.{field}" for field in returns}),
        result_path=result_path,
        retry=list(retry),
    )


def retriers() -> list[Retry]:
    """Return a retrier for each policy of the error tree: what passes by itself is waited for."""
    return [_retrier(names, policy) for names, policy in errors.retriers()]


def quick_retriers() -> list[Retry]:
    """Return only the retriers that give up within a minute or two: for best effort."""
    return [
        _retrier(names, policy) for names, policy in errors.retriers() if policy == errors.QUICK
    ]


def catch_final(then: State, *, also: Sequence[str] = ()) -> list[Catch]:
    """Return the catcher of everything that ends an onboarding for good."""
    return [
        Catch(error_equals=[*errors.final_error_names(), *also], result_path=ERROR, next_step=then)
    ]


def catch_everything(then: State) -> list[Catch]:
    """Return catchers for a state whose failure must not matter.

    States.ALL leaves out States.DataLimitExceeded, so that has a catcher of its own
    (https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html).
    """
    return [
        Catch(error_equals=[name], result_path=ERROR, next_step=then)
        for name in ("States.DataLimitExceeded", "States.ALL")
    ]


def _call(function: str, given: Fields) -> dict[str, Any]:
    return {"FunctionName": f"${{{function}Function}}", "Payload": dict(given)}


def _retrier(names: Sequence[str], policy: errors.RetryPolicy) -> Retry:
    return Retry(
        error_equals=list(names),
        interval_seconds=policy.interval_seconds,
        max_attempts=policy.max_attempts,
        backoff_rate=policy.backoff_rate,
        max_delay_seconds=policy.max_delay_seconds,
        jitter_strategy="FULL",
    )
