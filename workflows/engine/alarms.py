"""The timers of all open executions in one heap, each of them once."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from datetime import datetime
from typing import Final

_ROOM: Final = 1_024
"""So many alarms are kept before it is asked whether anybody still waits for them."""


class Alarms:
    """What is due when; an alarm that was taken can be held, so that it is not set anew.

    An execution that is taken up again asks for all of its timers: those that are set stay as they
    are. Nobody takes back an alarm, and a callback's is due in days: `tidy` forgets those for which
    nobody waits.
    """

    def __init__(self) -> None:
        self._room = _ROOM
        self._heap: list[tuple[datetime, int, str, int]] = []
        self._known: set[tuple[str, int]] = set()
        self._order = itertools.count()

    def __len__(self) -> int:
        """How many are set, with those that nobody waits for any more."""
        return len(self._heap)

    def set(self, execution_arn: str, timer: int, due: datetime) -> None:
        """Set an alarm, unless it is set or held."""
        key = (execution_arn, timer)
        if key not in self._known:
            self._known.add(key)
            heapq.heappush(self._heap, (due, next(self._order), execution_arn, timer))

    def take(self, now: datetime) -> tuple[str, int] | None:
        """Take the alarm that is due first; None when none is due."""
        if not self._heap or self._heap[0][0] > now:
            return None
        _, _, execution_arn, timer = heapq.heappop(self._heap)
        self.release(execution_arn, timer)
        return execution_arn, timer

    def hold(self, execution_arn: str, timer: int) -> None:
        """Remember that an alarm that was taken is still to be heard."""
        self._known.add((execution_arn, timer))

    def release(self, execution_arn: str, timer: int) -> None:
        """Hold an alarm no longer."""
        self._known.discard((execution_arn, timer))

    def tidy(self, awaited: Callable[[str, int], bool]) -> None:
        """Forget the alarms that nobody waits for, whenever their number has doubled."""
        if len(self._heap) <= self._room:
            return
        every, self._heap = self._heap, []
        for alarm in every:
            if awaited(*alarm[2:]):
                self._heap.append(alarm)
            else:
                self.release(*alarm[2:])
        heapq.heapify(self._heap)
        self._room = max(_ROOM, 2 * len(self._heap))

    def next_due(self, awaited: Callable[[str, int], bool]) -> datetime | None:
        """Return when the next alarm is due that somebody waits for; forget those before it."""
        while self._heap:
            due, _, execution_arn, timer = self._heap[0]
            if awaited(execution_arn, timer):
                return due
            heapq.heappop(self._heap)
            self.release(execution_arn, timer)
        return None
