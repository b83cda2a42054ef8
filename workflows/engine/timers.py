"""The timers of one execution: numbered, armed, forgotten."""

from __future__ import annotations

from datetime import datetime

from workflows.engine.branches import Timer, Visit
from workflows.engine.happenings import Effect, Purpose, SetTimer


class Timers:
    """What an execution waits for in time.

    Args:
        effects: Where arming is asked for.
    """

    def __init__(self, effects: list[Effect]) -> None:
        self._effects = effects
        self._armed: dict[int, Timer] = {}
        self._made = 0

    def __contains__(self, number: int) -> bool:
        return number in self._armed

    def arm(self, purpose: Purpose, due: datetime, visit: Visit | None) -> int:
        """Ask for a timer and return its number."""
        self._made += 1
        self._armed[self._made] = Timer(due, purpose, visit)
        self._effects.append(SetTimer(self._made, due, purpose))
        return self._made

    def fire(self, number: int) -> Timer | None:
        """Take a timer that is due; None when nobody waits for it any more."""
        return self._armed.pop(number, None)

    def forget(self, number: int | None) -> None:
        """Wait for a timer no longer."""
        if number is not None:
            self._armed.pop(number, None)

    def clear(self) -> None:
        """Wait for nothing."""
        self._armed.clear()

    def pending(self) -> tuple[SetTimer, ...]:
        """Return the armed timers."""
        return tuple(SetTimer(n, timer.due, timer.purpose) for n, timer in self._armed.items())
