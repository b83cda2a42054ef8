"""Turns: those who do the same within a process at the same moment do it one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock


@dataclass(slots=True)
class _Turn:
    lock: Lock = field(default_factory=Lock)
    wanted: int = 0


@dataclass(frozen=True, slots=True)
class Turns:
    """A turn for each name; names that nobody wants any more are forgotten."""

    _turns: dict[str, _Turn] = field(default_factory=dict, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Wait until nobody else has this name's turn, and have it."""
        with self._lock:
            turn = self._turns.setdefault(name, _Turn())
            turn.wanted += 1
        try:
            with turn.lock:
                yield
        finally:
            with self._lock:
                turn.wanted -= 1
                if not turn.wanted:
                    del self._turns[name]
