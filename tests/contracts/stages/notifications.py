"""Ways to tell a tenant, by platform, that a test can cut."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from atelier.contracts.records import Notification
from infra.local.notifications import LoggedNotifications
from tasks.ports import Notifications
from tests.fakes.services import HeardNotifications


class NotificationsStage(Protocol):
    """A way to tell the tenant `acme` that a test can cut."""

    port: Notifications

    def heard(self) -> list[Notification]:
        """Return what arrived, in order."""

    def cut(self) -> None:
        """Let nothing through."""

    def mend(self) -> None:
        """Let everything through again."""


class LocalNotificationsStage:
    def __init__(self, folder: Path) -> None:
        self._logs = folder / "logs"
        self._path = self._logs / "notifications.jsonl"
        self.port = LoggedNotifications(self._path)

    def heard(self) -> list[Notification]:
        lines = self._path.read_bytes().splitlines() if self._path.is_file() else []
        return [Notification.from_dict(json.loads(line)) for line in lines]

    def cut(self) -> None:
        # Root may write anywhere, except into a folder that is a file.
        self._logs.write_text("")

    def mend(self) -> None:
        self._logs.unlink()


class ScriptedNotificationsStage:
    def __init__(self, _folder: Path) -> None:
        self.port = HeardNotifications()

    def heard(self) -> list[Notification]:
        return self.port.delivered

    def cut(self) -> None:
        self.port.down.add("acme")

    def mend(self) -> None:
        self.port.down.clear()


NOTIFICATIONS: Mapping[str, Callable[[Path], NotificationsStage]] = {
    "local": LocalNotificationsStage,
    "scripted": ScriptedNotificationsStage,
}
