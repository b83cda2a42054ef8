"""Writing history events: numbers, links, JSON texts and the two limits."""

from __future__ import annotations

from datetime import datetime

from workflows.engine.history import EVENT_LIMIT, Details, HistoryEvent
from workflows.engine.jsontext import DATA_LIMIT_BYTES, Json, encode, size_bytes


class HistoryFull(Exception):
    """The next event would be the last that AWS allows, and is not the execution's end."""


class DataTooLarge(Exception):
    """A value weighs more than 256 KiB."""


class Recorder:
    """Collects the events of one step."""

    def __init__(self) -> None:
        self.count = 0
        self.at: datetime | None = None
        self._fresh: list[HistoryEvent] = []
        self._last: tuple[Json, str] = (None, "null")

    def write(self, event_type: str, previous: int, details: Details | None = None) -> int:
        """Write one event and return its id.

        Raises:
            HistoryFull: only an event that ends the execution may still be written.
        """
        number = self.count + 1
        if number >= EVENT_LIMIT and not event_type.startswith("Execution"):
            raise HistoryFull
        assert self.at is not None  # noqa: S101 - a step has begun
        self.count = number
        self._fresh.append(HistoryEvent(number, previous, event_type, self.at, details))
        return number

    def collect(self) -> tuple[HistoryEvent, ...]:
        """Return the events written since the last call."""
        fresh, self._fresh = tuple(self._fresh), []
        return fresh

    def text(self, value: Json) -> str:
        """Return a value as JSON; the output of one state is the input of the next.

        Raises:
            DataTooLarge: it weighs more than AWS allows.
        """
        last_value, last_text = self._last
        if value is last_value:
            return last_text
        text = encode(value)
        if size_bytes(text) > DATA_LIMIT_BYTES:
            raise DataTooLarge
        self._last = (value, text)
        return text
