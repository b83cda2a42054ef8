"""The ledger's SQL: its schema, and how documents become rows and rows documents.

A document is stored as its canonical JSON; the columns beside it are what queries need. Every
function works inside the transaction of the connection that it is given.
"""

from __future__ import annotations

import sqlite3

from atelier.contracts.clock import from_iso, to_iso
from atelier.contracts.documents import Document
from atelier.contracts.durations import KEPT_MEASUREMENTS, Measurement
from atelier.contracts.errors import NotFound
from atelier.contracts.records import (
    Batch,
    BatchState,
    DispatchState,
    ModelRecord,
    Notification,
    RequestRecord,
)
from tasks import ledger_changes
from tasks.ledger_changes import Row

SCHEMA = (
    """
    CREATE TABLE requests (
        request TEXT PRIMARY KEY,
        document TEXT NOT NULL,
        tenant TEXT NOT NULL,
        owner TEXT NOT NULL,
        status TEXT NOT NULL,
        job TEXT,
        priority INTEGER NOT NULL,
        created_at TEXT NOT NULL,
        queued_at TEXT,
        place TEXT
    ) WITHOUT ROWID;
    CREATE INDEX requests_by_tenant ON requests (tenant, created_at, request);
    CREATE INDEX requests_by_owner ON requests (owner, created_at, request);
    CREATE INDEX requests_by_job ON requests (job, request) WHERE job IS NOT NULL;
    CREATE INDEX queue ON requests (priority DESC, queued_at, request)
        WHERE queued_at IS NOT NULL;
    CREATE TABLE models (
        owner TEXT NOT NULL,
        model TEXT NOT NULL,
        document TEXT NOT NULL,
        tenant TEXT NOT NULL,
        PRIMARY KEY (owner, model)
    ) WITHOUT ROWID;
    CREATE INDEX models_by_tenant ON models (tenant, owner, model);
    CREATE TABLE outbox (
        id TEXT PRIMARY KEY,
        document TEXT NOT NULL,
        created_at TEXT NOT NULL,
        delivered_at TEXT
    ) WITHOUT ROWID;
    CREATE INDEX undelivered ON outbox (created_at, id) WHERE delivered_at IS NULL;
    CREATE TABLE batches (
        batch TEXT PRIMARY KEY,
        document TEXT NOT NULL,
        state TEXT NOT NULL,
        created_at TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX open_batches ON batches (created_at, batch) WHERE state IN ('open', 'sealed');
    CREATE TABLE dispatch (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        epoch INTEGER NOT NULL,
        doorbell INTEGER NOT NULL,
        last_launch_ms INTEGER NOT NULL
    );
    INSERT INTO dispatch VALUES (1, 1, 0, 0)
    """,
    """
    CREATE TABLE measurements (
        base TEXT NOT NULL,
        preset TEXT NOT NULL,
        measured_at TEXT NOT NULL,
        request TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        document TEXT NOT NULL,
        PRIMARY KEY (base, preset, measured_at, request, attempt)
    ) WITHOUT ROWID
    """,
    """
    ALTER TABLE requests ADD COLUMN unfinished INTEGER NOT NULL DEFAULT 1;
    UPDATE requests SET unfinished = 0
        WHERE status IN ('ready', 'failed', 'cancelled', 'erased');
    CREATE INDEX unfinished ON requests (created_at, request) WHERE unfinished = 1;
    CREATE INDEX requests_by_age ON requests (created_at, request)
    """,
    """
    CREATE TABLE scan (one INTEGER PRIMARY KEY CHECK (one = 1), place TEXT);
    INSERT INTO scan VALUES (1, NULL)
    """,
)


def _text(document: Document) -> str:
    return document.to_json().decode()


def read_record(row: sqlite3.Row) -> RequestRecord:
    """Return the request in a row."""
    return RequestRecord.from_json(row["document"])


def find_row(connection: sqlite3.Connection, request: str) -> Row | None:
    """Return a request with its place in the queue, or None."""
    found = connection.execute(
        "SELECT document, place FROM requests WHERE request = ?", (request,)
    ).fetchone()
    if found is None:
        return None
    return Row(read_record(found), from_iso(found["place"]) if found["place"] else None)


def row_of(connection: sqlite3.Connection, request: str) -> Row:
    """Return a request with its place in the queue, or raise NotFound."""
    found = find_row(connection, request)
    if found is None:
        raise NotFound(f"no request {request[:80]!r}", kind="request", name=request[:80])
    return found


def store_row(connection: sqlite3.Connection, row: Row) -> None:
    """Write a request, new or not."""
    record = row.record
    connection.execute(
        "INSERT INTO requests VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (request) DO UPDATE SET document = excluded.document, "
        "status = excluded.status, job = excluded.job, queued_at = excluded.queued_at, "
        "place = excluded.place, unfinished = excluded.unfinished",
        (
            record.request,
            _text(record),
            record.given.tenant,
            record.given.owner,
            record.status,
            record.job,
            record.given.priority,
            to_iso(record.created_at),
            to_iso(record.queued_at) if record.queued_at else None,
            to_iso(row.place) if row.place else None,
            ledger_changes.unfinished(record),
        ),
    )


def find_model(connection: sqlite3.Connection, owner: str, model: str) -> ModelRecord | None:
    """Return a model, or None."""
    found = connection.execute(
        "SELECT document FROM models WHERE owner = ? AND model = ?", (owner, model)
    ).fetchone()
    return None if found is None else ModelRecord.from_json(found["document"])


def store_model(connection: sqlite3.Connection, model: ModelRecord) -> None:
    """Write a model, new or not."""
    connection.execute(
        "INSERT INTO models VALUES (?, ?, ?, ?) "
        "ON CONFLICT (owner, model) DO UPDATE SET document = excluded.document",
        (model.owner, model.model, _text(model), model.tenant),
    )


def store_notification(connection: sqlite3.Connection, notification: Notification) -> None:
    """Write a notification unless its id is there: what was told is never told differently."""
    notification = ledger_changes.readable(notification)
    connection.execute(
        "INSERT INTO outbox VALUES (?, ?, ?, NULL) ON CONFLICT DO NOTHING",
        (notification.id, _text(notification), to_iso(notification.created_at)),
    )


def store_measurement(connection: sqlite3.Connection, measured: Measurement) -> None:
    """Write a measurement and forget those that are too old to count."""
    measured = ledger_changes.readable(measured)
    key = (measured.base, measured.preset)
    connection.execute(
        "DELETE FROM measurements WHERE base = ? AND preset = ? AND request = ? AND attempt = ?",
        (*key, measured.request, measured.attempt),
    )
    connection.execute(
        "INSERT INTO measurements VALUES (?, ?, ?, ?, ?, ?)",
        (*key, to_iso(measured.at), measured.request, measured.attempt, _text(measured)),
    )
    connection.execute(
        "DELETE FROM measurements WHERE base = ?1 AND preset = ?2 AND (measured_at, request) < "
        "(SELECT measured_at, request FROM measurements WHERE base = ?1 AND preset = ?2 "
        "ORDER BY measured_at DESC, request DESC LIMIT 1 OFFSET ?3)",
        (*key, KEPT_MEASUREMENTS - 1),
    )


def dispatch_state(connection: sqlite3.Connection) -> DispatchState:
    """Return the dispatcher's item."""
    found = connection.execute("SELECT epoch, doorbell FROM dispatch").fetchone()
    return DispatchState(epoch=found["epoch"], doorbell=found["doorbell"])


def batch_of(connection: sqlite3.Connection, batch: str) -> tuple[Batch, BatchState]:
    """Return a batch and how far it came, or raise NotFound."""
    found = connection.execute(
        "SELECT document, state FROM batches WHERE batch = ?", (batch,)
    ).fetchone()
    if found is None:
        raise NotFound(f"no batch {batch[:80]!r}", kind="batch", name=batch[:80])
    return Batch.from_json(found["document"]), BatchState(found["state"])
