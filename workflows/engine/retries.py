"""Which errors Retry and Catch match, and how long a retry waits.

Source: https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

from workflows.engine.definition import Catcher, Retrier
from workflows.engine.errors import (
    ALL,
    DATA_LIMIT_EXCEEDED,
    HEARTBEAT_TIMEOUT,
    RUNTIME,
    TASK_FAILED,
    TIMEOUT,
)

LONGEST_DELAY_SECONDS: Final = 31_622_400.0
"""No delay is longer than the longest MaxDelaySeconds, a year."""

_BY_NAME_ONLY: Final = frozenset({DATA_LIMIT_EXCEEDED})


def matches(listed: Sequence[str], error: str | None) -> bool:
    """Say whether ErrorEquals `listed` takes `error`.

    States.Runtime is never taken. States.ALL takes the rest but States.DataLimitExceeded;
    States.TaskFailed also leaves States.Timeout; States.Timeout takes a heartbeat's lapse too.
    """
    if error == RUNTIME:
        return False
    if error in listed:
        return True
    if error in _BY_NAME_ONLY:
        return False
    if ALL in listed or (TASK_FAILED in listed and error != TIMEOUT):
        return True
    return error == HEARTBEAT_TIMEOUT and TIMEOUT in listed


def choose_retry(
    retriers: Sequence[Retrier], error: str | None, retries: Sequence[int], seed: str
) -> tuple[int, float] | None:
    """Return the retrier that takes `error` and the delay in seconds; None for no retry.

    delay(n) = min(IntervalSeconds · BackoffRate^(n-1), MaxDelaySeconds) for the n-th use of a
    retrier; FULL jitter draws uniformly from 0…delay(n). Only the first retrier that matches
    counts: once its attempts are used up, the later ones are not asked.

    Args:
        retriers: The state's Retry.
        error: The error's name.
        retries: How often each retrier was used during this visit.
        seed: What the jitter is drawn from.
    """
    for index, retrier in enumerate(retriers):
        if matches(retrier.errors, error):
            used = retries[index] if index < len(retries) else 0
            if used >= retrier.max_attempts:
                return None
            seconds = _delay_seconds(retrier, used)
            if retrier.full_jitter:
                seconds = Random(f"{seed}/{index}/{used}").uniform(0, seconds)  # noqa: S311
            return index, seconds
    return None


def choose_catcher(catchers: Sequence[Catcher], error: str | None) -> int | None:
    """Return the first catcher that takes `error`; None when none does."""
    return next(
        (index for index, catcher in enumerate(catchers) if matches(catcher.errors, error)), None
    )


def _delay_seconds(retrier: Retrier, used: int) -> float:
    longest = min(retrier.max_delay_seconds or LONGEST_DELAY_SECONDS, LONGEST_DELAY_SECONDS)
    try:
        return min(retrier.interval_seconds * retrier.backoff_rate**used, longest)
    except OverflowError:
        return longest
