"""What only the local ledger has: one file that processes share, that crashes and grows old."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import textwrap

import pytest

from atelier.contracts.clock import ManualClock
from atelier.contracts.errors import ContractBroken, LedgerContention, ServiceUnavailable
from atelier.contracts.status import Stamp, Status
from infra.local.ledger import SqliteLedger
from infra.local.ledger_rows import SCHEMA
from infra.local.sqlite import Database
from tests.contracts.people import JOB, NOON, at, request_record

PROGRAM = """
import resource, sys
from pathlib import Path
from atelier.contracts.clock import SystemClock
from atelier.contracts.errors import AtelierError
from atelier.contracts.status import Stamp, Status, Verdict
from infra.local.ledger import SqliteLedger
from tests.contracts.people import request_record
ledger = SqliteLedger(Path(sys.argv[1]), clock=SystemClock())
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "home" / "ledger.sqlite3"


@pytest.fixture
def ledger(path, clock):
    ledger = SqliteLedger(path, clock=clock)
    yield ledger
    ledger.close()


def program(path, text, **options):
    """Start a process that has the ledger open as `ledger`."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM + textwrap.dedent(text), str(path)],
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


# processes


def test_of_many_processes_exactly_one_claims_a_request(ledger, path):
    record, _ = ledger.create(request_record(queued_at=NOON))
    others = [
        program(
            path,
            f"""
            input()
            changed = ledger.advance("{record.request}", Stamp(1, Status.CLAIMED), batch="b{n}")
            print(changed.verdict.name, changed.record.batch)
            """,
            stdin=subprocess.PIPE,
        )
        for n in range(4)
    ]
    for other in others:
        other.stdin.write("\n")
        other.stdin.flush()

    said = [other.communicate()[0].split() for other in others]

    (winner,) = [batch for verdict, batch in said if verdict == "APPLIES"]
    assert ledger.read(record.request).batch == winner
    assert {batch for _, batch in said} == {winner}


def test_many_processes_open_a_new_ledger_at_once(path):
    openers = [program(path, "print(ledger.ring().epoch)") for _ in range(6)]

    assert [opener.communicate()[0] for opener in openers] == ["1\n"] * 6
    reopened = SqliteLedger(path, clock=ManualClock())
    assert reopened.dispatch_state().doorbell == 6
    reopened.close()


def test_after_a_kill_every_acknowledged_write_is_there_and_the_file_is_sound(path):
    chance = random.Random(11)
    for turn in range(3):
        with program(
            path,
            f"""
            number = 0
            while True:
                record, _ = ledger.create(request_record(f"{turn}-{{number}}"))
                ledger.advance(record.request, Stamp(1, Status.CLAIMED))
                print(record.request, flush=True)
                number += 1
            """,
        ) as writer:
            told = [writer.stdout.readline() for _ in range(chance.randint(1, 40))]
            writer.send_signal(signal.SIGKILL)
            told += writer.stdout.readlines()

        reopened = SqliteLedger(path, clock=ManualClock())

        for line in told:
            if line.endswith("\n"):
                assert reopened.read(line.strip()).status is Status.CLAIMED
        reopened.close()
        with sqlite3.connect(path) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()


# the queue's stream


def test_the_listener_hears_every_entry_into_the_queue_and_nothing_else(path, clock):
    heard = []
    ledger = SqliteLedger(path, clock=clock, queue_listener=lambda: heard.append(1))

    def hears(write):
        before = len(heard)
        write()
        return len(heard) - before

    record = request_record()
    request = record.request
    queued = {"queued_at": clock.now()}
    assert hears(lambda: ledger.create(record)) == 0
    assert hears(lambda: ledger.annotate(request, attempt=1, **queued)) == 1
    assert hears(lambda: ledger.annotate(request, attempt=1, **queued)) == 0
    assert hears(lambda: ledger.advance(request, Stamp(1, Status.CLAIMED), batch="b")) == 0
    assert hears(lambda: ledger.annotate(request, attempt=1, **queued)) == 0
    assert hears(lambda: ledger.release(request, attempt=1, batch="b")) == 1
    assert hears(lambda: ledger.release(request, attempt=1, batch="b")) == 0
    assert hears(lambda: ledger.advance(request, Stamp(1, Status.TRAINING, JOB))) == 0
    assert hears(lambda: ledger.advance(request, Stamp(2, Status.QUEUED), **queued)) == 1
    assert hears(lambda: ledger.advance(request, Stamp(2, Status.QUEUED), **queued)) == 0
    assert hears(lambda: ledger.create(request_record("2", **queued))) == 1
    assert hears(lambda: ledger.create(request_record("2", **queued))) == 0
    ledger.close()


def test_the_listener_reads_what_it_heard_of(path, clock):
    seen = []
    ledger = SqliteLedger(path, clock=clock)
    ledger.queue_listener = lambda: seen.extend(ledger.queued(limit=10))

    record, _ = ledger.create(request_record(queued_at=NOON))

    assert seen == [record]
    ledger.close()


# the file


def test_only_its_owner_may_read_a_ledger_because_it_holds_tokens(ledger, path):
    ledger.create(request_record())

    for file in path.parent.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file.name


def test_a_closed_ledger_opens_again(path, clock):
    ledger = SqliteLedger(path, clock=clock)
    record, _ = ledger.create(at(Stamp(1, Status.TRAINING, JOB)))
    ledger.close()

    assert ledger.read(record.request) == record
    ledger.close()
    reopened = SqliteLedger(path, clock=clock)
    assert reopened.read(record.request) == record
    reopened.close()


def test_a_file_that_is_no_database_is_named_and_not_overwritten(path, clock):
    path.parent.mkdir(parents=True)
    path.write_bytes(b"somebody's diary, certainly no ledger" * 100)

    with pytest.raises(ContractBroken) as caught:
        SqliteLedger(path, clock=clock)

    assert path.name in caught.value.message
    assert path.read_bytes().startswith(b"somebody's diary")


def test_a_ledger_that_a_newer_atelier_wrote_is_refused(ledger, path, clock):
    ledger.close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {len(SCHEMA) + 1}")
    connection.close()

    with pytest.raises(ContractBroken) as caught:
        SqliteLedger(path, clock=clock)

    assert "newer" in caught.value.do


def test_a_schema_grows_script_by_script_and_keeps_what_is_there(path):
    first = ("CREATE TABLE a (x); INSERT INTO a VALUES (1)",)
    Database(path, schema=first).close()

    grown = Database(path, schema=(*first, "CREATE TABLE b (y); INSERT INTO b SELECT x + 1 FROM a"))

    with grown.read() as connection:
        assert connection.execute("SELECT x, y FROM a, b").fetchall()[0][:] == (1, 2)
    grown.close()


def test_a_script_that_fails_leaves_the_schema_as_it_was(path):
    first = ("CREATE TABLE a (x)",)
    Database(path, schema=first).close()

    with pytest.raises(ServiceUnavailable):
        Database(path, schema=(*first, "CREATE TABLE b (y); nonsense"))

    again = Database(path, schema=(*first, "CREATE TABLE b (y)"))
    again.close()


def test_a_folder_that_cannot_be_is_a_service_that_is_unavailable(tmp_path, clock):
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(ServiceUnavailable):
        SqliteLedger(tmp_path / "file" / "ledger.sqlite3", clock=clock)


# errors


def test_a_writer_that_waits_for_too_long_is_told_of_contention(ledger, path):
    impatient = Database(path, schema=SCHEMA, busy_seconds=0.01)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")

    with pytest.raises(LedgerContention), impatient.write():
        pass

    holder.close()
    with impatient.write() as connection:
        connection.execute("UPDATE dispatch SET doorbell = 3")
    assert ledger.dispatch_state().doorbell == 3
    impatient.close()


def test_readers_are_not_in_a_writers_way(ledger, path):
    record, _ = ledger.create(request_record())
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")

    assert ledger.read(record.request) == record

    holder.close()


def test_an_error_in_the_middle_of_a_transaction_undoes_all_of_it(path):
    database = Database(path, schema=("CREATE TABLE a (x)",))

    def fail_halfway():
        with database.write() as connection:
            connection.execute("INSERT INTO a VALUES (1)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_halfway()

    with database.read() as connection:
        assert connection.execute("SELECT * FROM a").fetchall() == []
    database.close()


def test_a_full_disk_is_a_service_that_is_unavailable_and_changes_nothing(ledger, path):
    record, _ = ledger.create(request_record())
    limit = max(file.stat().st_size for file in path.parent.iterdir())
    # A limit on file sizes fails in the middle of a write, as a full disk does.
    with program(
        path,
        f"""
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
        try:
            for n in range(1000):
                ledger.annotate("{record.request}", attempt=1, job_reason=str(n) * 10_000)
        except AtelierError as problem:
            print(problem.name())
        """,
    ) as writer:
        said = writer.stdout.read().strip()

    assert said == "ServiceUnavailable"
    assert len(ledger.read(record.request).job_reason) % 10_000 == 0
    assert ledger.advance(record.request, Stamp(1, Status.CLAIMED)).record.status is Status.CLAIMED
