"""Every time that the stores hold, with what it belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from infra.doctor.evidence import Bucket, ExecutionSeen, Ledger, Training


def moments(
    ledger: Ledger | None,
    executions: Mapping[str, ExecutionSeen] | None,
    training: Training | None,
    bucket: Bucket | None,
) -> Iterator[tuple[str, datetime]]:
    """Yield the newest time of everything that was read."""
    if ledger is not None:
        for record in ledger.requests.values():
            yield f"request {record.request}", max(record.updated_at, *record.entered.values())
        for model in ledger.models:
            newest = max(model.updated_at, model.used_at or model.created_at)
            yield f"model {model.owner}/{model.model}", newest
        for row in ledger.outbox:
            yield f"notification {row.id}", row.delivered_at or row.created_at
        for batch, _ in ledger.batches.values():
            yield f"batch {batch.batch}", batch.created_at
    for execution in (executions or {}).values():
        last = execution.history.last_at or execution.started_at
        yield f"execution {execution.name}", max(last, execution.ended_at or last)
    if training is not None:
        for job in training.jobs.values():
            yield f"training job {job.name}", job.ended_at or job.created_at
    if bucket is not None and bucket.newest is not None:
        key, at = bucket.newest
        yield f"object {key}", at
