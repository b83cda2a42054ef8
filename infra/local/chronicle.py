"""The chronicle of one onboarding: what every part of a local platform noted of it, in time order.

Read from the home folder alone, whether or not a platform runs there: the ledger's record, the
histories of its executions, the training service's records, its hosts' logs, the model server's
log, the platform's own log and the log of notifications. Nothing is written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from atelier.contracts import ids, keys
from atelier.contracts.clock import from_iso
from atelier.contracts.errors import NotFound, ServiceUnavailable
from atelier.contracts.records import RequestRecord
from atelier.contracts.status import TERMINAL, Status
from infra.local import ledger_rows
from infra.local.job_record import AGAIN, JobRecord, Secondary
from infra.local.job_store import JobStore
from infra.local.sqlite import Database
from infra.local.sqlite_reading import reading_connection
from workflows.engine.engine import HistoryEvent, SqliteHistoryStore, StorageError

_ARN = "arn:aws:states:local:000000000000:execution:onboarding:{}"
_JOB = re.compile(ids.JOB_PATTERN.pattern)
_LOUD = frozenset({"WARNING", "ERROR", "CRITICAL"})
STARTED, STOPS = "the platform started", "the platform stops"
LIFE_WORDS = frozenset({STARTED, STOPS})
"""What the platform logs of its own life; it concerns everybody who is under way."""
EVENTS_READ = 1000
"""At once, of one execution's history."""
MOST_LINES = 100_000
"""Of one log file; a longer one is told from its end."""

STATUS_WORDS: Mapping[Status, str] = {
    Status.QUEUED: "asked for, and queued",
    Status.CLAIMED: "has its place in a batch",
    Status.LAUNCHING: "its training job was created",
    Status.TRAINING: "its training job runs",
    Status.TRAINED: "found trained",
    Status.PUBLISHING: "its model is being checked and published",
    Status.READY: "ready",
    Status.FAILED: "ended without a model",
    Status.CANCELLED: "cancelled",
    Status.ERASED: "erased",
}
JOB_WORDS: Mapping[Secondary, str] = {
    Secondary.STARTING: "gets its instance",
    Secondary.DOWNLOADING: "fetches its inputs and checkpoints",
    Secondary.TRAINING: "runs its program",
    Secondary.UPLOADING: "uploads what it left",
    Secondary.INTERRUPTED: "loses its instances",
    Secondary.STOPPING: "is being stopped",
    Secondary.COMPLETED: "completed",
    Secondary.FAILED: "failed",
    Secondary.STOPPED: "stopped",
    Secondary.MAX_RUNTIME_EXCEEDED: "stopped at its longest allowed run time",
}
MAIN_JOB_STATES = frozenset(Secondary) - {
    Secondary.DOWNLOADING,
    Secondary.UPLOADING,
    Secondary.STOPPING,
}
ENDINGS: Mapping[str, str] = {
    "ExecutionSucceeded": "the execution ended well",
    "ExecutionFailed": "the execution failed",
    "ExecutionAborted": "the execution was stopped",
    "ExecutionTimedOut": "the execution ran out of time",
    "ExecutionRedriven": "the execution was redriven",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the chronicle.

    Attributes:
        at: when, UTC.
        part: who noted it.
        words: what.
        main: whether it belongs to the short story.
        request_id: of the HTTP request that it was noted for; empty where there was none.
    """

    at: datetime
    part: str
    words: str
    main: bool
    request_id: str = ""


def chronicle(home: Path, record: RequestRecord) -> list[Line]:
    """Return every line that concerns an onboarding, in time order.

    What one part noted of the same instant stays in the order in which it did.
    """
    lines = list(_of_ledger(record))
    jobs = {record.job} if record.job else set()
    names = [ids.execution_name(record.request, n) for n in range(1, record.attempt + 1)]
    for name, events in _histories(home, dict.fromkeys([*names, record.execution])):
        lines += _of_history(name, events)
        for event in events:
            jobs |= {m[0] for m in _JOB.finditer(json.dumps(dict(event.details or {})))}
    lines += _of_attempts_before(home, record, sorted(jobs))
    lines += _of_jobs(home, sorted(jobs), current=record.job)
    for job in sorted(jobs):
        lines += _of_hosts(home, job, record.request)
    lines += _of_logs(home, record, jobs, set(names))
    lines += _of_notifications(home, record.request)
    return sorted(dict.fromkeys(lines), key=lambda line: line.at)


def _of_ledger(record: RequestRecord) -> Iterator[Line]:
    for name, at in record.entered.items():
        status = Status(name)
        words = STATUS_WORDS[status]
        if status is Status.QUEUED and record.attempt > 1:
            words = f"attempt {record.attempt} begins, and is queued"
        if status is Status.READY:
            words = f"ready as {record.version}"
        if status in {Status.FAILED, Status.CANCELLED} and record.failure:
            error = "" if status is Status.CANCELLED else f"{record.failure.error}: "
            words = f"{words}: {error}{record.failure.message}"
        if status is Status.LAUNCHING and record.job:
            words = f"{words}: {record.job}"
        # The execution tells at once what its own states wrote.
        yield Line(at, "ledger", words, main=status is not Status.PUBLISHING)
    if record.waiting_for:
        yield Line(record.updated_at, "ledger", record.waiting_for, main=True)


def _histories(home: Path, names: Iterable[str]) -> Iterator[tuple[str, list[HistoryEvent]]]:
    """Yield executions' names with their whole histories; none of one that never began."""
    if not (home / "executions.sqlite3").exists():
        return
    store = SqliteHistoryStore(
        home / "executions.sqlite3", connect=reading_connection, reading=True
    )
    try:
        for name in names:
            events: list[HistoryEvent] = []
            page: Sequence[HistoryEvent] | None = None
            while page is None or page:
                beyond = events[-1].id if events else 0
                page = store.events(
                    _ARN.format(name), beyond=beyond, limit=EVENTS_READ, reverse=False
                )
                events += page
            yield name, events
    except StorageError as problem:
        raise ServiceUnavailable(str(problem)) from problem
    finally:
        store.close()


def _of_history(name: str, events: Sequence[HistoryEvent]) -> Iterator[Line]:
    """Tell an execution's history: its beginning, what went wrong, its end; states in detail."""
    state = ""
    for event in events:
        details = dict(event.details or {})
        at, kind = event.timestamp, event.type
        if kind.endswith("StateEntered"):
            state = str(details.get("name", ""))
            yield Line(at, "execution", f"enters {state}", main=False)
        elif kind.endswith("StateExited"):
            lost = details.get("name") == "SyncCheckpoints" and _lost(details)
            left = f"leaves {details.get('name')}"
            words = "its training was lost, and begins again" if lost else left
            yield Line(at, "execution", words, main=lost)
        elif kind == "ExecutionStarted":
            yield Line(at, "execution", f"{name} started", main=True)
        elif kind in ENDINGS:
            yield Line(at, "execution", f"{ENDINGS[kind]}{_why(details)}", main=True)
        elif "Failed" in kind or "TimedOut" in kind:
            how = "timed out" if "TimedOut" in kind else "failed"
            yield Line(at, "execution", f"{state} {how}{_why(details)}", main=True)


def _lost(details: Mapping[str, Any]) -> bool:
    """Whether a look found the training lost: the machine branches on the same word."""
    try:
        output = json.loads(details.get("output", "null"))
        return bool(output["training"]["state"] == "requeue")
    except (ValueError, KeyError, TypeError):
        return False


def _why(details: Mapping[str, Any]) -> str:
    error = details.get("error")
    return f": {error}" if error else ""


def _of_attempts_before(home: Path, record: RequestRecord, jobs: Sequence[str]) -> Iterator[Line]:
    """Tell what the record forgot when its present attempt began: the wish, and the batches."""
    if record.attempt == 1:
        return
    yield Line(record.created_at, "ledger", STATUS_WORDS[Status.QUEUED], main=True)
    path, lost = home / "ledger.sqlite3", [job for job in jobs if job != record.job]
    if not lost or not path.exists():
        return
    database = Database(path, schema=ledger_rows.SCHEMA, reading=True)
    try:
        with database.read() as connection:
            for job in lost:
                named = _JOB.fullmatch(job)
                with suppress(NotFound):
                    batch, _ = ledger_rows.batch_of(connection, named[1] if named else job)
                    yield Line(batch.created_at, "ledger", STATUS_WORDS[Status.CLAIMED], main=True)
    finally:
        database.close()


def _of_jobs(home: Path, jobs: Sequence[str], *, current: str | None) -> Iterator[Line]:
    """Tell of training jobs; of the current one the ledger tells that it was created."""
    path = home / "training" / "jobs.sqlite3"
    if not jobs or not path.exists():
        return
    store = JobStore(path, event_of=lambda _record, _id: {}, reading=True)
    try:
        for name in jobs:
            try:
                job = store.read(name)
            except NotFound:
                continue
            if name != current:
                words = f"{STATUS_WORDS[Status.LAUNCHING]}: {name}"
                yield Line(job.created_at, "training job", words, main=True)
            yield from _of_job(job)
    finally:
        store.close()


def _of_job(job: JobRecord) -> Iterator[Line]:
    for transition in job.transitions:
        words = f"the job {JOB_WORDS[transition.status]}"
        if transition.message.startswith(AGAIN):
            words = f"the job begins again: {transition.message.removeprefix(AGAIN)}"
        elif transition.status is Secondary.STARTING:
            words += f", {job.instance_count} × {job.instance_type}"
        if transition.status is job.secondary and job.ended:
            words += f" after {job.training_seconds} s on its instance"
            words += f": {job.failure_reason}" if job.failure_reason else ""
        main = transition.status in MAIN_JOB_STATES
        yield Line(transition.started_at, "training job", words, main)


def _of_hosts(home: Path, job: str, request: str) -> Iterator[Line]:
    for path in sorted((home / "logs" / "training" / job).glob("*.log")):
        for line in _json_lines(path):
            if line.get("request", request) == request:
                yield _logged(line, "training host", main="request" in line)


def _of_logs(
    home: Path, record: RequestRecord, jobs: set[str], executions: set[str]
) -> Iterator[Line]:
    """Tell the model server's lines of its draws, then the platform's that belong to any of it."""
    named = {record.request, *jobs, *executions}
    requests: set[str] = set()
    if record.version is not None:
        given = record.given
        target = keys.target_model(given.base, given.owner, given.model, record.version)
        for line in _json_lines(home / "logs" / "endpoint.log"):
            if line.get("model") == target:
                requests.add(str(line.get("request_id", "")))
                yield _logged(line, "model server", main=True)
    requests.discard("")
    until = max(record.entered.values(), default=record.updated_at)
    until = until if record.status in TERMINAL else datetime.max.replace(tzinfo=UTC)
    for path in sorted(home.glob("platform.log*"), reverse=True):
        for line in _json_lines(path):
            about = {line.get("request"), line.get("job"), line.get("execution")}
            if line.get("message") in LIFE_WORDS and record.created_at <= _at(line) <= until:
                yield _logged(line, "platform", main=True)
            elif about & named or line.get("request_id") in requests:
                yield _logged(line, "platform", main=line.get("level") in _LOUD)


def _of_notifications(home: Path, request: str) -> Iterator[Line]:
    for told in _json_lines(home / "logs" / "notifications.jsonl"):
        if told.get("data", {}).get("onboarding") == request:
            yield Line(
                from_iso(told["created_at"]),
                "notification",
                f"told {told['tenant']}: {told['type']}",
                main=True,
            )


def _logged(line: Mapping[str, Any], part: str, *, main: bool) -> Line:
    words = str(line.get("message", ""))
    if isinstance(error := line.get("error"), dict):
        where = error.get("at") or [""]
        words += f" ({error.get('words', error.get('type'))} at {where[-1]})"
    loud = line.get("level") in _LOUD
    if loud:
        words = f"{str(line['level']).lower()}: {words}"
    request_id = str(line.get("request_id", ""))
    return Line(_at(line), str(line.get("part", part)), words, main or loud, request_id)


def _at(line: Mapping[str, Any]) -> datetime:
    return from_iso(str(line["at"]))


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield a log's JSON objects; what a library printed in between has no time and is left out."""
    try:
        with path.open("rb") as file:
            lines = file.read().splitlines()[-MOST_LINES:]
    except FileNotFoundError:
        return
    for text in lines:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and {"at", "created_at"} & set(line):
            yield line
