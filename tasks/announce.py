"""Announce: deliver the notification that was written together with the outcome. Best effort.

The outbox keeps what could not be delivered; without a request this task sweeps it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from atelier.contracts.errors import NotFound, ServiceUnavailable
from atelier.contracts.records import Notification
from atelier.contracts.status import Status
from tasks.notices import TYPES, notice_id
from tasks.ports import Ports

WINDOW = 1000
"""How many undelivered notifications are looked at."""


def run(given: Mapping[str, Any], *, ports: Ports) -> dict[str, Any]:
    """Deliver: `{"request", "outcome"}`, or `{}` for all of the outbox → `{"undelivered": left}`.

    A failure that belongs to no request (`"request": ""`) has nothing to announce.

    Raises:
        ServiceUnavailable: the request's own notification could not be delivered.
    """
    rows = ports.ledger.undelivered(limit=WINDOW)
    if "request" in given:
        mine = _own_ids(given["request"], ports=ports)
        for row in rows:
            if row.id in mine:
                _deliver(row, ports=ports)
        return {"undelivered": 0}
    return {"undelivered": sum(not _delivered(row, ports=ports) for row in rows)}


def _own_ids(request: object, *, ports: Ports) -> set[str]:
    if not isinstance(request, str) or not request:
        return set()
    try:
        record = ports.ledger.read(request)
    except NotFound:
        return set()
    return {notice_id(record, Status(status)) for status in TYPES}


def _deliver(row: Notification, *, ports: Ports) -> None:
    ports.notifications.deliver(row)
    ports.ledger.mark_delivered(row.id, at=ports.clock.now())


def _delivered(row: Notification, *, ports: Ports) -> bool:
    try:
        _deliver(row, ports=ports)
    except ServiceUnavailable:
        # One tenant's dead webhook keeps nobody else waiting; the next sweep tries it again.
        return False
    return True
