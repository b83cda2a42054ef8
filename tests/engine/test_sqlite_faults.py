"""What SQLite's errors come to: told by what can be done, and outlived by the store."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing

import pytest

from tests.engine.test_stores import entries
from tests.engine.world import World, callback
from workflows.engine.engine import (
    SqliteHistoryStore,
    StorageBroken,
    StorageContended,
    StorageUnavailable,
)
from workflows.engine.sqlite_file import connect
from workflows.engine.store import ExecutionRecord


@pytest.fixture
def path(tmp_path):
    return tmp_path / "executions.sqlite3"


class Failures:
    """Opens connections whose next statement that begins with `at` fails, maybe once it is done."""

    def __init__(self) -> None:
        self.at, self.code, self.late = "nothing", 0, False

    def next(self, at: str, code: int = sqlite3.SQLITE_IOERR_FSYNC, *, late: bool = False) -> None:
        self.at, self.code, self.late = at, code, late

    def connect(self, path, _busy_seconds) -> sqlite3.Connection:
        failures = self

        class Connection(sqlite3.Connection):
            def execute(self, sql, *values):
                if not sql.lstrip().startswith(failures.at):
                    return super().execute(sql, *values)
                if failures.late:
                    super().execute(sql, *values)
                failures.at = "nothing"
                problem = sqlite3.OperationalError("disk I/O error")
                problem.sqlite_errorcode = failures.code
                raise problem

        return sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, factory=Connection
        )


@pytest.fixture
def failures() -> Failures:
    return Failures()


@pytest.fixture
def store(path, failures):
    with closing(SqliteHistoryStore(path, connect=failures.connect)) as store:
        yield store


def test_a_file_that_another_process_writes_to_is_waited_for_and_then_refused(path):
    with closing(SqliteHistoryStore(path, busy_seconds=0.05)) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StorageContended, match="another process"):
                store.commit(entries()[:1])
            assert store.find("arn:one") is None
            other.execute("ROLLBACK")
        store.commit(entries())
        assert len(store.journal("arn:one")) == 3


def test_a_full_disk_is_told_and_outlived(path):
    most_pages = [40]

    def small(path, busy_seconds):
        connection = connect(path, busy_seconds)
        connection.execute(f"PRAGMA max_page_count = {most_pages[0]}")
        return connection

    with closing(SqliteHistoryStore(path, connect=small)) as store:
        world = World(store)
        arn = world.start({"Ask": callback()})
        token = world.functions.calls[0].token
        for _ in range(3):
            with pytest.raises(StorageUnavailable, match="make room"):
                world.engine.send_task_success(token, "x" * 200_000)
            assert world.status(arn) == "RUNNING"
        most_pages[0] = 4000
        world.engine.send_task_success(token, "x" * 200_000)
        assert world.status(arn) == "SUCCEEDED"


@pytest.mark.parametrize("at", ["BEGIN", "INSERT", "COMMIT", "SELECT"])
def test_an_error_at_any_statement_leaves_a_store_that_works(store, failures, at):
    failures.next(at)
    with pytest.raises(StorageUnavailable, match="the disk fails"):
        store.find("arn:one") if at == "SELECT" else store.commit(entries())
    assert store.find("arn:one") is None
    store.commit(entries())
    assert store.find("arn:one").status == "SUCCEEDED"


def test_a_commit_whose_confirmation_is_lost_is_not_made_twice(store, failures):
    world = World(store)
    arn = world.start({"Ask": callback()})
    failures.next("COMMIT", late=True)
    with pytest.raises(StorageUnavailable):
        world.engine.send_task_success(world.functions.calls[0].token, 1)
    world.engine.run_due()
    assert world.status(arn) == "SUCCEEDED"
    assert world.types(arn).count("TaskSucceeded") == 1


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_BUSY_SNAPSHOT, StorageContended),
        (sqlite3.SQLITE_LOCKED, StorageContended),
        (sqlite3.SQLITE_FULL, StorageUnavailable),
        (sqlite3.SQLITE_READONLY, StorageUnavailable),
        (sqlite3.SQLITE_NOMEM, StorageUnavailable),
        (sqlite3.SQLITE_CORRUPT_INDEX, StorageBroken),
        (sqlite3.SQLITE_NOTADB, StorageBroken),
    ],
)
def test_errors_are_sorted_by_what_can_be_done_and_name_the_file(path, store, failures, code, kind):
    failures.next("COMMIT", code)
    with pytest.raises(kind, match=str(path)):
        store.commit(entries())


def test_a_damaged_file_is_told_with_what_to_do(path):
    with closing(SqliteHistoryStore(path)) as store:
        store.commit(entries())
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    with (
        pytest.raises(StorageBroken, match=r"\.recover"),
        closing(SqliteHistoryStore(path)) as store,
    ):
        store.find("arn:one")


def test_a_file_that_is_no_database_is_told(path):
    path.write_text("somebody's notes " * 1000)
    with pytest.raises(StorageBroken, match="no file of ours"):
        SqliteHistoryStore(path)


def test_a_folder_that_is_not_there_is_told(path):
    with pytest.raises(StorageUnavailable, match="cannot be opened"):
        SqliteHistoryStore(path.parent / "nowhere" / path.name)


def test_a_journal_that_does_not_read_is_told(path):
    with closing(SqliteHistoryStore(path)) as store:
        store.commit(entries())
        with closing(sqlite3.connect(path)) as other:
            other.execute("""UPDATE steps SET happening = '{"happening": "Unheard"}'""")
            other.commit()
        with pytest.raises(StorageBroken, match="arn:one"):
            store.journal("arn:one")


def test_a_file_of_a_newer_version_is_left_alone(path):
    SqliteHistoryStore(path).close()
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 99")
    with pytest.raises(StorageBroken, match="newer version"):
        SqliteHistoryStore(path)


def test_a_file_from_before_redrives_is_brought_up_to_date(path):
    with closing(SqliteHistoryStore(path)) as store:
        store.commit(entries())
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        for column in ("redrive_count", "redrive_date", "event_count"):
            other.execute(f"ALTER TABLE executions DROP COLUMN {column}")
        other.execute("PRAGMA user_version = 0")
    with closing(SqliteHistoryStore(path)) as store:
        found = store.find("arn:one")
        assert isinstance(found, ExecutionRecord)
        assert (found.status, found.redrive_count, found.event_count) == ("SUCCEEDED", 0, 0)


def test_only_its_owner_may_read_the_file(path):
    with closing(SqliteHistoryStore(path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_store_that_was_closed_says_so(path):
    store = SqliteHistoryStore(path)
    store.close()
    with pytest.raises(StorageUnavailable, match="was closed"):
        store.find("arn:one")


def test_a_file_that_is_up_to_date_is_opened_while_another_process_writes(path):
    with closing(SqliteHistoryStore(path)) as store:
        store.commit(entries())
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with closing(SqliteHistoryStore(path, busy_seconds=0.05)) as store:
            assert len(store.journal("arn:one")) == 3
