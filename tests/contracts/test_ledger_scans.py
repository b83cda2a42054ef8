"""Looking at everybody: scans of all tenants' requests, ends that are to be told, the outbox."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atelier.contracts.clock import to_iso
from atelier.contracts.errors import InvalidRequest, NotFound
from atelier.contracts.status import Stamp, Status, Verdict
from infra.local import ledger_rows
from infra.local.ledger import SqliteLedger
from infra.local.sqlite import Database
from tasks import ledger_changes
from tests.contracts.people import JOB, NOON, at, notification, request_record

ENDS = (Status.READY, Status.FAILED, Status.CANCELLED, Status.ERASED)


def everybody(ledger, *, unfinished, limit=2):
    """Return the requests that following the cursors shows, page by page."""
    found, cursor = [], None
    while True:
        page, cursor = ledger.scan_requests(unfinished=unfinished, cursor=cursor, limit=limit)
        assert len(page) <= limit
        found += [record.request for record in page]
        if cursor is None:
            return found


def created(ledger, count):
    records = []
    for number in range(count):
        tenant = f"tenant-{number % 3}"
        now = NOON + timedelta(seconds=number // 2)
        made = request_record(f"user-{number}", now=now, given={"tenant": tenant})
        records.append(ledger.create(made)[0])
    return records


@pytest.mark.parametrize("unfinished", [True, False])
@pytest.mark.parametrize("limit", [1, 3, 50])
def test_a_scan_shows_everybody_of_all_tenants_once(ledger, unfinished, limit):
    records = created(ledger, 11)
    seen = everybody(ledger, unfinished=unfinished, limit=limit)
    assert sorted(seen) == sorted(record.request for record in records)


@pytest.mark.parametrize("end", ENDS)
def test_who_has_ended_is_finished_once_everybody_was_told(ledger, end):
    first, second = created(ledger, 2)
    ledger.advance(first.request, Stamp(1, end, None))
    tell = end in {Status.FAILED, Status.CANCELLED}
    assert ledger.read(first.request).untold is tell
    assert (first.request in everybody(ledger, unfinished=True)) is tell
    ledger.mark_told(first.request, attempt=1)
    assert everybody(ledger, unfinished=True) == [second.request]
    assert len(everybody(ledger, unfinished=False)) == 2


def test_being_told_is_noted_once_and_only_of_an_attempt_that_has_ended(ledger):
    (record,) = created(ledger, 1)
    assert ledger.mark_told(record.request, attempt=1).verdict is Verdict.STALE
    ledger.advance(record.request, Stamp(1, Status.FAILED))
    assert ledger.mark_told(record.request, attempt=2).verdict is Verdict.STALE
    assert ledger.mark_told(record.request, attempt=1).verdict is Verdict.APPLIES
    assert ledger.mark_told(record.request, attempt=1).verdict is Verdict.SAME
    with pytest.raises(NotFound):
        ledger.mark_told("nobody", attempt=1)


def test_a_retried_request_is_unfinished_again(ledger):
    (record,) = created(ledger, 1)
    ledger.advance(record.request, Stamp(1, Status.FAILED), lone_failures=1, alone=True)
    ledger.mark_told(record.request, attempt=1)
    again = ledger.retry(record.request, execution="second").record
    assert everybody(ledger, unfinished=True) == [record.request]
    assert (again.untold, again.alone, again.lone_failures) == (False, False, 0)
    assert again.retried_at is not None


def test_whoever_comes_while_a_scan_goes_on_disturbs_nobody(ledger):
    records = created(ledger, 4)
    page, cursor = ledger.scan_requests(unfinished=True, limit=2)
    ledger.create(request_record("late", now=NOON + timedelta(hours=1)))
    ledger.advance(records[0].request, Stamp(1, Status.READY, JOB))
    seen = [record.request for record in page]
    while cursor is not None:
        page, cursor = ledger.scan_requests(unfinished=True, cursor=cursor, limit=2)
        seen += [record.request for record in page]
    assert len(set(seen)) == len(seen)
    assert {record.request for record in records} <= {*seen, records[0].request}


@pytest.mark.parametrize("unfinished", [True, False])
@pytest.mark.parametrize("cursor", ["", "x", "bm8", "W10", "WzEsMl0", "WyI5OSIsInkiXQ"])
def test_a_foreign_cursor_is_refused(ledger, unfinished, cursor):
    with pytest.raises(InvalidRequest):
        ledger.scan_requests(unfinished=unfinished, cursor=cursor, limit=2)


def test_the_place_of_a_scan_is_kept_for_the_next_one(ledger):
    assert ledger.scan_place() is None
    created(ledger, 3)
    _, cursor = ledger.scan_requests(unfinished=True, limit=2)
    for place in (cursor, cursor, None):
        ledger.keep_scan_place(place)
        assert ledger.scan_place() == place


def test_a_page_has_room_for_somebody(ledger):
    with pytest.raises(InvalidRequest):
        ledger.scan_requests(unfinished=True, limit=0)


def test_a_notification_is_read_by_its_id_with_its_delivery(ledger, clock):
    (record,) = created(ledger, 1)
    told = notification(record)
    assert ledger.notification(told.id) is None
    ledger.advance(record.request, Stamp(1, Status.FAILED), notification=told)
    assert ledger.notification(told.id) == (told, None)
    ledger.mark_delivered(told.id, at=clock.now())
    assert ledger.notification(told.id) == (told, clock.now())


def test_the_outbox_is_read_page_by_page(ledger):
    rows = []
    for number, record in enumerate(created(ledger, 5)):
        told = replace(notification(record), created_at=NOON + timedelta(seconds=number // 2))
        ledger.advance(record.request, Stamp(1, Status.FAILED), notification=told)
        rows.append(told)
    seen, last = [], None
    while page := ledger.undelivered(limit=2, after=last):
        seen += page
        last = page[-1]
    assert seen == sorted(rows, key=lambda row: (row.created_at, row.id))


def test_launches_begin_anew_after_the_clock_was_set_back(ledger, clock):
    clock.advance(7200)
    ledger.reserve_launch(interval_seconds=1.0)
    clock.start -= timedelta(hours=1)
    assert ledger.reserve_launch(interval_seconds=1.0) == clock.now()
    assert ledger.reserve_launch(interval_seconds=1.0) == clock.now() + timedelta(seconds=1)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 200_000))
def test_a_launch_slot_is_never_past_nor_far_ahead(last, now, interval):
    slot = ledger_changes.next_launch_ms(last, now_ms=now, interval_ms=interval)
    most = max(ledger_changes.MOST_AHEAD_MS, 2 * interval)
    assert now <= slot <= now + most + interval
    if now <= last <= now + most:
        assert slot == max(now, last + interval)


def test_a_home_of_an_older_atelier_is_scanned_as_if_it_were_of_this_one(tmp_path, clock):
    path = tmp_path / "ledger.sqlite3"
    lives, ended = request_record("lives"), at(Stamp(1, Status.FAILED), "ended")
    older = Database(path, schema=ledger_rows.SCHEMA[:2])
    with older.write() as connection:
        for record in (lives, ended):
            values = (record.request, record.to_json().decode(), "acme", record.given.owner)
            times = (to_iso(record.created_at), None, None)
            connection.execute(
                "INSERT INTO requests VALUES (?, ?, ?, ?, ?, NULL, 0, ?, ?, ?)",
                (*values, record.status, *times),
            )
    older.close()
    ledger = SqliteLedger(path, clock=clock)
    assert everybody(ledger, unfinished=True) == [lives.request]
    assert len(everybody(ledger, unfinished=False)) == 2
    ledger.advance(lives.request, Stamp(1, Status.CANCELLED))
    assert everybody(ledger, unfinished=True) == [lives.request]
    ledger.close()
