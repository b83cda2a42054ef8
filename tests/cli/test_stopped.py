"""A home at rest is only read, and whatever is wrong with it is told in one sentence."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from app.cli.exits import Exit
from infra.local.job_store import JobStore
from tests.cli.platform import Shell
from tests.cli.test_why import stopped
from tests.contracts.people import request_record
from tests.local.disks import small_disk
from workflows.engine.engine import SqliteHistoryStore

RECORD = request_record(given={"tenant": "default"}, job="atelier-b1-1")
COMMANDS = ("why", "logs")


@pytest.fixture
def at_rest(tmp_path: Path) -> Shell:
    """Return a shell at a home with one onboarding and every store."""
    SqliteHistoryStore(tmp_path / "executions.sqlite3").close()
    JobStore(tmp_path / "training" / "jobs.sqlite3", event_of=lambda _record, _id: {}).close()
    return stopped(tmp_path, RECORD)


def contents(home: Path) -> dict[Path, tuple[int, bytes]]:
    """Return every file and folder of a home, with when it was changed and what it holds."""
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in (home, *home.rglob("*"))
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_to_read_a_home_at_rest_changes_nothing_in_it(at_rest: Shell, command: str) -> None:
    before = contents(at_rest.home)
    with small_disk(0):
        assert at_rest(command, RECORD.request) == Exit.DONE
    assert contents(at_rest.home) == before


def spoil_ledger(home: Path) -> None:
    (home / "ledger.sqlite3").write_bytes(b"no database, but long enough to look like one" * 100)


def age_ledger(home: Path) -> None:
    with closing(sqlite3.connect(home / "ledger.sqlite3")) as connection:
        connection.execute("PRAGMA user_version = 1")


def lead_away(home: Path) -> None:
    (home / "ledger.sqlite3").unlink()
    (home / "ledger.sqlite3").mkdir()


def spoil_row(home: Path) -> None:
    with closing(sqlite3.connect(home / "ledger.sqlite3")) as connection:
        connection.execute("UPDATE requests SET document = '{}'")
        connection.commit()


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("spoil", "code", "told"),
    [
        (spoil_ledger, Exit.BROKEN, "file is not a database"),
        (age_ledger, Exit.BROKEN, "`atelier up` brings it up to date"),
        (lead_away, Exit.BUSY, "ledger.sqlite3: unable to open database file"),
        (spoil_row, Exit.BROKEN, "does not read"),
    ],
)
def test_a_home_that_does_not_read_is_told_in_one_sentence_with_what_to_do(
    at_rest: Shell, command: str, spoil: Callable[[Path], None], code: Exit, told: str
) -> None:
    spoil(at_rest.home)
    assert at_rest(command, RECORD.request) == code
    assert told in at_rest.err
    said, do = at_rest.err.splitlines()
    assert said.startswith("atelier: ")
    assert do.startswith("  → ")


def test_damaged_histories_are_told_in_one_sentence(at_rest: Shell) -> None:
    (at_rest.home / "executions.sqlite3").write_bytes(b"no database" * 500)
    assert at_rest("logs", RECORD.request) == Exit.BUSY
    assert "executions.sqlite3" in at_rest.err
