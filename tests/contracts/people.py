"""Requests, models and notifications of people who exist only in tests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from atelier.contracts import ids, keys
from atelier.contracts.records import (
    Batch,
    ModelRecord,
    ModelVersion,
    Notification,
    RequestRecord,
)
from atelier.contracts.request import OnboardingRequest, normalise, read_input
from atelier.contracts.status import Stamp, Status

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
JOB = ids.job_name(ids.batch_of([("r" + "a" * 26, 1)]), 1)
OTHER_JOB = ids.job_name(ids.batch_of([("r" + "b" * 26, 1)]), 1)


def wish(user: str = "42", *, now: datetime = NOON, **given: Any) -> OnboardingRequest:
    """Return what `user` asks for."""
    photos = f"uploads/{ids.owner_of('acme', user)}/summer/"
    return normalise(
        read_input({"user_id": user, "photos": photos, "tenant": "acme"} | given), now=now
    )


def request_record(
    user: str = "42", *, now: datetime = NOON, given: dict[str, Any] | None = None, **fields: Any
) -> RequestRecord:
    """Return the record of `user`'s wish, waiting to be registered unless `fields` say more."""
    asked = wish(user, now=now, **(given or {}))
    start = {
        "given": asked,
        "attempt": 1,
        "status": Status.QUEUED,
        "execution": ids.execution_name(asked.request, 1),
        "created_at": now,
        "updated_at": now,
    }
    return RequestRecord(**(start | fields))


def at(stamp: Stamp, user: str = "42", **fields: Any) -> RequestRecord:
    """Return a record that stands at `stamp`."""
    return request_record(user, attempt=stamp.attempt, status=stamp.status, job=stamp.job, **fields)


def notification(record: RequestRecord, kind: str = "onboarding.ready") -> Notification:
    """Return what is told about a request."""
    return Notification(
        id=ids.message_id("notification", record.request, str(record.attempt), kind),
        tenant=record.given.tenant,
        type=kind,
        data={"request": record.request},
        created_at=record.updated_at,
    )


def version_of(record: RequestRecord, number: int = 1) -> ModelVersion:
    """Return the version that a request makes of its model."""
    given = record.given
    digest = ids.digest_of(f"{record.request}-{number}".encode())
    name = ids.version_name(number, digest)
    return ModelVersion(
        version=name,
        artifact=keys.artifact(given.base, given.owner, given.model, name),
        digest=digest,
        bytes=1000,
        request=record.request,
        rank=4,
        instance_prompt=given.instance_prompt,
        created_at=NOON,
    )


def model_of(record: RequestRecord, *versions: ModelVersion, **fields: Any) -> ModelRecord:
    """Return a request's model with these versions, the last one current."""
    given = record.given
    start = {
        "owner": given.owner,
        "tenant": given.tenant,
        "user": given.user,
        "model": given.model,
        "base": given.base,
        "trigger": given.trigger,
        "subject": given.subject,
        "current": versions[-1].version,
        "versions": versions,
        "dataset": "summer",
        "created_at": NOON,
        "updated_at": NOON,
    }
    return ModelRecord(**(start | fields))


def batch(*members: tuple[str, int], epoch: int = 1, created_at: datetime = NOON) -> Batch:
    """Return a batch of these (request, attempt) pairs."""
    return Batch(
        batch=ids.batch_of(list(members)),
        members=members,
        attempt=1,
        epoch=epoch,
        created_at=created_at,
    )
