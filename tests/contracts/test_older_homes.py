"""What is promised between versions: a newer Atelier goes on with what an older one left."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from atelier.contracts.errors import ContractBroken
from atelier.contracts.records import RequestRecord
from atelier.contracts.status import Stamp, Status, Verdict
from infra.local import ledger_rows
from infra.local.ledger import SqliteLedger
from infra.local.sqlite import Database

HOMES = Path(__file__).parent / "homes"
"""Ledgers as earlier versions wrote them, dumped as SQL: the number is the schema's."""
PEOPLE = {
    "ann": Status.READY,
    "bob": Status.TRAINING,
    "cid": Status.CANCELLED,
    "dan": Status.QUEUED,
}


@pytest.fixture(params=sorted(HOMES.iterdir()), ids=lambda path: path.stem)
def ledger(request, tmp_path, clock):
    path = tmp_path / "ledger.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.executescript(request.param.read_text())
    connection.close()
    opened = SqliteLedger(path, clock=clock)
    yield opened
    opened.close()


def by_user(ledger: SqliteLedger, *, unfinished: bool) -> dict[str, RequestRecord]:
    records, following = ledger.scan_requests(unfinished=unfinished)
    assert following is None
    return {record.given.user: record for record in records}


def test_everything_that_an_older_atelier_wrote_reads(ledger):
    people = by_user(ledger, unfinished=False)
    assert {user: record.status for user, record in people.items()} == PEOPLE
    assert [record.given.user for record in ledger.queued(limit=9)] == ["dan"]
    assert [batch for batch, _ in ledger.open_batches()] == []
    assert [told.type for told in ledger.undelivered(limit=9)] == ["onboarding.ready"]
    (model,) = ledger.models(owner=people["ann"].given.owner)
    assert model.current == people["ann"].version
    assert people["bob"].step == 3


def test_what_lived_in_an_older_home_goes_on_and_what_had_ended_is_left_alone(ledger):
    people = by_user(ledger, unfinished=True)
    assert set(people) == {"bob", "dan"}
    bob = people["bob"]
    changed = ledger.advance(bob.request, Stamp(1, Status.TRAINED, bob.job), looks=4)
    assert changed.verdict is Verdict.APPLIES
    assert ledger.read(bob.request) == changed.record
    assert ledger.scan_place() is None


def test_an_older_atelier_opens_no_home_of_a_newer_one_and_says_so(ledger, tmp_path):
    older = ledger_rows.SCHEMA[:-1]
    with pytest.raises(ContractBroken, match="this Atelier knows up to") as refused:
        Database(tmp_path / "ledger.sqlite3", schema=older)
    assert refused.value.do.startswith("Run the newer Atelier")
