"""Notifications on the local platform: one JSON line each in a log file."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from atelier.contracts.documents import DocumentError
from atelier.contracts.errors import ServiceUnavailable
from atelier.contracts.records import Notification

_LOOK_BACK_BYTES = 64 * 1024
"""A notification has less than 20 KB."""


@dataclass(frozen=True, slots=True)
class LoggedNotifications:
    """Implements `tasks.ports.Notifications`: a delivery is an appended line, whole and synced.

    A crash or a full disk may leave half a line at the end; the next delivery cuts it off.
    """

    path: Path
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def deliver(self, notification: Notification) -> None:
        """Append the notification.

        Raises:
            ServiceUnavailable: the file cannot be written; it holds nothing of it then.
        """
        try:
            with self._lock:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self.path.open("a+b", buffering=0) as file:
                    _append(file, notification.to_json() + b"\n")
        except OSError as problem:
            raise ServiceUnavailable(
                f"{self.path} cannot be written: {problem.strerror}",
                do="Free space on the disk or repair it; the notification is delivered then.",
            ) from problem


def read_notifications(path: Path) -> Iterator[Notification]:
    """Yield what was delivered, oldest first; half a line, and what is none of ours, is skipped."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    for line in lines[:-1]:  # Behind the last line's end is nothing, or half a line.
        try:
            yield Notification.from_json(line)
        except DocumentError:
            continue


def _append(file: BinaryIO, line: bytes) -> None:
    end = _end_of_lines(file)
    try:
        file.truncate(end)
        while line:  # A disk that fills up takes a part, then refuses the next.
            line = line[file.write(line) :]
        os.fsync(file.fileno())
    except OSError:
        file.truncate(end)
        raise


def _end_of_lines(file: BinaryIO) -> int:
    """Return where the last whole line ends."""
    size = file.seek(0, os.SEEK_END)
    start = file.seek(max(0, size - _LOOK_BACK_BYTES))
    return start + file.read().rfind(b"\n") + 1
