"""Execution status changes, told as EventBridge tells them.

Source: https://docs.aws.amazon.com/step-functions/latest/dg/eventbridge-integration.html
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, TypeAlias

from atelier.contracts.clock import to_iso
from workflows.engine.store import ExecutionRecord

_log: Final = logging.getLogger(__name__)

Subscriber: TypeAlias = Callable[[dict[str, Any]], None]
"""Takes one event; called after the commit, on the thread that folds: be quick."""


class StatusEvents:
    """Tells subscribers, best effort as on AWS: no execution depends on what they do."""

    def __init__(self, *, region: str, account: str) -> None:
        self._region = region
        self._account = account
        self._subscribers: list[Subscriber] = []

    def subscribe(self, subscriber: Subscriber) -> None:
        """Tell `subscriber` every change from now on."""
        self._subscribers.append(subscriber)

    def tell(self, record: ExecutionRecord) -> None:
        """Tell everybody a record's status; who fails misses it, and the log says so."""
        for subscriber in self._subscribers:
            event = status_event(record, region=self._region, account=self._account)
            try:
                subscriber(event)
            except Exception:  # noqa: BLE001 - best effort, and the log says so
                _log.exception("a subscriber failed on %s", record.arn)


def status_event(record: ExecutionRecord, *, region: str, account: str) -> dict[str, Any]:
    """Return the event that announces a record's status."""
    change = f"{record.arn}/{record.status}"
    if record.redrive_count:
        change = f"{change}/{record.redrive_count}"
    digest = hashlib.sha256(change.encode()).digest()
    redrive = record.redrive_dict()
    return {
        "version": "0",
        "id": str(uuid.UUID(bytes=digest[:16], version=4)),
        "detail-type": "Step Functions Execution Status Change",
        "source": "aws.states",
        "account": account,
        "time": to_iso(record.stop_date or record.redrive_date or record.start_date),
        "region": region,
        "resources": [record.arn],
        "detail": {
            "executionArn": record.arn,
            "stateMachineArn": record.machine_arn,
            "name": record.name,
            "status": record.status.value,
            "startDate": _milliseconds(record.start_date),
            "stopDate": None if record.stop_date is None else _milliseconds(record.stop_date),
            "input": record.input,
            "inputDetails": {"included": True},
            "output": record.output,
            "outputDetails": None if record.output is None else {"included": True},
            "error": record.error,
            "cause": record.cause,
            **redrive,
            "redriveDate": redrive["redriveDate"] and _milliseconds(redrive["redriveDate"]),
        },
    }


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
