"""Histories in one SQLite file: one row per step, one transaction per batch.

A definition is stored once, however many executions keep it.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from workflows.engine.errors import StorageBroken
from workflows.engine.execution import Closing, ExecutionStatus
from workflows.engine.happenings import Redriven, happening_from_dict, happening_to_dict
from workflows.engine.history import HistoryEvent
from workflows.engine.jsontext import decode, encode
from workflows.engine.sqlite_file import BUSY_SECONDS, Connect, SqliteFile, connect
from workflows.engine.store import ExecutionRecord, JournalEntry

_SCHEMA: Final = (
    """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS definitions (digest TEXT PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS executions (
    number INTEGER PRIMARY KEY,
    arn TEXT NOT NULL UNIQUE,
    machine_arn TEXT NOT NULL,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    start_date TEXT NOT NULL,
    stop_date TEXT,
    input TEXT NOT NULL,
    output TEXT,
    error TEXT,
    cause TEXT,
    definition TEXT NOT NULL REFERENCES definitions (digest)
);
CREATE INDEX IF NOT EXISTS executions_by_status ON executions (status, number);
CREATE INDEX IF NOT EXISTS executions_by_machine ON executions (machine_arn, number);
CREATE TABLE IF NOT EXISTS steps (
    execution INTEGER NOT NULL REFERENCES executions (number),
    number INTEGER NOT NULL,
    at TEXT NOT NULL,
    happening TEXT NOT NULL,
    first_event INTEGER,
    last_event INTEGER,
    events TEXT NOT NULL,
    PRIMARY KEY (execution, number)
) WITHOUT ROWID;
""",
    """
ALTER TABLE executions ADD COLUMN redrive_count INTEGER NOT NULL DEFAULT 0;
ALTER TABLE executions ADD COLUMN redrive_date TEXT;
ALTER TABLE executions ADD COLUMN event_count INTEGER NOT NULL DEFAULT 0;
""",
)

_RECORD: Final = """
SELECT arn, machine_arn, name, status, start_date, stop_date, input, output, error, cause, text,
redrive_count, redrive_date, event_count
FROM executions JOIN definitions ON definitions.digest = executions.definition
"""


class SqliteHistoryStore:
    """The durable store.

    Args:
        path: The database file; its folder must exist.
        busy_seconds: How long to wait for another process that writes to it.
        connect: Opens connections.
        reading: Histories are only read: nothing is created or written, and there is no token key.

    Raises:
        StorageError: it cannot be opened; the message names the file and what to do.
    """

    def __init__(
        self,
        path: Path,
        *,
        busy_seconds: float = BUSY_SECONDS,
        connect: Connect = connect,
        reading: bool = False,
    ) -> None:
        self._file = SqliteFile(
            path, schema=_SCHEMA, busy_seconds=busy_seconds, connect=connect, reading=reading
        )
        self._token_key = b"" if reading else self._find_token_key() or self._make_token_key()

    def close(self) -> None:
        """Close the file; the store is of no use afterwards."""
        self._file.close()

    def token_key(self) -> bytes:
        """Return the secret that was made with the file."""
        return self._token_key

    def _find_token_key(self) -> bytes | None:
        found = self._file.rows("SELECT value FROM settings WHERE name = 'token_key'")
        return found[0][0] if found else None

    def _make_token_key(self) -> bytes:
        key = secrets.token_bytes(32)
        with self._file.write() as sql:
            sql.execute("INSERT OR IGNORE INTO settings VALUES ('token_key', ?)", (key,))
        return self._find_token_key() or key

    def commit(self, entries: Sequence[JournalEntry]) -> None:
        """Store the entries in one transaction."""
        with self._file.write() as sql:
            for entry in entries:
                if entry.opens is not None:
                    _insert_execution(sql, entry.opens)
                sql.execute(
                    "INSERT INTO steps SELECT number, ?, ?, ?, ?, ?, ? FROM executions "
                    "WHERE arn = ?",
                    (*_step_row(entry), entry.execution_arn),
                )
                if isinstance(entry.happening, Redriven):
                    sql.execute(
                        "UPDATE executions SET status = 'RUNNING', stop_date = NULL, error = NULL, "
                        "cause = NULL, redrive_count = ?, redrive_date = ? WHERE arn = ?",
                        (entry.happening.count, entry.at.isoformat(), entry.execution_arn),
                    )
                if entry.closing is not None:
                    _close_execution(sql, entry, entry.closing)

    def find(self, execution_arn: str) -> ExecutionRecord | None:
        """Return an execution."""
        found = self._records(f"{_RECORD} WHERE arn = ?", (execution_arn,))
        return found[0] if found else None

    def running(self) -> list[ExecutionRecord]:
        """Return the executions that have not ended, the oldest first."""
        return self._records(f"{_RECORD} WHERE status = 'RUNNING' ORDER BY number", ())

    def journal(self, execution_arn: str) -> list[JournalEntry]:
        """Return an execution's steps in order."""
        rows = self._file.rows(
            "SELECT steps.number, at, happening, events FROM steps JOIN executions "
            "ON executions.number = steps.execution WHERE arn = ? ORDER BY steps.number",
            (execution_arn,),
        )
        try:
            return [
                JournalEntry(
                    execution_arn,
                    number,
                    datetime.fromisoformat(at),
                    happening_from_dict(decode(happening)),
                    tuple(_read_events(events, at)),
                )
                for number, at, happening, events in rows
            ]
        except (LookupError, TypeError, ValueError) as problem:
            raise StorageBroken(
                f"the journal of {execution_arn} does not read ({problem!r}): put back a backup, "
                "or run the version that wrote it"
            ) from problem

    def events(
        self, execution_arn: str, *, beyond: int, limit: int, reverse: bool
    ) -> list[HistoryEvent]:
        """Return up to `limit` events after (or, in reverse, before) the event `beyond`."""
        side, order = ("first_event <", "DESC") if reverse else ("last_event >", "ASC")
        rows = self._file.rows(
            "SELECT at, events FROM steps JOIN executions "  # noqa: S608 - two fixed words
            f"ON executions.number = steps.execution WHERE arn = ? AND {side} ? "
            f"ORDER BY steps.number {order} LIMIT ?",
            (execution_arn, beyond, limit),
        )
        found: list[HistoryEvent] = []
        for at, text in rows:
            of_step = list(_read_events(text, at))
            if reverse:
                found += [event for event in reversed(of_step) if event.id < beyond]
            else:
                found += [event for event in of_step if event.id > beyond]
        return found[:limit]

    def executions(
        self,
        machine_arn: str | None,
        *,
        status: ExecutionStatus | None,
        skip: int,
        limit: int,
    ) -> list[ExecutionRecord]:
        """Return executions, the newest first."""
        wanted = None if status is None else status.value
        return self._records(
            f"{_RECORD} WHERE (?1 IS NULL OR machine_arn = ?1) AND (?2 IS NULL OR status = ?2) "
            "ORDER BY number DESC LIMIT ?3 OFFSET ?4",
            (machine_arn, wanted, limit, skip),
        )

    def _records(self, query: str, values: tuple[Any, ...]) -> list[ExecutionRecord]:
        texts: dict[str, str] = {}  # thousands of executions keep the same few definitions
        return [
            ExecutionRecord(
                arn=arn,
                machine_arn=machine_arn,
                name=name,
                status=ExecutionStatus(status),
                start_date=datetime.fromisoformat(start_date),
                stop_date=datetime.fromisoformat(stop_date) if stop_date else None,
                input=given,
                output=output,
                error=error,
                cause=cause,
                definition=texts.setdefault(definition, definition),
                redrive_count=redrive_count,
                redrive_date=datetime.fromisoformat(redrive_date) if redrive_date else None,
                event_count=event_count,
            )
            for (
                arn,
                machine_arn,
                name,
                status,
                start_date,
                stop_date,
                given,
                output,
                error,
                cause,
                definition,
                redrive_count,
                redrive_date,
                event_count,
            ) in self._file.rows(query, values)
        ]


def _insert_execution(sql: sqlite3.Connection, record: ExecutionRecord) -> None:
    digest = hashlib.sha256(record.definition.encode()).hexdigest()
    sql.execute("INSERT OR IGNORE INTO definitions VALUES (?, ?)", (digest, record.definition))
    sql.execute(
        "INSERT INTO executions (arn, machine_arn, name, status, start_date, input, definition) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            record.arn,
            record.machine_arn,
            record.name,
            record.status.value,
            record.start_date.isoformat(),
            record.input,
            digest,
        ),
    )


def _close_execution(sql: sqlite3.Connection, entry: JournalEntry, end: Closing) -> None:
    sql.execute(
        "UPDATE executions SET status = ?, stop_date = ?, output = ?, error = ?, cause = ?, "
        "event_count = ? WHERE arn = ?",
        (
            end.status.value,
            entry.at.isoformat(),
            end.output,
            end.error,
            end.cause,
            entry.events[-1].id,
            entry.execution_arn,
        ),
    )


def _step_row(entry: JournalEntry) -> tuple[Any, ...]:
    events = entry.events
    return (
        entry.number,
        entry.at.isoformat(),
        encode(happening_to_dict(entry.happening)),
        events[0].id if events else None,
        events[-1].id if events else None,
        encode([[event.id, event.previous_id, event.type, event.details] for event in events]),
    )


def _read_events(text: str, at: str) -> Iterator[HistoryEvent]:
    timestamp = datetime.fromisoformat(at)
    for number, previous, event_type, details in decode(text):
        yield HistoryEvent(number, previous, event_type, timestamp, details)
