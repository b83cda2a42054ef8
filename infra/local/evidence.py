"""Collects the doctor's evidence from a home folder, whether or not a platform runs in it.

It only reads: SQLite files without making theirs beside them, objects as files, processes by what
/proc tells of them. The order is the one that `infra.doctor.evidence` explains; each store is one
moment.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from atelier.contracts import ids
from atelier.contracts.clock import Clock, from_iso
from infra.doctor.evidence import Delivery, EndpointSeen, Evidence, Life, Store
from infra.local import evidence_objects, evidence_processes, evidence_rows
from infra.local.evidence_rows import RowMissing, Rows
from infra.local.sqlite_reading import flaw_of, read_only
from infra.local.time_mark import read_mark

T = TypeVar("T")

LEDGER = "ledger.sqlite3"
EXECUTIONS = "executions.sqlite3"
JOBS = "training/jobs.sqlite3"
NOTIFICATIONS = "logs/notifications.jsonl"


def collect(
    home: Path,
    *,
    clock: Clock,
    running: bool,
    endpoint: Callable[[], EndpointSeen | None] = lambda: None,
) -> Evidence:
    """Read everything that a platform has stored in `home`.

    Args:
        home: the platform's folder.
        clock: time.
        running: whether its process is there.
        endpoint: asks the running platform what only it knows; None when it does not tell.

    Raises:
        FileNotFoundError: no platform ever ran there.
    """
    if not (home / LEDGER).exists():
        raise FileNotFoundError(home / LEDGER)
    files, log = _Files(home), home / NOTIFICATIONS
    programs = evidence_processes.programs(home)
    length = len(_whole_lines(log))

    read_at = platform_now(home, clock=clock)
    ledger = files.read(LEDGER, evidence_rows.ledger)
    deliveries, torn = _deliveries(log, early_bytes=length)
    executions, token_key = files.read(EXECUTIONS, evidence_rows.executions) or (None, b"")
    training = files.read(JOBS, evidence_rows.training)
    if training is not None:
        training = evidence_processes.with_folders(training, home / "training" / "jobs")
    bucket = evidence_objects.bucket(home / "objects")
    seen = endpoint() if running else None
    still = evidence_processes.programs(home)

    if ledger is not None and executions is not None:
        ledger = replace(ledger, tokens=evidence_rows.tokens(ledger, token_key))
    processes = None
    if programs is not None and still is not None:
        processes = sorted((p.seen for p in programs & still), key=lambda process: process.pid)
    return Evidence(
        read_at=read_at,
        life=Life(running, _began_at(home), read_mark(home) or read_at),
        stores=tuple(files.stores),
        ledger=ledger,
        deliveries=deliveries,
        executions=executions,
        training=training,
        bucket=bucket,
        processes=processes,
        endpoint=seen,
        unreadable=tuple(files.rows.unreadable),
        torn_lines=torn,
    )


def platform_now(home: Path, *, clock: Clock) -> datetime:
    """Return the platform's time: the machine's, unless the platform's goes ahead of it."""
    return max(clock.now(), read_mark(home) or clock.now())


@dataclass(slots=True)
class _Files:
    """Reads the SQLite files of a home and remembers what is wrong with them."""

    home: Path
    stores: list[Store] = field(default_factory=list)
    rows: Rows = field(default_factory=Rows)

    def read(self, name: str, take: Callable[[sqlite3.Connection, Rows], T]) -> T | None:
        """Return what `take` makes of a file; None when it is not there or does not read."""
        path = self.home / name

        def look(connection: sqlite3.Connection) -> tuple[str | None, T]:
            flaw = flaw_of(connection, size_bytes=path.stat().st_size)
            if not connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
                raise RowMissing("it has no tables")
            return flaw, take(connection, self.rows)

        try:
            flaw, taken = read_only(path, look)
        except FileNotFoundError:
            self.stores.append(Store(name, "it is not there", bare=True))
            return None
        except RowMissing as problem:
            self.stores.append(Store(name, f"it does not read: {problem}", bare=True))
            return None
        except sqlite3.Error as problem:
            self.stores.append(Store(name, f"it does not read: {problem}"))
            return None
        self.stores.append(Store(name, flaw))
        return taken


def _deliveries(log: Path, *, early_bytes: int) -> tuple[tuple[Delivery, ...], int]:
    """Return the notifications that were delivered, and how many lines a crash cut."""
    found: list[Delivery] = []
    torn = position = 0
    body = log.read_bytes() if log.exists() else b""
    for line in body.split(b"\n"):
        position += len(line) + 1
        if not line:
            continue
        try:
            told = json.loads(line)["id"]
        except (ValueError, KeyError, TypeError):
            torn += 1
            continue
        early = position <= early_bytes
        found.append(Delivery(told, ids.digest_of(line), early=early))
    return tuple(found), torn


def _whole_lines(log: Path) -> bytes:
    """Return the log as far as its last whole line: half a line is cut off again."""
    body = log.read_bytes() if log.exists() else b""
    return body[: body.rfind(b"\n") + 1]


def _began_at(home: Path) -> datetime | None:
    """Return when the platform's present or last life began.

    platform.json says it while one runs and after a crash. Without it the endpoint's folder does:
    it is emptied at every start.
    """
    try:
        return from_iso(json.loads((home / "platform.json").read_bytes())["started_at"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        pass
    try:
        changed = (home / "endpoint" / "server").stat().st_mtime
    except FileNotFoundError:
        return None
    return datetime.fromtimestamp(changed, UTC)
