"""The local platform's ledger: `tasks.ports.Ledger` on one SQLite file.

Every conditional write is one transaction: read the row, decide (`tasks.ledger_changes`), store.
What the rows look like is `infra.local.ledger_rows`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from atelier.contracts.clock import Clock, from_iso, to_iso
from atelier.contracts.durations import KEPT_MEASUREMENTS, Measurement
from atelier.contracts.errors import NotFound
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
from infra.local import ledger_rows
from infra.local.sqlite import Database
from tasks import ledger_changes
from tasks.cursors import check_limit, read_cursor, write_cursor
from tasks.ledger_changes import Decided, Row
from tasks.ports import Changed


class SqliteLedger:
    """Requests, models, outbox and dispatch in one file, shared by threads and processes.

    Attributes:
        queue_listener: the queue's stream: called without arguments in the writer's thread after
            a commit through this object that let a request enter the queue. It must return at
            once and never raise. Entries that another process makes are not heard.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        queue_listener: Callable[[], None] | None = None,
        reading: bool = False,
    ) -> None:
        """Open the ledger, or create it; with `reading` nothing is created or ever written.

        Raises:
            ContractBroken, ServiceUnavailable, LedgerContention: as `infra.local.sqlite` says.
        """
        self._database = Database(path, schema=ledger_rows.SCHEMA, reading=reading)
        self._clock = clock
        self.queue_listener = queue_listener

    def close(self) -> None:
        """Close the file; a later call opens it again."""
        self._database.close()

    # requests

    def create(self, record: RequestRecord) -> tuple[RequestRecord, bool]:
        """Write a request unless its id is there; return the stored one and whether it is new."""
        row = ledger_changes.created(record)
        with self._database.write() as connection:
            stored = ledger_rows.find_row(connection, record.request)
            if stored is None:
                ledger_rows.store_row(connection, row)
        if stored is not None:
            return stored.record, False
        self._heard(None, row.record)
        return row.record, True

    def read(self, request: str) -> RequestRecord:
        """Return a request, or raise NotFound."""
        with self._database.read() as connection:
            return ledger_rows.row_of(connection, request).record

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
        with self._database.read() as connection:
            found = connection.execute(
                "SELECT document FROM requests INDEXED BY queue WHERE queued_at IS NOT NULL "
                "ORDER BY priority DESC, queued_at, request LIMIT ?",
                (limit,),
            ).fetchall()
        return [ledger_rows.read_record(row) for row in found]

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
        where, values = ["tenant = ?"], [tenant]
        if owner is not None:
            where.append("owner = ?")
            values.append(owner)
        if statuses is not None:
            where.append(f"status IN ({', '.join('?' * len(statuses))})")
            values.extend(sorted(statuses))
        if cursor is not None:
            where.append("(created_at, request) < (?, ?)")
            values.extend(read_cursor(cursor))
        with self._database.read() as connection:
            found = connection.execute(
                f"SELECT document FROM requests WHERE {' AND '.join(where)} "  # noqa: S608 - our words
                "ORDER BY created_at DESC, request DESC LIMIT ?",
                (*values, limit + 1),
            ).fetchall()
        records = [ledger_rows.read_record(row) for row in found[:limit]]
        return records, write_cursor(records[-1]) if len(found) > limit else None

    def scan_requests(
        self, *, unfinished: bool, cursor: str | None = None, limit: int = 50
    ) -> tuple[Sequence[RequestRecord], str | None]:
        """Return a page of all tenants' requests and the next page's cursor, oldest first.

        Raises:
            InvalidRequest: the cursor is none of ours, or `limit` is below 1.
        """
        limit = check_limit(limit)
        after = read_cursor(cursor) if cursor is not None else ("", "")
        which = "INDEXED BY unfinished WHERE unfinished = 1 AND" if unfinished else "WHERE"
        with self._database.read() as connection:
            found = connection.execute(
                f"SELECT document FROM requests {which} (created_at, request) > (?, ?) "  # noqa: S608 - our words
                "ORDER BY created_at, request LIMIT ?",
                (*after, limit + 1),
            ).fetchall()
        records = [ledger_rows.read_record(row) for row in found[:limit]]
        return records, write_cursor(records[-1]) if len(found) > limit else None

    def scan_place(self) -> str | None:
        """Return the cursor that was kept for whoever looks at unfinished requests next."""
        with self._database.read() as connection:
            found = connection.execute("SELECT place FROM scan").fetchone()["place"]
        return None if found is None else str(found)

    def keep_scan_place(self, cursor: str | None) -> None:
        """Keep where the next look at unfinished requests goes on; None is the beginning."""
        with self._database.write() as connection:
            connection.execute("UPDATE scan SET place = ?", (cursor,))

    def mark_told(self, request: str, *, attempt: int) -> Changed:
        """Note that everybody who works on an ended request was told."""
        now = self._clock.now()
        return self._change(request, lambda row: ledger_changes.told(row, attempt, now=now))

    def requests_of_job(self, job: str) -> Sequence[RequestRecord]:
        """Return the requests that a training job carries or carried last."""
        with self._database.read() as connection:
            found = connection.execute(
                "SELECT document FROM requests WHERE job = ? ORDER BY request", (job,)
            ).fetchall()
        return [ledger_rows.read_record(row) for row in found]

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
        with self._database.write() as connection:
            row = ledger_rows.row_of(connection, request)
            stored = ledger_rows.find_model(connection, model.owner, model.model)
            decided, standing = ledger_changes.published(
                row, stamp, stored=stored, model=model, version=version, now=now
            )
            if decided.verdict is Verdict.APPLIES:
                ledger_rows.store_row(connection, decided.row)
                ledger_rows.store_model(connection, standing)
                ledger_rows.store_notification(connection, notification)
        return Changed(decided.verdict, decided.row.record)

    def model(self, owner: str, model: str) -> ModelRecord:
        """Return one model of an owner, or raise NotFound."""
        with self._database.read() as connection:
            found = ledger_rows.find_model(connection, owner, model)
        if found is None:
            raise NotFound(f"this user has no model {model[:80]!r}", kind="model", name=model[:80])
        return found

    def models(self, *, owner: str) -> Sequence[ModelRecord]:
        """Return an owner's models by name."""
        with self._database.read() as connection:
            found = connection.execute(
                "SELECT document FROM models WHERE owner = ? ORDER BY model", (owner,)
            ).fetchall()
        return [ModelRecord.from_json(row["document"]) for row in found]

    def list_models(self, *, tenant: str) -> Sequence[ModelRecord]:
        """Return a tenant's models by owner and name."""
        with self._database.read() as connection:
            found = connection.execute(
                "SELECT document FROM models WHERE tenant = ? ORDER BY owner, model", (tenant,)
            ).fetchall()
        return [ModelRecord.from_json(row["document"]) for row in found]

    def touch_model(self, owner: str, model: str, *, used_at: datetime) -> None:
        """Note that a model was used; an older time, or an unknown model, changes nothing."""
        with self._database.write() as connection:
            found = ledger_rows.find_model(connection, owner, model)
            if found is not None and (found.used_at is None or found.used_at < used_at):
                ledger_rows.store_model(connection, replace(found, used_at=used_at))

    # outbox

    def undelivered(
        self, *, limit: int, after: Notification | None = None
    ) -> Sequence[Notification]:
        """Return notifications that nobody delivered yet, oldest first; those behind `after`."""
        place = (to_iso(after.created_at), after.id) if after else ("", "")
        with self._database.read() as connection:
            found = connection.execute(
                "SELECT document FROM outbox WHERE delivered_at IS NULL "
                "AND (created_at, id) > (?, ?) ORDER BY created_at, id LIMIT ?",
                (*place, limit),
            ).fetchall()
        return [Notification.from_json(row["document"]) for row in found]

    def notification(self, notification: str) -> tuple[Notification, datetime | None] | None:
        """Return a notification and when it was delivered, or None when there is none."""
        with self._database.read() as connection:
            found = connection.execute(
                "SELECT document, delivered_at FROM outbox WHERE id = ?", (notification,)
            ).fetchone()
        if found is None:
            return None
        delivered_at = from_iso(found["delivered_at"]) if found["delivered_at"] else None
        return Notification.from_json(found["document"]), delivered_at

    def mark_delivered(self, notification: str, *, at: datetime) -> None:
        """Note a delivery; a second one changes nothing."""
        with self._database.write() as connection:
            connection.execute(
                "UPDATE outbox SET delivered_at = ? WHERE id = ? AND delivered_at IS NULL",
                (to_iso(at), notification),
            )

    # durations

    def measure(self, measurement: Measurement) -> None:
        """Keep what an onboarding took, among the newest of its base model and preset."""
        with self._database.write() as connection:
            ledger_rows.store_measurement(connection, measurement)

    def measurements(self, *, base: str, preset: str) -> Sequence[Measurement]:
        """Return what the last onboardings took, newest first."""
        with self._database.read() as connection:
            found = connection.execute(
                "SELECT document FROM measurements WHERE base = ? AND preset = ? "
                "ORDER BY measured_at DESC, request DESC LIMIT ?",
                (base, preset, KEPT_MEASUREMENTS),
            ).fetchall()
        return [Measurement.from_json(row["document"]) for row in found]

    # dispatch

    def dispatch_state(self) -> DispatchState:
        """Return the dispatcher's epoch and doorbell."""
        with self._database.read() as connection:
            return ledger_rows.dispatch_state(connection)

    def ring(self) -> DispatchState:
        """Ring the doorbell: the running round will scan once more."""
        with self._database.write() as connection:
            connection.execute("UPDATE dispatch SET doorbell = doorbell + 1")
            return ledger_rows.dispatch_state(connection)

    def close_epoch(self, *, epoch: int, doorbell: int | None) -> bool:
        """Begin the next epoch if `epoch` is current and, unless None, nobody rang since."""
        with self._database.write() as connection:
            closed = connection.execute(
                "UPDATE dispatch SET epoch = epoch + 1 "
                "WHERE epoch = ?1 AND (?2 IS NULL OR doorbell = ?2)",
                (epoch, doorbell),
            )
            return closed.rowcount == 1

    def reserve_launch(self, *, interval_seconds: float) -> datetime:
        """Reserve the next launch slot; slots are at least `interval_seconds` apart, in UTC."""
        # Whole milliseconds, rounded up: two slots are never a hair too near.
        now_ms = math.ceil(self._clock.now().timestamp() * 1000)
        interval_ms = math.ceil(interval_seconds * 1000)
        with self._database.write() as connection:
            last = connection.execute("SELECT last_launch_ms FROM dispatch").fetchone()[0]
            slot = ledger_changes.next_launch_ms(last, now_ms=now_ms, interval_ms=interval_ms)
            connection.execute("UPDATE dispatch SET last_launch_ms = ?", (slot,))
        return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=slot)

    def create_batch(self, batch: Batch) -> tuple[Batch, BatchState]:
        """Write a batch once; return the stored one and how far it came."""
        batch = ledger_changes.readable(batch)
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO batches VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (batch.batch, batch.to_json().decode(), BatchState.OPEN, to_iso(batch.created_at)),
            )
            return ledger_rows.batch_of(connection, batch.batch)

    def move_batch(self, batch: str, *, to: BatchState) -> BatchState:
        """Move a batch forward; a move that is none changes nothing. Return its state.

        Raises:
            NotFound: there is no such batch.
        """
        with self._database.write() as connection:
            _, state = ledger_rows.batch_of(connection, batch)
            if (state, to) not in ledger_changes.BATCH_MOVES:
                return state
            connection.execute("UPDATE batches SET state = ? WHERE batch = ?", (to, batch))
        return to

    def open_batches(self) -> Sequence[tuple[Batch, BatchState]]:
        """Return batches that are open or sealed, oldest first."""
        with self._database.read() as connection:
            found = connection.execute(
                "SELECT document, state FROM batches WHERE state IN ('open', 'sealed') "
                "ORDER BY created_at, batch"
            ).fetchall()
        return [(Batch.from_json(row["document"]), BatchState(row["state"])) for row in found]

    def _change(
        self,
        request: str,
        decide: Callable[[Row], Decided],
        notification: Notification | None = None,
    ) -> Changed:
        with self._database.write() as connection:
            before = ledger_rows.row_of(connection, request)
            decided = decide(before)
            if decided.verdict is Verdict.APPLIES:
                ledger_rows.store_row(connection, decided.row)
                if notification is not None:
                    ledger_rows.store_notification(connection, notification)
        self._heard(before.record, decided.row.record)
        return Changed(decided.verdict, decided.row.record)

    def _heard(self, before: RequestRecord | None, after: RequestRecord) -> None:
        waited = before is not None and before.queued_at is not None
        if after.queued_at is not None and not waited and self.queue_listener is not None:
            self.queue_listener()
