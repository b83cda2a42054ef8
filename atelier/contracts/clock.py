"""Time as something given: one protocol, the real clocks, and one that tests and replay move."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What any part may know of time.

    `now` may jump (people set clocks); `monotonic_seconds` never goes back and is for durations.
    """

    def now(self) -> datetime:
        """Return the current time in UTC, timezone-aware."""
        ...

    def monotonic_seconds(self) -> float:
        """Return seconds from an arbitrary origin that never decrease."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait for `seconds`; zero or less returns at once."""
        ...


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The machine's clock: the one place that reads it."""

    def now(self) -> datetime:
        """Return the machine's time in UTC."""
        return datetime.now(UTC)  # noqa: TID251 - this is the door

    def monotonic_seconds(self) -> float:
        """Return the machine's monotonic time in seconds."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Sleep for real."""
        if seconds > 0:
            time.sleep(seconds)  # noqa: TID251 - this is the door


def boot_seconds() -> float:
    """Return seconds since the machine was started, also those in which it was suspended.

    Setting the machine's clock does not change them.
    """
    # Outside Linux CLOCK_MONOTONIC counts a suspended machine's time itself, where any clock does.
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class SteadyClock:
    """The machine's time as one program sees it: whoever sets the clock meanwhile changes nothing.

    `now` is the machine's time when this clock began, plus the time that has gone by since; with
    `earliest`, time also goes on over the end of a program:

        now() = max(machine's time at the beginning, earliest) + seconds since the beginning
    """

    def __init__(
        self,
        *,
        earliest: datetime | None = None,
        keep: Callable[[datetime], None] = lambda _: None,
        machine: Callable[[], datetime] = SystemClock().now,
        elapsed: Callable[[], float] = boot_seconds,
    ) -> None:
        """Begin now.

        Args:
            earliest: the latest time that an earlier program was given, if there was one.
            keep: told every time that this clock gives, in order: what `earliest` is made of.
            machine: the machine's time, read once here and by `ahead_seconds`.
            elapsed: seconds that go by whatever anybody sets.
        """
        self._machine = machine
        self._elapsed = elapsed
        self._keep = keep
        self._origin_seconds = elapsed()
        self._begin = machine() if earliest is None else max(machine(), earliest)
        self._latest = self._begin
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """Return the time in UTC; never one before what was returned before."""
        with self._lock:
            gone = timedelta(seconds=self._elapsed() - self._origin_seconds)
            self._latest = max(self._latest, self._begin + gone)
            self._keep(self._latest)
            return self._latest

    def ahead_seconds(self) -> float:
        """Return how far this clock is ahead of the machine's; negative when it is behind."""
        return (self.now() - self._machine()).total_seconds()

    def monotonic_seconds(self) -> float:
        """Return the machine's monotonic time in seconds; a suspended machine makes none."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Sleep for real."""
        SystemClock().sleep(seconds)


@dataclass(slots=True)
class ManualClock:
    """A clock that moves only when told: `sleep` advances it at once.

    Safe to share between threads; used by tests, virtual time and replay.
    """

    start: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    _elapsed_seconds: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def now(self) -> datetime:
        """Return the start plus everything that was advanced."""
        with self._lock:
            return self.start + timedelta(seconds=self._elapsed_seconds)

    def monotonic_seconds(self) -> float:
        """Return the seconds advanced so far."""
        with self._lock:
            return self._elapsed_seconds

    def sleep(self, seconds: float) -> None:
        """Advance by `seconds` without waiting."""
        if seconds > 0:
            self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Move time forward.

        Raises:
            ValueError: `seconds` is negative; time given to a program never goes back.
        """
        if seconds < 0:
            raise ValueError(f"a clock moves forward only, not by {seconds} s")
        with self._lock:
            self._elapsed_seconds += seconds


_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d(?::\d\d)?)?", re.ASCII
)


def to_iso(moment: datetime) -> str:
    """Write an aware time as ISO 8601 in UTC with milliseconds and `Z`, as AWS histories do."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no timezone; times are UTC and aware everywhere")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def from_iso(text: str) -> datetime:
    """Read an ISO 8601 time with a timezone; any fraction of up to 9 digits is taken.

    Raises:
        ValueError: the text is no ISO 8601 time, names no timezone, or lies before year 1 or
            after year 9999 in UTC.
    """
    if not _TIME.fullmatch(text):
        # `fromisoformat` takes forms that ISO 8601 does not know, such as a minute of 60 digits.
        raise ValueError(f"{text[:60]!r} is no time such as 2026-01-31T12:00:00Z")
    head, dot, tail = text.partition(".")
    if dot:
        digits = len(tail) - len(tail.lstrip("0123456789"))
        text = f"{head}.{tail[:digits][:6]:0<6}{tail[digits:]}"
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} names no timezone; write it with Z or an offset")
    try:
        return moment.astimezone(UTC)
    except OverflowError as problem:
        raise ValueError(f"{text!r} lies outside years 1 to 9999 in UTC") from problem
