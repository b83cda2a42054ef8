"""Notifications on the local platform: one JSON line each in a log file."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

from atelier.contracts.errors import ServiceUnavailable
from atelier.contracts.records import Notification


@dataclass(frozen=True, slots=True)
class LoggedNotifications:
    """Implements `tasks.ports.Notifications`: a delivery is an appended line."""

    path: Path
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def deliver(self, notification: Notification) -> None:
        """Append the notification.

        Raises:
            ServiceUnavailable: the file cannot be written.
        """
        try:
            with self._lock:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self.path.open("ab") as file:
                    file.write(notification.to_json() + b"\n")
        except OSError as problem:
            raise ServiceUnavailable(f"{self.path} cannot be written: {problem}") from problem
