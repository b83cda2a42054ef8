"""The time mark of a home: the latest time that a platform there has given to anybody.

The next platform goes on from it when the machine's clock was set back meanwhile. It is eight bytes
of a file (microseconds since 1970, little-endian) that are overwritten in place: that takes a
microsecond, needs no room on the disk and outlives `kill -9`; `flush` makes it outlive the machine.
"""

from __future__ import annotations

import logging
import os
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from atelier.contracts.clock import SteadyClock, SystemClock, to_iso

log = logging.getLogger(__name__)

MARK_FILE = "clock"
FAR_AHEAD_SECONDS = 300.0
"""A clock that is further ahead of the machine's is worth a word."""
_BYTES = 8
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime(9000, 1, 1, tzinfo=UTC)


class TimeMark:
    """The mark in one file."""

    def __init__(self, path: Path) -> None:
        """Open the mark, at nothing when there is none.

        Raises:
            OSError: the file cannot be made or read.
        """
        self._lock = threading.Lock()
        self._file: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._before = _moment(os.pread(self._file, 2 * _BYTES, 0))

    def read(self) -> datetime | None:
        """Return the mark as an earlier platform left it, or None when there was none."""
        return self._before

    def keep(self, moment: datetime) -> None:
        """Move the mark; a disk that fails keeps the one before."""
        microseconds = (moment - _EPOCH) // timedelta(microseconds=1)
        with self._lock, suppress(OSError):
            if self._file is not None:
                os.pwrite(self._file, microseconds.to_bytes(_BYTES, "little"), 0)

    def flush(self) -> None:
        """Bring the mark to the disk; one that fails has it later."""
        with self._lock, suppress(OSError):
            if self._file is not None:
                os.fsync(self._file)

    def close(self) -> None:
        """Flush, and keep nothing any more."""
        self.flush()
        with self._lock:
            if self._file is not None:
                os.close(self._file)
            self._file = None


def read_mark(home: Path) -> datetime | None:
    """Return the time mark of a home, whether or not a platform runs there; None without one."""
    try:
        body = (home / MARK_FILE).read_bytes()
    except FileNotFoundError:
        return None
    return _moment(body)


def steady_clock(mark: TimeMark) -> SteadyClock:
    """Return a clock that goes on from the mark and moves it; say so when that is far ahead."""
    earliest = mark.read()
    clock = SteadyClock(earliest=earliest, keep=mark.keep)
    ahead = clock.ahead_seconds()
    if earliest is not None and ahead > FAR_AHEAD_SECONDS:
        log.warning(
            "time in this home goes on from %s, %.0f s ahead of the machine's clock, which says "
            "%s: one of the two was or is wrong. Nothing is lost; until the machine's clock gets "
            "there, times in this home are ahead of it by as much",
            to_iso(earliest),
            ahead,
            to_iso(SystemClock().now()),
        )
    return clock


def _moment(body: bytes) -> datetime | None:
    """Return the moment that a file's bytes say; None for what is no mark of ours."""
    microseconds = int.from_bytes(body, "little")
    if len(body) != _BYTES or not 0 < microseconds < (_LAST - _EPOCH) // timedelta(microseconds=1):
        return None
    return _EPOCH + timedelta(microseconds=microseconds)
