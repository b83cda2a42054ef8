"""What every HistoryStore promises."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from workflows.engine.errors import StorageContended
from workflows.engine.execution import Closing, ExecutionStatus
from workflows.engine.happenings import Heartbeat, Started, TaskReturned
from workflows.engine.history import HistoryEvent
from workflows.engine.sqlite_store import SqliteHistoryStore
from workflows.engine.store import ExecutionRecord, JournalEntry

NOW = datetime(2026, 5, 1, 12, 0, 0, 123_456, tzinfo=UTC)


def record(name: str = "one") -> ExecutionRecord:
    return ExecutionRecord(
        arn=f"arn:{name}",
        machine_arn="arn:machine",
        name=name,
        status=ExecutionStatus.RUNNING,
        start_date=NOW,
        input='{"a":"ü"}',
        definition="{}",
    )


def entries(name: str = "one") -> list[JournalEntry]:
    """Return a start, a heartbeat without events, and an end."""
    first = (
        HistoryEvent(1, 0, "ExecutionStarted", NOW, {"input": "{}"}),
        HistoryEvent(2, 0, "TaskStateEntered", NOW, {"name": "S"}),
    )
    later = NOW + timedelta(seconds=5)
    last = (HistoryEvent(3, 2, "ExecutionSucceeded", later, {"output": "1"}),)
    closing = Closing(ExecutionStatus.SUCCEEDED, "1")
    return [
        JournalEntry(f"arn:{name}", 1, NOW, Started(), first, opens=record(name)),
        JournalEntry(f"arn:{name}", 2, NOW, Heartbeat(2), ()),
        JournalEntry(
            f"arn:{name}", 3, later, TaskReturned(2, {"x": [None]}), last, closing=closing
        ),
    ]


def test_a_journal_is_read_as_it_was_written(store):
    store.commit(entries())
    assert store.journal("arn:one") == [
        replace(entry, opens=None, closing=None) for entry in entries()
    ]
    assert store.journal("arn:nobody") == []


def test_a_record_tells_the_execution_from_its_start_to_its_end(store):
    store.commit(entries()[:1])
    assert store.find("arn:one") == record()
    assert store.running() == [record()]
    store.commit(entries()[1:])
    ended = store.find("arn:one")
    assert (ended.status, ended.output) == (ExecutionStatus.SUCCEEDED, "1")
    assert ended.stop_date == NOW + timedelta(seconds=5)
    assert store.running() == []
    assert store.find("arn:nobody") is None


def test_events_are_read_from_either_side_of_an_event(store):
    store.commit(entries())

    def ids(beyond: int, limit: int, *, reverse: bool) -> list[int]:
        found = store.events("arn:one", beyond=beyond, limit=limit, reverse=reverse)
        return [event.id for event in found]

    assert ids(0, 10, reverse=False) == [1, 2, 3]
    assert ids(1, 1, reverse=False) == [2]
    assert ids(99, 2, reverse=True) == [3, 2]
    assert ids(2, 9, reverse=True) == [1]


def test_executions_are_listed_newest_first(store):
    store.commit(entries("one"))
    store.commit(entries("two")[:1])
    store.commit(entries("three")[:1])

    def names(machine: str | None, status: ExecutionStatus | None, skip: int, limit: int):
        found = store.executions(machine, status=status, skip=skip, limit=limit)
        return [each.name for each in found]

    assert names("arn:machine", None, 0, 9) == ["three", "two", "one"]
    assert names(None, ExecutionStatus.RUNNING, 0, 9) == ["three", "two"]
    assert names(None, None, 1, 1) == ["two"]
    assert names("arn:other", None, 0, 9) == []


def test_the_token_key_stays_the_same(store):
    assert store.token_key() == store.token_key()
    assert len(store.token_key()) >= 8


def test_a_batch_is_stored_as_a_whole_or_not_at_all(tmp_path):
    store = SqliteHistoryStore(tmp_path / "executions.sqlite3")
    store.commit(entries("one")[:1])
    with pytest.raises(StorageContended, match="another process wrote"):
        store.commit([*entries("two")[:1], *entries("one")[:1]])
    assert store.find("arn:two") is None
    store.close()


def test_a_file_is_read_by_the_next_process(tmp_path):
    path = tmp_path / "executions.sqlite3"
    first = SqliteHistoryStore(path)
    first.commit(entries())
    key, journal = first.token_key(), first.journal("arn:one")
    first.close()
    second = SqliteHistoryStore(path)
    assert second.token_key() == key
    assert second.journal("arn:one") == journal
    second.close()
