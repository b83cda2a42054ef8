"""What the endpoint holds and for whom, at one moment: for operators and the doctor."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any


@dataclass(slots=True)
class Guests:
    """Counts the invocations that are under way; `with guests:` around each. Thread-safe."""

    _count: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def count(self) -> int:
        """How many there are now."""
        with self._lock:
            return self._count

    def __enter__(self) -> None:
        """One more."""
        with self._lock:
            self._count += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """One less, however it ended."""
        with self._lock:
            self._count -= 1


@dataclass(frozen=True, slots=True)
class Books:
    """The endpoint's books.

    Attributes:
        in_service: the model server answered its last ping.
        uses: target model that the server holds → invocations that use it.
        under_way: invocations that were under way, of whatever model, before or after that.
        disk_bytes, disk_limit_bytes: unpacked artifacts, and how much of them is kept.
        residency: what the model server says of its slots; None when it does not say.
    """

    in_service: bool
    uses: Mapping[str, int]
    under_way: int
    disk_bytes: int
    disk_limit_bytes: int
    residency: Mapping[str, Any] | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "in_service": self.in_service,
            "uses": dict(self.uses),
            "under_way": self.under_way,
            "disk_bytes": self.disk_bytes,
            "disk_limit_bytes": self.disk_limit_bytes,
            "residency": self.residency,
        }
