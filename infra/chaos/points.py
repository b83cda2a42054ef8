"""Where faults hit: every call of a point is counted, and what is due there happens.

A fault is written down in `faults.jsonl`, synced, before its effect: whoever looks at what a killed
platform left knows what it was killed by.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, TypeVar

from atelier.contracts.clock import Clock, to_iso
from atelier.contracts.errors import ServiceUnavailable
from infra.chaos.plan import ANY_POINT, Fault, Kind

Result = TypeVar("Result")
_AT_ONCE = frozenset({Kind.KILL_BEFORE, Kind.KILL_IN_WRITE, Kind.KILL_IN_RECOVERY})


class Journal:
    """`faults.jsonl`: one line for each fault that happened, shared by several processes."""

    def __init__(self, path: Path, *, clock: Clock) -> None:
        """Open the file for ever: writing to it later opens nothing, also on a full disk."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        self._clock = clock

    def note(self, fault: Fault, *, life: int, nth: int = 0, about: str = "") -> None:
        """Write a fault down, before its effect."""
        line = {
            "at": to_iso(self._clock.now()),
            "life": life,
            "kind": fault.kind,
            "point": fault.point,
            "nth": nth or fault.nth,
            "seconds": fault.seconds,
            "about": about,
        }
        os.write(self._file, json.dumps(line).encode() + b"\n")
        os.fsync(self._file)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


class Points:
    """Counts calls of points and says which faults are due. Safe to use from many threads."""

    def __init__(
        self, faults: Sequence[Fault], *, life: int, journal: Journal, clock: Clock
    ) -> None:
        """Begin to count.

        Args:
            faults: what shall happen in this life, its end included.
            life: its number.
            journal: where it is written down.
            clock: real time, for slow calls.
        """
        self._faults: dict[str, list[Fault]] = defaultdict(list)
        for fault in faults:
            self._faults[fault.point].append(fault)
        self._life = life
        self._journal = journal
        self._clock = clock
        self._lock = threading.Lock()
        self.calls: Counter[str] = Counter()

    def hit(self, point: str, about: str = "") -> tuple[Fault, ...]:
        """Count a call; return the faults that are due at it, written down.

        A kill that comes before the call's effect happens here.
        """
        due = []
        with self._lock:
            for name in (point, ANY_POINT):
                self.calls[name] += 1
                nth = self.calls[name]
                due += [
                    (fault, nth)
                    for fault in self._faults.get(name, ())
                    if fault.nth <= nth < fault.nth + fault.times
                ]
        for fault, nth in due:
            where = about if fault.point != ANY_POINT else f"{point} {about}".strip()
            self._journal.note(fault, life=self._life, nth=nth, about=where)
            if fault.kind in _AT_ONCE:
                die()
        return tuple(fault for fault, _ in due)

    def around(
        self, point: str, call: Callable[[], Result], *, act: Callable[[Fault], None]
    ) -> Result:
        """Make a call of a point with what is due at it.

        Args:
            point: its name.
            call: the call.
            act: does what is neither a kill, a pause nor a lost answer.

        Raises:
            ServiceUnavailable: on purpose, before or after the call.
        """
        due = self.hit(point)
        for fault in due:
            if fault.kind is Kind.SLOW:
                self._clock.sleep(fault.seconds)
            elif fault.kind is Kind.UNAVAILABLE:
                raise ServiceUnavailable(f"chaos: {point} does not answer")
            else:
                act(fault)
        result = call()
        for fault in due:
            if fault.kind is Kind.KILL_AFTER:
                die()
            elif fault.kind is Kind.LOST_ANSWER:
                raise ServiceUnavailable(f"chaos: the answer of {point} was lost")
        return result


def die() -> NoReturn:
    """End this process at once, as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("nobody survives SIGKILL")
