"""Announce: deliver the notification that was written together with the outcome. Best effort.

The outbox keeps what could not be delivered; without a request this task sweeps it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from atelier.contracts.errors import AtelierError, NotFound
from atelier.contracts.records import Notification
from tasks.notices import TYPES, notice_id
from tasks.ports import Ports

log = logging.getLogger(__name__)

PAGE = 200
"""How many undelivered notifications are read at once."""


def run(given: Mapping[str, Any], *, ports: Ports) -> dict[str, Any]:
    """Deliver: `{"request", "outcome"}`, or `{}` for all of the outbox → `{"undelivered": left}`.

    A failure that belongs to no request (`"request": ""`) has nothing to announce.

    Raises:
        ServiceUnavailable: the request's own notification could not be delivered.
    """
    if "request" not in given:
        return {"undelivered": _sweep(ports=ports)}
    for mine in _own_ids(given["request"], ports=ports):
        found = ports.ledger.notification(mine)
        if found is not None and found[1] is None:
            _deliver(found[0], ports=ports)
    return {"undelivered": 0}


def _sweep(*, ports: Ports) -> int:
    """Deliver what nobody delivered yet; return how many were tried or put off in vain.

    Whoever does not answer once is left alone until the next sweep: a dead receiver takes its time
    for each notification, and everybody else would wait for that. Once the time is used, what lies
    behind the page is not even counted.
    """
    clock = ports.clock
    ends_at = clock.monotonic_seconds() + ports.settings.round_seconds
    dead: set[str] = set()
    left, last = 0, None
    while page := ports.ledger.undelivered(limit=PAGE, after=last):
        for row in page:
            late = clock.monotonic_seconds() >= ends_at
            if late or row.tenant in dead or not _delivered(row, ports=ports):
                dead.add(row.tenant)
                left += 1
        if clock.monotonic_seconds() >= ends_at:
            break
        last = page[-1]
    return left


def _own_ids(request: object, *, ports: Ports) -> list[str]:
    if not isinstance(request, str) or not request:
        return []
    try:
        record = ports.ledger.read(request)
    except NotFound:
        return []
    return [notice_id(record, status) for status in TYPES]


def _deliver(row: Notification, *, ports: Ports) -> None:
    """Deliver a notification unless somebody else just did: a turn for each, read again in it."""
    with ports.deliveries.of(row.id):
        found = ports.ledger.notification(row.id)
        if found is None or found[1] is not None:
            return
        ports.notifications.deliver(row)
        ports.ledger.mark_delivered(row.id, at=ports.clock.now())


def _delivered(row: Notification, *, ports: Ports) -> bool:
    try:
        _deliver(row, ports=ports)
    except AtelierError as problem:
        # One tenant's dead webhook keeps nobody else waiting; the next sweep tries it again.
        log.warning("notification %s was not delivered: %s", row.id, problem)
        return False
    except Exception:
        log.exception("notification %s was not delivered: a defect of ours", row.id)
        return False
    return True
