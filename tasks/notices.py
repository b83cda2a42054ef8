"""What a tenant is told when an onboarding ends: one notification per outcome of an attempt."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from atelier.contracts import ids
from atelier.contracts.records import Failure, ModelVersion, Notification, RequestRecord
from atelier.contracts.status import Status

TYPES: Mapping[Status, str] = {
    Status.READY: "onboarding.ready",
    Status.FAILED: "onboarding.failed",
    Status.CANCELLED: "onboarding.cancelled",
}
MAX_FACT_CHARACTERS = 8000


def notice_id(record: RequestRecord, status: Status) -> str:
    """Return the id of the notice that `record`'s attempt ended as `status`."""
    return ids.message_id("notification", TYPES[status], record.request, str(record.attempt))


def ready_notice(record: RequestRecord, version: ModelVersion, *, now: datetime) -> Notification:
    """Return the notice that a model is ready."""
    data = {"version": version.version, "instance_prompt": version.instance_prompt}
    return _notice(record, Status.READY, data, now)


def ended_notice(
    record: RequestRecord, status: Status, failure: Failure, *, now: datetime
) -> Notification:
    """Return the notice that an onboarding failed or was cancelled, and why."""
    facts: Mapping[str, Any] = failure.facts
    if len(str(facts)) > MAX_FACT_CHARACTERS:
        facts = {}
    data = {
        "error": failure.error,
        "message": failure.message[:2000],
        "do": failure.do,
        "facts": dict(facts),
    }
    return _notice(record, status, data, now)


def _notice(
    record: RequestRecord, status: Status, data: Mapping[str, Any], now: datetime
) -> Notification:
    given = record.given
    about = {"onboarding": record.request, "user_id": given.user, "model": given.model}
    return Notification(
        id=notice_id(record, status),
        tenant=given.tenant,
        type=TYPES[status],
        data={**about, **data},
        created_at=now,
    )
