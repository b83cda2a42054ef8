"""The ledger on DynamoDB: `tasks.ports.Ledger` on the three tables of `tasks.aws.tables`.

Single items are read strongly. Indexes lag a little behind and are read for keys only, whose items
are then read strongly and checked again: a list may miss what was written a moment ago, and never
shows what is no longer so. What must not be missed has its own guard (the dispatcher's doorbell).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from atelier.contracts.clock import Clock, from_iso, to_iso
from atelier.contracts.durations import Measurement
from atelier.contracts.errors import InvalidRequest, NotFound
from atelier.contracts.records import (
    Batch,
    BatchState,
    DispatchState,
    ModelRecord,
    ModelVersion,
    Notification,
    RequestRecord,
)
from atelier.contracts.status import Stamp, Status, Verdict
from tasks import ledger_changes
from tasks.aws.control_table import ControlTable
from tasks.aws.dynamo import Conflict, Dynamo, Item, put, until_written
from tasks.aws.tables import QUEUE_SHARDS, Tables, queue_shard
from tasks.cursors import check_limit, read_cursor, read_place, write_cursor, write_place
from tasks.ledger_changes import Decided, Row
from tasks.ports import Changed


class DynamoLedger:
    """Requests, models, outbox and dispatch in three tables."""

    def __init__(self, client: Any, *, clock: Clock, tables: Tables | None = None) -> None:
        """Bind `boto3.client("dynamodb")` to a deployment's tables."""
        self._dynamo = Dynamo(client)
        self._tables = tables or Tables()
        self._clock = clock
        self._control = ControlTable(self._dynamo, table=self._tables.control, clock=clock)

    # requests

    def create(self, record: RequestRecord) -> tuple[RequestRecord, bool]:
        """Write a request unless its id is there; return the stored one and whether it is new."""
        row = ledger_changes.created(record)
        try:
            self._dynamo.write(put(self._tables.requests, _request_item(row), replacing=None))
        except Conflict:
            return self.read(record.request), False
        return row.record, True

    def read(self, request: str) -> RequestRecord:
        """Return a request, or raise NotFound."""
        return _row(self._request(request)).record

    def advance(
        self,
        request: str,
        stamp: Stamp,
        *,
        notification: Notification | None = None,
        **changes: Any,
    ) -> Changed:
        """Move a request to `stamp` and set `changes`, if `judge` says that it applies."""
        now = self._clock.now()
        return self._change(
            request,
            lambda row: ledger_changes.advanced(row, stamp, changes, now=now),
            notification,
        )

    def annotate(self, request: str, *, attempt: int, **changes: Any) -> Changed:
        """Set fields without a change of status, while `attempt` is current and not terminal."""
        now = self._clock.now()
        return self._change(
            request, lambda row: ledger_changes.annotated(row, attempt, changes, now=now)
        )

    def release(self, request: str, *, attempt: int, batch: str) -> Changed:
        """Put a request that `batch` claimed back into the queue, at its place."""
        now = self._clock.now()
        return self._change(
            request, lambda row: ledger_changes.released(row, attempt, batch, now=now)
        )

    def retry(self, request: str, *, execution: str) -> Changed:
        """Begin the next attempt of a failed or cancelled request, on a person's word."""
        now = self._clock.now()
        return self._change(request, lambda row: ledger_changes.retried(row, execution, now=now))

    def queued(self, *, limit: int) -> Sequence[RequestRecord]:
        """Return who waits in the queue: highest priority first, then longest wait."""
        waiting: list[tuple[str, str]] = []
        for shard in range(QUEUE_SHARDS):
            found = 0
            for page in self._dynamo.query(
                self._tables.requests, "queue", ("queue_shard", str(shard)), page=min(limit, 1000)
            ):
                waiting += [(item["queue_place"], item["request"]) for item in page]
                found += len(page)
                if found >= limit:
                    break
        first = [request for _, request in sorted(waiting)[:limit]]
        records = [r for r in self._requests(first) if r.queued_at is not None]
        return sorted(records, key=_queue_place)

    def list_requests(
        self,
        *,
        tenant: str,
        owner: str | None = None,
        statuses: frozenset[Status] | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> tuple[Sequence[RequestRecord], str | None]:
        """Return a page of a tenant's requests, newest first, and the next page's cursor.

        Raises:
            InvalidRequest: the cursor is none of ours, or `limit` is below 1.
        """
        limit = check_limit(limit)
        index, partition = ("by-tenant", ("tenant", tenant))
        if owner is not None:
            index, partition = ("by-owner", ("owner", owner))
        before = ("listed_at", "#".join(read_cursor(cursor))) if cursor is not None else None
        found: list[RequestRecord] = []
        for page in self._dynamo.query(
            self._tables.requests, index, partition, before=before, newest_first=True
        ):
            found += [
                record
                for record in self._requests([item["request"] for item in page])
                if record.given.tenant == tenant and (statuses is None or record.status in statuses)
            ]
            if len(found) > limit:
                break
        return found[:limit], write_cursor(found[limit - 1]) if len(found) > limit else None

    def scan_requests(
        self, *, unfinished: bool, cursor: str | None = None, limit: int = 50
    ) -> tuple[Sequence[RequestRecord], str | None]:
        """Return a page of all tenants' requests and the next page's cursor, shard by shard.

        Raises:
            InvalidRequest: the cursor is none of ours, or `limit` is below 1.
        """
        limit = check_limit(limit)
        if unfinished:
            return self._scan_unfinished(cursor, limit)
        after = read_place(cursor, parts=1)[0] if cursor is not None else None
        items, last = self._dynamo.scan(
            self._tables.requests, after={"request": after} if after else None, page=limit
        )
        return [_row(item).record for item in items], write_place(last["request"]) if last else None

    def scan_place(self) -> str | None:
        """Return the cursor that was kept for whoever looks at unfinished requests next."""
        return self._control.scan_place()

    def keep_scan_place(self, cursor: str | None) -> None:
        """Keep where the next look at unfinished requests goes on; None is the beginning."""
        self._control.keep_scan_place(cursor)

    def mark_told(self, request: str, *, attempt: int) -> Changed:
        """Note that everybody who works on an ended request was told."""
        now = self._clock.now()
        return self._change(request, lambda row: ledger_changes.told(row, attempt, now=now))

    def requests_of_job(self, job: str) -> Sequence[RequestRecord]:
        """Return the requests that a training job carries or carried last."""
        pages = self._dynamo.query(self._tables.requests, "by-job", ("job", job))
        named = [item["request"] for page in pages for item in page]
        return [record for record in self._requests(named) if record.job == job]

    # models

    def publish(
        self,
        request: str,
        stamp: Stamp,
        *,
        model: ModelRecord,
        version: ModelVersion,
        notification: Notification,
    ) -> Changed:
        """Make a request ready and its version current, in one transaction with its notification.

        Raises:
            NotFound: there is no such request.
            LedgerContention: another version was published meanwhile; read and try again.
            ContractBroken: the model is another's, or the version not its newest.
        """
        now = self._clock.now()

        def turn() -> Changed:
            before = self._request(request)
            stored = self._model(model.owner, model.model)
            decided, standing = ledger_changes.published(
                _row(before),
                stamp,
                stored=_model(stored) if stored else None,
                model=model,
                version=version,
                now=now,
            )
            if decided.verdict is Verdict.APPLIES:
                self._dynamo.write(
                    put(self._tables.requests, _request_item(decided.row), replacing=before),
                    put(self._tables.models, _model_item(standing), replacing=stored),
                    *self._control.notification_writes(notification),
                )
            return Changed(decided.verdict, decided.row.record)

        return until_written(request, turn)

    def model(self, owner: str, model: str) -> ModelRecord:
        """Return one model of an owner, or raise NotFound."""
        found = self._model(owner, model)
        if found is None:
            raise NotFound(f"this user has no model {model[:80]!r}", kind="model", name=model[:80])
        return _model(found)

    def models(self, *, owner: str) -> Sequence[ModelRecord]:
        """Return an owner's models by name."""
        pages = self._dynamo.query(self._tables.models, None, ("owner", owner))
        return [_model(item) for page in pages for item in page]

    def list_models(self, *, tenant: str) -> Sequence[ModelRecord]:
        """Return a tenant's models by owner and name."""
        pages = self._dynamo.query(self._tables.models, "by-tenant", ("tenant", tenant))
        keys = [{"owner": i["owner"], "model": i["model"]} for page in pages for i in page]
        return [_model(item) for item in self._dynamo.get_all(self._tables.models, keys)]

    def touch_model(self, owner: str, model: str, *, used_at: datetime) -> None:
        """Note that a model was used; an older time, or an unknown model, changes nothing."""

        def turn() -> None:
            stored = self._model(owner, model)
            found = _model(stored) if stored else None
            if found is not None and (found.used_at is None or found.used_at < used_at):
                item = _model_item(replace(found, used_at=used_at))
                self._dynamo.write(put(self._tables.models, item, replacing=stored))

        until_written(model, turn)

    # outbox and dispatch: the control table

    def undelivered(
        self, *, limit: int, after: Notification | None = None
    ) -> Sequence[Notification]:
        """Return notifications that nobody delivered yet, oldest first; those behind `after`."""
        return self._control.undelivered(limit=limit, after=after)

    def notification(self, notification: str) -> tuple[Notification, datetime | None] | None:
        """Return a notification and when it was delivered, or None when there is none."""
        return self._control.notification(notification)

    def mark_delivered(self, notification: str, *, at: datetime) -> None:
        """Note a delivery; a second one changes nothing."""
        self._control.mark_delivered(notification, at=at)

    def measure(self, measurement: Measurement) -> None:
        """Keep what an onboarding took, among the newest of its base model and preset."""
        self._control.measure(measurement)

    def measurements(self, *, base: str, preset: str) -> Sequence[Measurement]:
        """Return what the last onboardings took, newest first."""
        return self._control.measurements(base=base, preset=preset)

    def dispatch_state(self) -> DispatchState:
        """Return the dispatcher's epoch and doorbell."""
        return self._control.dispatch_state()

    def ring(self) -> DispatchState:
        """Ring the doorbell: the running round will scan once more."""
        return self._control.ring()

    def close_epoch(self, *, epoch: int, doorbell: int | None) -> bool:
        """Begin the next epoch if `epoch` is current and, unless None, nobody rang since."""
        return self._control.close_epoch(epoch=epoch, doorbell=doorbell)

    def reserve_launch(self, *, interval_seconds: float) -> datetime:
        """Reserve the next launch slot; slots are at least `interval_seconds` apart, in UTC."""
        return self._control.reserve_launch(interval_seconds=interval_seconds)

    def create_batch(self, batch: Batch) -> tuple[Batch, BatchState]:
        """Write a batch once; return the stored one and how far it came."""
        return self._control.create_batch(batch)

    def move_batch(self, batch: str, *, to: BatchState) -> BatchState:
        """Move a batch forward; a move that is none changes nothing. Return its state."""
        return self._control.move_batch(batch, to=to)

    def open_batches(self) -> Sequence[tuple[Batch, BatchState]]:
        """Return batches that are open or sealed, oldest first."""
        return self._control.open_batches()

    def _scan_unfinished(
        self, cursor: str | None, limit: int
    ) -> tuple[Sequence[RequestRecord], str | None]:
        first, since = read_place(cursor, parts=2) if cursor is not None else ("0", "")
        places: list[tuple[str, str, str]] = []
        for shard in range(_shard(first), QUEUE_SHARDS):
            after = ("unfinished_since", since) if since else None
            for page in self._dynamo.query(
                self._tables.requests, "unfinished", ("unfinished_shard", str(shard)), after=after
            ):
                places += [(str(shard), i["unfinished_since"], i["request"]) for i in page]
                if len(places) > limit:
                    break
            since = ""
            if len(places) > limit:
                break
        # The index lags: what has been finished meanwhile is left out.
        found = self._requests([request for _, _, request in places[:limit]])
        following = write_place(*places[limit - 1][:2]) if len(places) > limit else None
        return [record for record in found if ledger_changes.unfinished(record)], following

    def _change(
        self,
        request: str,
        decide: Callable[[Row], Decided],
        notification: Notification | None = None,
    ) -> Changed:
        def turn() -> Changed:
            before = self._request(request)
            decided = decide(_row(before))
            if decided.verdict is Verdict.APPLIES:
                told = self._control.notification_writes(notification) if notification else []
                self._dynamo.write(
                    put(self._tables.requests, _request_item(decided.row), replacing=before),
                    *told,
                )
            return Changed(decided.verdict, decided.row.record)

        return until_written(request, turn)

    def _request(self, request: str) -> Item:
        found = self._dynamo.get(self._tables.requests, {"request": request}) if request else None
        if found is None:
            raise NotFound(f"no request {request[:80]!r}", kind="request", name=request[:80])
        return found

    def _requests(self, requests: Sequence[str]) -> list[RequestRecord]:
        keys = [{"request": request} for request in requests]
        return [_row(item).record for item in self._dynamo.get_all(self._tables.requests, keys)]

    def _model(self, owner: str, model: str) -> Item | None:
        return self._dynamo.get(self._tables.models, {"owner": owner, "model": model})


def _row(item: Item) -> Row:
    place = item.get("place")
    return Row(RequestRecord.from_json(item["document"]), from_iso(place) if place else None)


def _request_item(row: Row) -> Item:
    record = row.record
    waits = record.queued_at is not None
    unfinished = ledger_changes.unfinished(record)
    listed_at = f"{to_iso(record.created_at)}#{record.request}"
    return {
        "request": record.request,
        "document": record.to_json().decode(),
        "place": to_iso(row.place) if row.place else None,
        "tenant": record.given.tenant,
        "owner": record.given.owner,
        "listed_at": listed_at,
        "job": record.job,
        "queue_shard": queue_shard(record.request) if waits else None,
        "queue_place": "#".join(_queue_place(record)) if waits else None,
        "unfinished_shard": queue_shard(record.request) if unfinished else None,
        "unfinished_since": listed_at if unfinished else None,
    }


def _shard(text: str) -> int:
    if not text.isdecimal() or int(text) >= QUEUE_SHARDS:
        raise InvalidRequest(f"a cursor of shard {text[:20]!r} is none of ours", where="cursor")
    return int(text)


def _queue_place(record: RequestRecord) -> tuple[str, str, str]:
    # Sorts as the queue does: 9 is the highest priority and comes first.
    assert record.queued_at is not None  # noqa: S101 - only asked of who waits
    return str(9 - record.given.priority), to_iso(record.queued_at), record.request


def _model(item: Item) -> ModelRecord:
    return ModelRecord.from_json(item["document"])


def _model_item(model: ModelRecord) -> Item:
    return {
        "owner": model.owner,
        "model": model.model,
        "document": model.to_json().decode(),
        "tenant": model.tenant,
        "listed_at": f"{model.owner}#{model.model}",
    }
