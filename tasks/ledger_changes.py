"""What each conditional write makes of a request: pure, so that every platform decides alike.

A ledger reads a row, asks here, and stores the answer in the same transaction (or under the
condition that the row is still the one it read). `judge` decides about stamps; this module adds
what else a change means: the queue's place, the times, what a new attempt forgets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, TypeVar

from atelier.contracts.documents import Document, DocumentError
from atelier.contracts.errors import ContractBroken, LedgerContention
from atelier.contracts.records import BatchState, ModelRecord, ModelVersion, RequestRecord
from atelier.contracts.status import TERMINAL, Stamp, Status, Verdict, judge

D = TypeVar("D", bound=Document)

MAX_ITEM_BYTES = 380_000
"""DynamoDB holds 400 KB an item, names and indexed attributes included; kept everywhere."""

KEPT = frozenset(
    {"given", "attempt", "status", "job", "entered", "created_at", "updated_at"}
    | {"retried_at", "untold"}
)
"""Fields of a request that come from its stamp or that the ledger keeps; no change names them."""
CHANGEABLE = frozenset(field.name for field in fields(RequestRecord)) - KEPT

FORGOTTEN: Mapping[str, Any] = {
    "job": None,
    "batch": None,
    "host": None,
    "token": None,
    "waiting_for": "",
    "step": 0,
    "loss": None,
    "eta_seconds": None,
    "looks": 0,
    "look_at": None,
    "job_outcome": None,
    "job_reason": "",
    "failure": None,
    "company_seconds": 0.0,
    "redrives": 0,
    "redriven_at": None,
}
"""What a new attempt starts without: it all spoke of the attempt before."""

UNTOLD = frozenset({Status.FAILED, Status.CANCELLED})
"""Ends that a waiting state or a training job has to be told of."""

MOST_AHEAD_MS = 60_000
"""A launch slot further ahead than this was reserved before the clock was set back."""

BATCH_MOVES = frozenset(
    {
        (BatchState.OPEN, BatchState.SEALED),
        (BatchState.SEALED, BatchState.LAUNCHED),
        (BatchState.OPEN, BatchState.RELEASED),
        (BatchState.SEALED, BatchState.RELEASED),
    }
)


@dataclass(frozen=True, slots=True)
class Row:
    """A request as a ledger stores it.

    Attributes:
        record: the request.
        place: its last `queued_at`; it outlives a claim, so that a release keeps the place.
    """

    record: RequestRecord
    place: datetime | None = None


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision: the verdict, and the row as it shall stand (unchanged unless it applies)."""

    verdict: Verdict
    row: Row


def readable(document: D) -> D:
    """Return the document as it will be read back: what does not read is never stored.

    Raises:
        ContractBroken: a field has a wrong type or value, or the document is too large.
    """
    try:
        text = document.to_json()
        if len(text) > MAX_ITEM_BYTES:
            raise ContractBroken(
                f"{document.SCHEMA} of {len(text):,} bytes; at most {MAX_ITEM_BYTES:,} are stored",
                where=document.SCHEMA,
            )
        return type(document).from_json(text)
    except DocumentError as problem:
        raise ContractBroken(
            f"{document.SCHEMA} does not read: {problem}", where=problem.where
        ) from problem
    except (TypeError, ValueError) as problem:
        raise ContractBroken(
            f"{document.SCHEMA} has no written form: {problem}", where="$"
        ) from problem


def created(record: RequestRecord) -> Row:
    """Return the row of a new request; it notes when the request entered its first status."""
    entered = {record.status.value: record.created_at, **record.entered}
    return _row(replace(record, entered=entered), None)


def advanced(row: Row, stamp: Stamp, changes: Mapping[str, Any], *, now: datetime) -> Decided:
    """Move to `stamp` with `changes`, if `judge` says so."""
    _check(changes)
    verdict = judge(row.record.stamp, stamp)
    if verdict is not Verdict.APPLIES:
        return Decided(verdict, row)
    return Decided(verdict, _moved(row, stamp, changes, now))


def annotated(row: Row, attempt: int, changes: Mapping[str, Any], *, now: datetime) -> Decided:
    """Set fields without a change of status, while `attempt` is current and not terminal."""
    _check(changes)
    record = row.record
    if record.attempt != attempt or record.status in TERMINAL:
        return Decided(Verdict.STALE, row)
    return Decided(Verdict.APPLIES, _row(_set(record, {**changes, "updated_at": now}), row.place))


def released(row: Row, attempt: int, batch: str, *, now: datetime) -> Decided:
    """Put back into the queue what `batch` claimed, at the place that it had."""
    record = row.record
    if record.attempt != attempt:
        return Decided(Verdict.STALE, row)
    if record.status is Status.QUEUED:
        return Decided(Verdict.SAME, row)
    if record.status is not Status.CLAIMED or record.batch != batch:
        return Decided(Verdict.STALE, row)
    entered = {status: at for status, at in record.entered.items() if status != Status.CLAIMED}
    back = replace(
        record,
        status=Status.QUEUED,
        batch=None,
        queued_at=row.place or now,
        entered=entered,
        updated_at=now,
    )
    return Decided(Verdict.APPLIES, _row(back, row.place))


def retried(row: Row, execution: str, *, now: datetime) -> Decided:
    """Begin the next attempt of a failed or cancelled request, with a clean record."""
    record = row.record
    if record.execution == execution and record.status not in TERMINAL:
        return Decided(Verdict.SAME, row)
    if record.status not in {Status.FAILED, Status.CANCELLED} or record.execution == execution:
        return Decided(Verdict.STALE, row)
    changes = {"execution": execution, "lone_failures": 0, "interruptions": 0, "alone": False}
    again = _moved(row, Stamp(record.attempt + 1, Status.QUEUED), changes, now)
    return Decided(Verdict.APPLIES, _row(replace(again.record, retried_at=now), again.place))


def told(row: Row, attempt: int, *, now: datetime) -> Decided:
    """Note that everybody who works on an ended request was told."""
    record = row.record
    if record.attempt != attempt or record.status not in TERMINAL:
        return Decided(Verdict.STALE, row)
    if not record.untold:
        return Decided(Verdict.SAME, row)
    return Decided(Verdict.APPLIES, _row(replace(record, untold=False, updated_at=now), row.place))


def unfinished(record: RequestRecord) -> bool:
    """Return whether something remains to be done for a request: it lives, or is to be told."""
    return record.status not in TERMINAL or record.untold


def next_launch_ms(last_ms: int, *, now_ms: int, interval_ms: int) -> int:
    """Return the next launch slot after the last one that was reserved.

    Slots are `interval_ms` apart and never in the past. A last slot further ahead than anybody
    reserves means that the clock was set back: slots begin anew from now.
    """
    if last_ms - now_ms > max(MOST_AHEAD_MS, 2 * interval_ms):
        return now_ms
    return max(now_ms, last_ms + interval_ms)


def published(
    row: Row,
    stamp: Stamp,
    *,
    stored: ModelRecord | None,
    model: ModelRecord,
    version: ModelVersion,
    now: datetime,
) -> tuple[Decided, ModelRecord]:
    """Make a request ready and its version current; the model is returned as it shall stand.

    Raises:
        ContractBroken: the model is another's, or `version` is not its newest and current one.
        LedgerContention: the stored model has other versions than those before this one.
    """
    decided = advanced(row, stamp, {"version": version.version}, now=now)
    if decided.verdict is not Verdict.APPLIES:
        return decided, stored or model
    given = row.record.given
    mine = (given.tenant, given.user, given.owner, given.model)
    if stamp.status is not Status.READY or (
        (model.tenant, model.user, model.owner, model.model) != mine
        or model.versions[-1:] != (version,)
        or model.current != version.version
        or version.request != given.request
    ):
        raise ContractBroken(
            f"request {given.request} cannot publish {version.version} of model {model.model}: "
            "not its own model, or not that model's newest and current version",
            where="model",
        )
    model = readable(model)
    if (stored.versions if stored else ()) != model.versions[:-1]:
        raise LedgerContention(
            f"model {model.model} has other versions than those before {version.version}",
            model=model.model,
            version=version.version,
        )
    if stored and stored.used_at and (model.used_at is None or model.used_at < stored.used_at):
        model = replace(model, used_at=stored.used_at)
    return decided, model


def _moved(row: Row, stamp: Stamp, changes: Mapping[str, Any], now: datetime) -> Row:
    record, entered = row.record, dict(row.record.entered)
    if stamp.attempt != record.attempt:
        record, entered = replace(record, **FORGOTTEN), {}
    entered[stamp.status.value] = now
    fixed = {
        "attempt": stamp.attempt,
        "status": stamp.status,
        "job": stamp.job or record.job,
        "entered": entered,
        "updated_at": now,
        "untold": stamp.status in UNTOLD,
    }
    return _row(_set(record, {"queued_at": None, **changes, **fixed}), row.place)


def _set(record: RequestRecord, changes: Mapping[str, Any]) -> RequestRecord:
    try:
        return replace(record, **changes)
    except (TypeError, ValueError) as problem:
        raise ContractBroken(
            f"{record.SCHEMA} does not take {sorted(changes)}: {problem}", where="$"
        ) from problem


def _row(record: RequestRecord, place: datetime | None) -> Row:
    # Only who is queued has a `queued_at`; a late writer's is no way back into the queue.
    if record.status is not Status.QUEUED and record.queued_at is not None:
        record = replace(record, queued_at=None)
    record = readable(record)
    return Row(record, record.queued_at or place)


def _check(changes: Mapping[str, Any]) -> None:
    if refused := sorted(set(changes) - CHANGEABLE):
        raise ContractBroken(
            f"{refused} cannot be set on a request; allowed are {sorted(CHANGEABLE)}",
            where=refused[0],
        )
