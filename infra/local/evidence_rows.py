"""From the rows of the platform's SQLite files to evidence; a row that does not read is told."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any, TypeVar

from atelier.contracts import ids
from atelier.contracts.clock import from_iso
from atelier.contracts.container import MANIFEST_DIGEST_HYPERPARAMETER
from atelier.contracts.documents import DocumentError, decode
from atelier.contracts.records import (
    Batch,
    BatchState,
    ModelRecord,
    Notification,
    RequestRecord,
)
from infra.doctor.evidence import (
    ExecutionSeen,
    JobSeen,
    Ledger,
    OutboxRow,
    Token,
    Training,
    Unreadable,
)
from infra.doctor.histories import HistoryReader, carried_by
from infra.local.job_record import JobRecord
from workflows.engine.errors import InvalidToken
from workflows.engine.tokens import read_token

T = TypeVar("T")


class RowMissing(Exception):
    """A file lacks its tables, or the one row without which it says nothing."""


@dataclass(slots=True)
class Rows:
    """Reads rows one by one and remembers those that do not read."""

    unreadable: list[Unreadable] = field(default_factory=list)

    def each(
        self, found: Iterator[sqlite3.Row], kind: str, read: Callable[[sqlite3.Row], T]
    ) -> Iterator[T]:
        """Yield what `read` makes of each row; a row's first column names it."""
        for row in found:
            try:
                yield read(row)
            except (DocumentError, ValueError, TypeError, KeyError) as problem:
                where = f"{kind} {str(row[0])[:120]}"
                self.unreadable.append(Unreadable(kind, where, str(problem)[:300]))


def ledger(connection: sqlite3.Connection, rows: Rows) -> Ledger:
    """Return everything that the ledger holds, tokens not yet told apart."""
    requests = rows.each(
        connection.execute("SELECT request, document FROM requests"),
        "request",
        lambda row: RequestRecord.from_json(row["document"]),
    )
    models = rows.each(
        connection.execute("SELECT owner || '/' || model, document FROM models"),
        "model",
        lambda row: ModelRecord.from_json(row["document"]),
    )
    batches = rows.each(
        connection.execute("SELECT batch, document, state FROM batches"),
        "batch",
        lambda row: (Batch.from_json(row["document"]), BatchState(row["state"])),
    )
    outbox = rows.each(
        connection.execute("SELECT id, document, delivered_at FROM outbox"), "notification", _outbox
    )
    epoch = _only(connection, "SELECT epoch FROM dispatch")
    return Ledger(
        requests={record.request: record for record in requests},
        models=tuple(models),
        outbox=tuple(outbox),
        batches={batch.batch: (batch, state) for batch, state in batches},
        epoch=epoch,
    )


def _only(connection: sqlite3.Connection, query: str) -> Any:
    """Return the one value that a query finds.

    Raises:
        RowMissing: it finds none.
    """
    row = connection.execute(query).fetchone()
    if row is None:
        raise RowMissing(f"nothing answers {query!r}")
    return row[0]


def _outbox(row: sqlite3.Row) -> OutboxRow:
    told = Notification.from_json(row["document"])
    delivered = row["delivered_at"]
    return OutboxRow(
        id=told.id,
        type=told.type,
        digest=ids.digest_of(told.to_json()),
        created_at=told.created_at,
        delivered_at=from_iso(delivered) if delivered else None,
    )


def tokens(found: Ledger, key: bytes) -> dict[str, Token | None]:
    """Return whose token each request holds."""
    told: dict[str, Token | None] = {}
    for record in found.requests.values():
        if record.token is not None:
            try:
                told[record.request] = Token(*read_token(key, record.token))
            except InvalidToken:
                told[record.request] = None
    return told


def executions(
    connection: sqlite3.Connection, rows: Rows
) -> tuple[dict[str, ExecutionSeen], bytes]:
    """Return executions by ARN with what is kept of their histories, and the key of tokens."""
    key = _only(connection, "SELECT value FROM settings WHERE name = 'token_key'")
    readers = dict(_histories(connection, rows))

    def read(row: sqlite3.Row) -> ExecutionSeen:
        reader = readers.pop(row["number"], None) or HistoryReader()
        named = ids.split_execution_name(row["name"])
        return ExecutionSeen(
            arn=row["arn"],
            machine=row["machine_arn"].rpartition(":")[2],
            name=row["name"],
            status=row["status"],
            started_at=datetime.fromisoformat(row["start_date"]),
            ended_at=datetime.fromisoformat(row["stop_date"]) if row["stop_date"] else None,
            error=row["error"],
            carries=carried_by(named[0] if named else None, row["input"]),
            history=reader.history(running=row["status"] == "RUNNING"),
        )

    found = rows.each(
        connection.execute(
            "SELECT arn, number, machine_arn, name, status, start_date, stop_date, input, error "
            "FROM executions"
        ),
        "execution",
        read,
    )
    return {execution.arn: execution for execution in found}, key


def _histories(connection: sqlite3.Connection, rows: Rows) -> Iterator[tuple[int, HistoryReader]]:
    """Read every history once, one at a time in memory."""
    steps = connection.execute(
        "SELECT execution, number, at, events FROM steps ORDER BY execution, number"
    )
    for execution, of_one in groupby(steps, key=lambda row: int(row["execution"])):
        reader = HistoryReader()

        def take(row: sqlite3.Row, reader: HistoryReader = reader) -> None:
            at = datetime.fromisoformat(row["at"])
            for number, previous, kind, details in json.loads(row["events"]):
                reader.take(number, previous, kind, at, details)

        for _ in rows.each(of_one, "steps of execution number", take):
            pass
        yield execution, reader


def training(connection: sqlite3.Connection, rows: Rows) -> Training:
    """Return every training job and what nobody has been told of yet."""
    jobs = rows.each(
        connection.execute("SELECT name, open, record FROM jobs"), "training job", _job
    )
    untold = rows.each(
        connection.execute("SELECT number, event FROM events"), "training event", _untold
    )
    return Training(jobs={job.name: job for job in jobs}, untold=tuple(untold))


def _job(row: sqlite3.Row) -> JobSeen:
    record = decode(JobRecord, json.loads(row["record"]))
    digest = record.definition.get("HyperParameters", {}).get(MANIFEST_DIGEST_HYPERPARAMETER)
    return JobSeen(
        name=record.name,
        status=record.status.value,
        created_at=record.created_at,
        ended_at=record.ended_at,
        held=bool(row["open"]),
        manifest_digest=digest,
        processes=len(record.processes or {}),
    )


def _untold(row: sqlite3.Row) -> tuple[str, datetime]:
    event = json.loads(row["event"])
    detail = event["detail"]
    what = f"{row['number']}: {detail['TrainingJobName']} {detail['SecondaryStatus']}"
    return what, from_iso(event["time"])
