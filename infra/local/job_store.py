"""Training jobs in SQLite: names unique for ever, changes atomic, events told at least once.

Every change of a job and the event that tells it are one transaction; the event stays until its
receiver has returned, so a crash between the two repeats an event and never loses one.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from atelier.contracts.documents import decode, encode
from atelier.contracts.errors import JobNameTaken, NotFound
from infra.local.job_record import JobRecord, JobStatus
from infra.local.sqlite import Database

_SCHEMA = (
    """
create table jobs (
    name text primary key,
    status text not null,
    created_at text not null,
    modified_at text not null,
    open integer not null,
    record text not null
) strict;
create index open_jobs on jobs (open) where open = 1;
create table events (
    number integer primary key autoincrement,
    event text not null
) strict
""",
)

EventOf = Callable[[JobRecord, str], Mapping[str, Any]]
"""Makes the event of a record's present state, given the event's id."""


@dataclass(frozen=True, slots=True)
class JobFilter:
    """ListTrainingJobs' filters and order; None filters nothing."""

    name_contains: str | None = None
    status: JobStatus | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    modified_after: datetime | None = None
    modified_before: datetime | None = None
    sort_by: str = "CreationTime"
    descending: bool = True


class JobStore:
    """The one truth about training jobs. Safe to use from several threads."""

    def __init__(self, path: Path, *, event_of: EventOf, reading: bool = False) -> None:
        """Open or create the file; with `reading` nothing is created or ever written."""
        self._event_of = event_of
        self._database = Database(path, schema=_SCHEMA, reading=reading)

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        self._database.close()

    def add(self, record: JobRecord, *, admit: Callable[[Sequence[JobRecord]], JobRecord]) -> None:
        """Write a new job as `admit` returns it, given the jobs that are open now.

        Raises:
            JobNameTaken: a job of that name exists, in whatever status.
            AtelierError: as `admit` raises; nothing is written then.
        """
        with self._database.write() as connection:
            if _find(connection, record.name) is not None:
                raise JobNameTaken(f"a training job {record.name} exists", job=record.name)
            self._write(connection, admit(_open(connection)))

    def read(self, name: str) -> JobRecord:
        """Return a job.

        Raises:
            NotFound: there is none of that name.
        """
        with self._database.read() as connection:
            return _known(connection, name)

    def change(self, name: str, change: Callable[[JobRecord], JobRecord]) -> JobRecord:
        """Apply `change` to a job that has not ended, atomically; return it as it now stands."""
        with self._database.write() as connection:
            before = _known(connection, name)
            if before.ended:
                return before
            after = change(before)
            tell = len(after.transitions) != len(before.transitions)
            self._write(connection, after, tell=tell)
            return after

    def open(self) -> Sequence[JobRecord]:
        """Return the jobs that have not ended, oldest first."""
        with self._database.read() as connection:
            return _open(connection)

    def list(self, wanted: JobFilter, *, offset: int, limit: int) -> Sequence[JobRecord]:
        """Return a page of jobs."""
        conditions = {
            "instr(name, ?) > 0": wanted.name_contains,
            "status = ?": wanted.status and wanted.status.value,
            "created_at > ?": wanted.created_after and encode(wanted.created_after),
            "created_at < ?": wanted.created_before and encode(wanted.created_before),
            "modified_at > ?": wanted.modified_after and encode(wanted.modified_after),
            "modified_at < ?": wanted.modified_before and encode(wanted.modified_before),
        }
        used = {text: value for text, value in conditions.items() if value is not None}
        column = {"Name": "name", "Status": "status"}.get(wanted.sort_by, "created_at")
        direction = "desc" if wanted.descending else "asc"
        # Only the fixed texts above are put together; every value is bound.
        query = (
            f"select record from jobs where {' and '.join(used) or 'true'} "  # noqa: S608
            f"order by {column} {direction}, name {direction} limit ? offset ?"
        )
        with self._database.read() as connection:
            rows = connection.execute(query, (*used.values(), limit, offset)).fetchall()
        return [_decoded(row[0]) for row in rows]

    def untold(self, *, limit: int) -> Sequence[tuple[int, Mapping[str, Any]]]:
        """Return events that nobody took yet, oldest first, with their numbers."""
        with self._database.read() as connection:
            rows = connection.execute(
                "select number, event from events order by number limit ?", (limit,)
            ).fetchall()
        return [(number, json.loads(event)) for number, event in rows]

    def mark_told(self, number: int) -> None:
        """Forget an event that was taken."""
        with self._database.write() as connection:
            connection.execute("delete from events where number = ?", (number,))

    def _write(
        self, connection: sqlite3.Connection, record: JobRecord, *, tell: bool = True
    ) -> None:
        connection.execute(
            "insert or replace into jobs values (?, ?, ?, ?, ?, ?)",
            (
                record.name,
                record.status.value,
                encode(record.created_at),
                encode(record.modified_at),
                int(not record.ended),
                json.dumps(encode(record)),
            ),
        )
        if tell:
            event = self._event_of(record, f"{record.name}-{len(record.transitions)}")
            connection.execute("insert into events (event) values (?)", (json.dumps(event),))


def _find(connection: sqlite3.Connection, name: str) -> JobRecord | None:
    row = connection.execute("select record from jobs where name = ?", (name,)).fetchone()
    return None if row is None else _decoded(row[0])


def _known(connection: sqlite3.Connection, name: str) -> JobRecord:
    record = _find(connection, name)
    if record is None:
        raise NotFound(f"there is no training job {name}", kind="training job", name=name)
    return record


def _open(connection: sqlite3.Connection) -> Sequence[JobRecord]:
    rows = connection.execute(
        "select record from jobs where open = 1 order by created_at, name"
    ).fetchall()
    return [_decoded(row[0]) for row in rows]


def _decoded(text: str) -> JobRecord:
    return decode(JobRecord, json.loads(text))
