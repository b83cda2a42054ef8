"""An execution as a fold: (what happened so far, a happening) → (new events, effects as data).

`Execution.advance` is the only way in. It reads no clock, does no input or output and draws no
randomness but from seeds, so the same happenings at the same times give the same history: live,
after a crash, and in replay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from workflows.engine import redrive
from workflows.engine.definition import Machine
from workflows.engine.errors import HEARTBEAT_TIMEOUT, RUNTIME, TIMEOUT
from workflows.engine.fold import Closing, ExecutionStatus, Facts, Fold
from workflows.engine.happenings import (
    Abandoned,
    CallbackFailed,
    CallbackSucceeded,
    Effect,
    Happening,
    Heartbeat,
    Purpose,
    Redriven,
    Started,
    Stopped,
    TaskErred,
    TaskLapsed,
    TaskReturned,
    TimerFired,
)
from workflows.engine.history import EVENT_LIMIT, NOT_TRUNCATED, HistoryEvent, error_details
from workflows.engine.recorder import HistoryFull
from workflows.engine.visit import Failed

__all__ = ["Closing", "Execution", "ExecutionStatus", "Facts", "Step"]


@dataclass(frozen=True, slots=True)
class Step:
    """What one happening came to.

    Attributes:
        at: When it happened.
        happening: What happened.
        events: The events it added to the history.
        effects: What is to be done once they are stored.
        closing: The execution's end, if this was it.
    """

    at: datetime
    happening: Happening
    events: tuple[HistoryEvent, ...]
    effects: tuple[Effect, ...]
    closing: Closing | None


class Execution:
    """One execution, folded happening by happening."""

    def __init__(self, facts: Facts, machine: Machine, *, token_key: bytes) -> None:
        self._fold = Fold(facts, machine, token_key=token_key)

    def advance(self, happening: Happening, at: datetime) -> Step:
        """Take in one happening.

        Time never goes back within an execution: a clock that was set back counts as standing.
        What comes late, for an attempt or timer that is no longer awaited, changes nothing.
        """
        fold = self._fold
        fold.at = fold.recorder.at = max(at, fold.at)
        if fold.closing is None or _takes_back(happening, fold):
            try:
                _HANDLERS[type(happening)](fold, happening)
                fold.run()
            except HistoryFull:
                fold.close_failed(_HISTORY_FULL, fold.recorder.count)
        events = fold.recorder.collect()
        return Step(fold.at, happening, events, fold.collect_effects(), fold.closing)

    def awaits_attempt(self, attempt: int) -> bool:
        """Say whether a task attempt still has no outcome."""
        return attempt in self._fold.attempts

    def awaits_timer(self, timer: int) -> bool:
        """Say whether a timer is still armed."""
        return timer in self._fold.timers

    def pending(self) -> tuple[Effect, ...]:
        """Return what has to be done again after a crash: tasks without answer, armed timers."""
        return (*self._fold.attempts.unanswered(), *self._fold.timers.pending())


_HISTORY_FULL: Final = Failed(
    RUNTIME, f"The execution reached the maximum number of history events ({EVENT_LIMIT})."
)


def _start(fold: Fold, _happening: Started) -> None:
    told = {
        "input": fold.recorder.text(fold.facts.input),
        "inputDetails": NOT_TRUNCATED,
        "roleArn": fold.facts.role_arn,
    }
    # The first state's event follows 0, not this one: AWS numbers it so.
    fold.recorder.write("ExecutionStarted", 0, told)
    fold.arm_timeout()
    fold.enter_later(fold.root, fold.root.machine.start_at, fold.facts.input)


def _stop(fold: Fold, happening: Stopped) -> None:
    told = error_details(happening.error, happening.cause)
    fold.recorder.write("ExecutionAborted", 0, told)
    closing = Closing(ExecutionStatus.ABORTED, error=happening.error, cause=happening.cause)
    fold.close(closing)


def _takes_back(happening: Happening, fold: Fold) -> bool:
    """Say whether an ended execution goes on: a redrive that comes twice does so once."""
    return (
        isinstance(happening, Redriven)
        and happening.count == fold.redrives + 1
        and fold.closing is not None
        and fold.closing.status is not ExecutionStatus.SUCCEEDED
    )


def _redrive(fold: Fold, happening: Redriven) -> None:
    if fold.closing is not None:
        redrive.go_on(fold, happening.count)


def _fire(fold: Fold, happening: TimerFired) -> None:
    timer = fold.timers.fire(happening.timer)
    if timer is None:
        return
    visit = timer.visit
    if visit is None:
        fold.recorder.write("ExecutionTimedOut", 0, {"error": TIMEOUT})
        fold.close(Closing(ExecutionStatus.TIMED_OUT))
    elif timer.purpose is Purpose.WAIT:
        fold.finish_wait(visit)
    elif timer.purpose is Purpose.RETRY:
        fold.begin(visit)
    elif visit.attempt is not None:
        silent = timer.purpose is Purpose.HEARTBEAT
        error = HEARTBEAT_TIMEOUT if silent else TIMEOUT
        fold.attempts.lapsed(visit.attempt.request.attempt, error)


_HANDLERS: Final[Mapping[type, Callable[[Fold, Any], None]]] = {
    Started: _start,
    Stopped: _stop,
    Redriven: _redrive,
    TimerFired: _fire,
    TaskReturned: lambda fold, told: fold.attempts.returned(told.attempt, told.output),
    TaskErred: lambda fold, told: fold.attempts.failed(told.attempt, told.error, told.cause),
    TaskLapsed: lambda fold, told: fold.attempts.lapsed(told.attempt, told.error, told.cause),
    CallbackSucceeded: lambda fold, told: fold.attempts.succeeded(told.attempt, told.output),
    CallbackFailed: lambda fold, told: fold.attempts.failed(told.attempt, told.error, told.cause),
    Heartbeat: lambda fold, told: fold.attempts.heard_of(told.attempt),
    Abandoned: lambda fold, told: fold.close_failed(
        Failed(RUNTIME, told.cause), fold.recorder.count
    ),
}
