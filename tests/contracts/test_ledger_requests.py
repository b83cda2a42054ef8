"""The ledger's requests: conditional writes, the queue, lists. One promise of the port a test."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from atelier.contracts.errors import ContractBroken, InvalidRequest, NotFound
from atelier.contracts.records import BatchState, Failure, JobOutcome
from atelier.contracts.status import (
    BEFORE_ANY_JOB,
    BOUND_TO_JOB,
    TERMINAL,
    Stamp,
    Status,
    Verdict,
    judge,
)
from tasks.ports import Changed
from tests.contracts.people import JOB, NOON, OTHER_JOB, at, notification, request_record

QUEUED = Stamp(1, Status.QUEUED)
CLAIMED = Stamp(1, Status.CLAIMED)
LAUNCHING = Stamp(1, Status.LAUNCHING, JOB)
TRAINING = Stamp(1, Status.TRAINING, JOB)
FAILED = Stamp(1, Status.FAILED)


def stamp(status, attempt=2, job=JOB):
    return Stamp(attempt, status, None if status in BEFORE_ANY_JOB else job)


# All pairs of statuses within an attempt, also of another job and of none, and what matters of
# other attempts; `judge` itself is tested as a whole table.
NEWS = [
    *(stamp(status) for status in Status),
    *(stamp(status, job=OTHER_JOB) for status in sorted(BOUND_TO_JOB)),
    *(stamp(status, job=None) for status in sorted(TERMINAL)),
    *(stamp(status, 1) for status in (Status.QUEUED, Status.PUBLISHING, Status.READY)),
    *(stamp(status, 3) for status in (Status.QUEUED, Status.TRAINING, Status.ERASED)),
]


# create and read


def test_a_new_request_is_stored_and_said_to_be_new(ledger):
    record, new = ledger.create(request_record())

    assert new
    assert ledger.read(record.request) == record


def test_creating_a_request_again_returns_the_stored_one_unchanged(ledger):
    first, _ = ledger.create(request_record(dataset="first"))
    ledger.advance(first.request, CLAIMED)

    again, new = ledger.create(request_record(dataset="second"))

    assert not new
    assert (again.dataset, again.status) == ("first", Status.CLAIMED)


def test_a_new_request_has_entered_its_first_status_when_it_was_created(ledger):
    record, _ = ledger.create(request_record())

    assert record.entered == {"queued": NOON}


def test_reading_a_request_that_is_not_there_raises_not_found(ledger):
    with pytest.raises(NotFound) as caught:
        ledger.read("r" + "a" * 26)

    assert caught.value.facts["kind"] == "request"


@pytest.mark.parametrize("name", ["", "x" * 5000, "../x", "\x00", "' OR 1 = 1 --", "ü" * 1000])
def test_what_no_request_or_model_is_called_is_not_found(ledger, name):
    for read in (
        lambda: ledger.read(name),
        lambda: ledger.annotate(name, attempt=1),
        lambda: ledger.model("o" + "a" * 26, name),
        lambda: ledger.move_batch(name, to=BatchState.SEALED),
    ):
        with pytest.raises(NotFound):
            read()


def test_every_field_of_a_request_is_kept(ledger):
    full = at(
        TRAINING,
        dataset="d",
        batch="b",
        host="algo-1",
        token="secret",
        waiting_for="a slot",
        step=3,
        steps=7,
        loss=0.25,
        eta_seconds=1.5,
        job_outcome=JobOutcome.FAILED,
        job_reason="why",
        lone_failures=1,
        failure=Failure("Cancelled", "m", "do", {"n": [1, None, "x"]}),
        version="v1-00000000",
        entered={"training": NOON},
    )

    assert ledger.create(full)[0] == full
    assert ledger.read(full.request) == full


# advance


@pytest.mark.parametrize("current", [stamp(status) for status in Status], ids=str)
def test_a_change_of_status_does_what_judge_says(ledger, current):
    for number, new in enumerate(NEWS):
        before, _ = ledger.create(at(current, user=f"{number}"))

        changed = ledger.advance(before.request, new, waiting_for="changed")

        assert changed.verdict is judge(current, new), new
        after = ledger.read(before.request)
        assert after == changed.record
        if changed.verdict is Verdict.APPLIES:
            assert (after.attempt, after.status) == (new.attempt, new.status)
            assert after.waiting_for == "changed"
        else:
            assert after == before


def test_a_change_sets_its_fields_and_leaves_the_others(ledger):
    record, _ = ledger.create(request_record(dataset="photos"))

    changed = ledger.advance(record.request, CLAIMED, batch="b1")

    assert (changed.record.batch, changed.record.dataset) == ("b1", "photos")


def test_a_change_notes_when_it_happened(ledger, clock):
    record, _ = ledger.create(request_record())
    clock.advance(90)

    after = ledger.advance(record.request, CLAIMED).record

    assert after.entered == {"queued": NOON, "claimed": clock.now()}
    assert after.updated_at == clock.now()
    assert after.created_at == NOON


def test_times_are_kept_to_the_millisecond(ledger, clock):
    record, _ = ledger.create(request_record())
    clock.advance(0.0123456)

    after = ledger.advance(record.request, CLAIMED).record

    assert after.updated_at == datetime(2026, 1, 1, 0, 0, 0, 12_000, tzinfo=UTC)


def test_a_change_that_names_no_job_keeps_the_job(ledger):
    record, _ = ledger.create(at(TRAINING))

    assert ledger.advance(record.request, FAILED).record.job == JOB


def test_a_new_attempt_forgets_what_spoke_of_the_last(ledger, clock):
    record, _ = ledger.create(
        at(
            TRAINING,
            dataset="photos",
            batch="b1",
            host="algo-1",
            token="old",
            step=5,
            steps=9,
            loss=0.1,
            eta_seconds=4.0,
            job_outcome=JobOutcome.STOPPED,
            job_reason="interrupted",
            lone_failures=1,
            entered={"queued": NOON, "training": NOON},
        )
    )

    after = ledger.advance(record.request, Stamp(2, Status.QUEUED), token="new").record

    assert (after.attempt, after.status, after.token) == (2, Status.QUEUED, "new")
    assert (after.job, after.batch, after.host) == (None, None, None)
    assert (after.step, after.loss, after.eta_seconds) == (0, None, None)
    assert (after.job_outcome, after.job_reason) == (None, "")
    assert (after.dataset, after.steps, after.lone_failures) == ("photos", 9, 1)
    assert after.entered == {"queued": clock.now()}


def test_a_doubled_change_is_told_apart_from_a_late_one(ledger):
    record, _ = ledger.create(at(LAUNCHING))

    assert ledger.advance(record.request, LAUNCHING).verdict is Verdict.SAME
    assert ledger.advance(record.request, CLAIMED).verdict is Verdict.STALE


@pytest.mark.parametrize("field", ["given", "attempt", "status", "job", "entered", "nonsense"])
def test_a_field_that_is_not_the_callers_to_set_is_refused(ledger, field):
    record, _ = ledger.create(request_record())

    with pytest.raises((ContractBroken, TypeError)):
        ledger.advance(record.request, CLAIMED, **{field: None})

    assert ledger.read(record.request) == record


def test_a_value_that_would_not_read_is_refused_and_nothing_is_written(ledger):
    record, _ = ledger.create(request_record())

    for wrong in ({"step": "three"}, {"loss": float("nan")}, {"dataset": object()}):
        with pytest.raises(ContractBroken):
            ledger.advance(record.request, CLAIMED, **wrong)

    assert ledger.read(record.request) == record


def test_a_record_beyond_what_a_table_holds_is_refused(ledger):
    record, _ = ledger.create(request_record())

    with pytest.raises(ContractBroken):
        ledger.annotate(record.request, attempt=1, job_reason="x" * 400_000)

    assert ledger.read(record.request) == record


def test_advancing_a_request_that_is_not_there_raises_not_found(ledger):
    with pytest.raises(NotFound):
        ledger.advance("r" + "a" * 26, CLAIMED)


# the notification of a change


def test_a_notification_is_written_with_the_change_that_it_tells(ledger):
    record, _ = ledger.create(at(TRAINING))
    told = notification(record, "onboarding.failed")

    ledger.advance(record.request, FAILED, notification=told)

    assert ledger.undelivered(limit=10) == [told]


@pytest.mark.parametrize("stamp", [CLAIMED, TRAINING], ids=["stale", "same"])
def test_a_change_that_does_not_apply_tells_nobody(ledger, stamp):
    record, _ = ledger.create(at(TRAINING))

    ledger.advance(record.request, stamp, notification=notification(record))

    assert ledger.undelivered(limit=10) == []


def test_a_change_whose_notification_does_not_read_is_not_made(ledger):
    record, _ = ledger.create(at(TRAINING))
    broken = replace(notification(record), data={"image": b"bytes"})

    with pytest.raises(ContractBroken):
        ledger.advance(record.request, FAILED, notification=broken)

    assert ledger.read(record.request).status is Status.TRAINING


# annotate


def test_an_annotation_sets_fields_and_keeps_the_status(ledger, clock):
    record, _ = ledger.create(at(TRAINING))
    clock.advance(5)

    changed = ledger.annotate(record.request, attempt=1, step=3, loss=0.5)

    assert changed.verdict is Verdict.APPLIES
    assert (changed.record.step, changed.record.loss) == (3, 0.5)
    assert (changed.record.stamp, changed.record.updated_at) == (TRAINING, clock.now())
    assert ledger.read(record.request) == changed.record


def test_an_annotation_of_another_attempt_is_stale(ledger):
    record, _ = ledger.create(at(Stamp(2, Status.TRAINING, JOB)))

    for attempt in (1, 3):
        changed = ledger.annotate(record.request, attempt=attempt, step=3)
        assert changed == Changed(Verdict.STALE, record)


@pytest.mark.parametrize(
    "status", [Status.READY, Status.FAILED, Status.CANCELLED, Status.ERASED], ids=str
)
def test_an_annotation_of_an_ended_request_is_stale(ledger, status):
    record, _ = ledger.create(at(Stamp(1, status)))

    assert ledger.annotate(record.request, attempt=1, step=3) == Changed(Verdict.STALE, record)


def test_annotating_a_request_that_is_not_there_raises_not_found(ledger):
    with pytest.raises(NotFound):
        ledger.annotate("r" + "a" * 26, attempt=1)


# the queue


def test_a_registered_request_enters_the_queue_with_queued_at(ledger):
    record, _ = ledger.create(request_record())
    assert ledger.queued(limit=10) == []

    waiting = ledger.annotate(record.request, attempt=1, token="t", queued_at=NOON).record

    assert ledger.queued(limit=10) == [waiting]


def test_any_later_status_leaves_the_queue(ledger):
    for number, stamp in enumerate([CLAIMED, LAUNCHING, TRAINING, FAILED]):
        record, _ = ledger.create(request_record(str(number), queued_at=NOON))

        after = ledger.advance(record.request, stamp).record

        assert after.queued_at is None
    assert ledger.queued(limit=10) == []


def test_the_queue_is_sorted_by_priority_then_by_wait(ledger):
    waits = [(0, 5), (9, 7), (0, 1), (9, 6), (3, 0)]
    for priority, seconds in waits:
        ledger.create(
            request_record(
                f"{priority}-{seconds}",
                given={"priority": priority},
                queued_at=NOON + timedelta(seconds=seconds),
            )
        )

    order = [record.given.user for record in ledger.queued(limit=10)]

    assert order == ["9-6", "9-7", "3-0", "0-1", "0-5"]
    assert [record.given.user for record in ledger.queued(limit=2)] == order[:2]


def test_a_late_writer_cannot_put_a_claimed_request_back_into_the_queue(ledger):
    record, _ = ledger.create(request_record(queued_at=NOON))
    ledger.advance(record.request, CLAIMED, batch="b1")

    changed = ledger.annotate(record.request, attempt=1, token="again", queued_at=NOON)

    assert changed.verdict is Verdict.APPLIES
    assert (changed.record.token, changed.record.queued_at) == ("again", None)
    assert ledger.queued(limit=10) == []


def test_the_next_attempt_enters_the_queue_again(ledger, clock):
    record, _ = ledger.create(at(TRAINING))

    after = ledger.advance(record.request, Stamp(2, Status.QUEUED), queued_at=clock.now()).record

    assert ledger.queued(limit=10) == [after]


def test_the_next_attempt_waits_only_once_it_enters_the_queue(ledger):
    record, _ = ledger.create(request_record(queued_at=NOON))

    ledger.advance(record.request, Stamp(2, Status.QUEUED))

    assert ledger.queued(limit=10) == []


# release


def test_a_released_request_has_its_old_place_in_the_queue(ledger, clock):
    first, _ = ledger.create(request_record("1", queued_at=NOON))
    second, _ = ledger.create(request_record("2", queued_at=NOON + timedelta(seconds=1)))
    ledger.advance(first.request, CLAIMED, batch="b1")
    clock.advance(1000)

    changed = ledger.release(first.request, attempt=1, batch="b1")

    assert changed.verdict is Verdict.APPLIES
    assert changed.record.queued_at == NOON
    assert (changed.record.status, changed.record.batch) == (Status.QUEUED, None)
    assert changed.record.entered == {"queued": NOON}
    assert [r.request for r in ledger.queued(limit=10)] == [first.request, second.request]


def test_a_place_survives_any_number_of_claims(ledger):
    record, _ = ledger.create(request_record(queued_at=NOON))

    for _ in range(3):
        ledger.advance(record.request, CLAIMED, batch="b1")
        assert ledger.release(record.request, attempt=1, batch="b1").record.queued_at == NOON


def test_only_the_batch_that_claimed_it_releases_a_request(ledger):
    record, _ = ledger.create(at(CLAIMED, batch="b1"))

    assert ledger.release(record.request, attempt=1, batch="b2").verdict is Verdict.STALE
    assert ledger.release(record.request, attempt=2, batch="b1").verdict is Verdict.STALE
    assert ledger.read(record.request) == record


def test_a_launched_request_is_released_no_more(ledger):
    record, _ = ledger.create(at(LAUNCHING, batch="b1"))

    assert ledger.release(record.request, attempt=1, batch="b1").verdict is Verdict.STALE
    assert ledger.read(record.request) == record


def test_a_doubled_release_changes_nothing(ledger):
    record, _ = ledger.create(request_record(queued_at=NOON))
    ledger.advance(record.request, CLAIMED, batch="b1")
    released = ledger.release(record.request, attempt=1, batch="b1").record

    again = ledger.release(record.request, attempt=1, batch="b1")

    assert again == Changed(Verdict.SAME, released)


# retry


@pytest.mark.parametrize("status", [Status.FAILED, Status.CANCELLED], ids=str)
def test_a_person_begins_the_next_attempt_of_an_ended_request(ledger, clock, status):
    ended, _ = ledger.create(
        at(
            Stamp(2, status, JOB),
            lone_failures=2,
            failure=Failure("PoisonousTask", "m", "do"),
            token="old",
            dataset="photos",
        )
    )

    changed = ledger.retry(ended.request, execution="again")

    assert changed.verdict is Verdict.APPLIES
    after = changed.record
    assert (after.stamp, after.execution) == (Stamp(3, Status.QUEUED), "again")
    assert (after.failure, after.token, after.lone_failures) == (None, None, 0)
    assert (after.dataset, after.queued_at) == ("photos", None)
    assert after.entered == {"queued": clock.now()}


def test_a_doubled_retry_begins_one_attempt(ledger):
    ended, _ = ledger.create(at(FAILED))
    first = ledger.retry(ended.request, execution="again")

    assert ledger.retry(ended.request, execution="again") == Changed(Verdict.SAME, first.record)


@pytest.mark.parametrize(
    "stamp", [QUEUED, CLAIMED, TRAINING, Stamp(1, Status.READY), Stamp(1, Status.ERASED)], ids=str
)
def test_what_lives_or_succeeded_or_was_erased_is_not_retried(ledger, stamp):
    record, _ = ledger.create(at(stamp))

    assert ledger.retry(record.request, execution="again") == Changed(Verdict.STALE, record)


# lists


def test_a_tenant_sees_its_own_requests_newest_first(ledger):
    mine = [
        ledger.create(request_record(str(n), now=NOON + timedelta(seconds=n)))[0] for n in range(3)
    ]
    ledger.create(request_record("1", given={"tenant": "rival"}))

    page, cursor = ledger.list_requests(tenant="acme")

    assert page == mine[::-1]
    assert cursor is None


def test_two_tenants_who_both_call_their_user_42_see_one_request_each(ledger):
    acme, _ = ledger.create(request_record("42"))
    rival, _ = ledger.create(request_record("42", given={"tenant": "rival"}))

    assert acme.request != rival.request
    assert ledger.list_requests(tenant="acme")[0] == [acme]
    assert ledger.list_requests(tenant="rival")[0] == [rival]
    assert ledger.list_requests(tenant="acme", owner=rival.given.owner)[0] == []


def test_a_list_is_narrowed_by_owner_and_status(ledger):
    queued, _ = ledger.create(request_record("1"))
    failed, _ = ledger.create(at(FAILED, "1", given={"model": "pet"}))
    ledger.create(at(FAILED, "2"))
    owner = queued.given.owner

    assert {r.request for r in ledger.list_requests(tenant="acme", owner=owner)[0]} == {
        queued.request,
        failed.request,
    }
    only = ledger.list_requests(
        tenant="acme", owner=owner, statuses=frozenset({Status.FAILED, Status.READY})
    )
    assert only == ([failed], None)
    assert ledger.list_requests(tenant="acme", statuses=frozenset()) == ([], None)


def test_pages_hold_everything_once_even_while_new_requests_come_and_old_ones_move(ledger):
    records = [
        # Three requests share each moment: the cursor is more than a time.
        ledger.create(request_record(str(n), now=NOON + timedelta(seconds=n // 3)))[0]
        for n in range(10)
    ]
    seen, cursor = [], None
    while True:
        page, cursor = ledger.list_requests(tenant="acme", cursor=cursor, limit=3)
        assert len(page) <= 3
        seen += [record.request for record in page]
        ledger.create(
            request_record(f"new {len(seen)}", now=NOON + timedelta(seconds=100 + len(seen)))
        )
        ledger.advance(records[0].request, CLAIMED)
        if cursor is None:
            break

    expected = sorted(records, key=lambda r: (r.created_at, r.request), reverse=True)
    assert seen == [record.request for record in expected]


def test_a_page_that_ends_exactly_at_the_last_request_has_no_cursor(ledger):
    for number in range(4):
        ledger.create(request_record(str(number)))

    _, cursor = ledger.list_requests(tenant="acme", limit=2)
    page, end = ledger.list_requests(tenant="acme", limit=2, cursor=cursor)

    assert len(page) == 2
    assert end is None


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "%%%", "bnVsbA", "WzEsMl0", "WyJ5ZXN0ZXJkYXkiLCJyIl0", "e30", "ü", "a" * 999],
)
def test_a_cursor_that_is_none_of_ours_is_refused_with_what_to_do(ledger, cursor):
    with pytest.raises(InvalidRequest) as caught:
        ledger.list_requests(tenant="acme", cursor=cursor)

    assert caught.value.facts["where"] == "cursor"
    assert "cursor" in caught.value.do


def test_a_page_of_nothing_is_refused(ledger):
    with pytest.raises(InvalidRequest):
        ledger.list_requests(tenant="acme", limit=0)


def test_a_job_knows_the_requests_that_it_carries_or_carried_last(ledger):
    training, _ = ledger.create(at(TRAINING, "1"))
    ended, _ = ledger.create(at(Stamp(1, Status.FAILED, JOB), "2"))
    moved, _ = ledger.create(at(TRAINING, "3"))
    ledger.create(at(Stamp(1, Status.TRAINING, OTHER_JOB), "4"))
    ledger.advance(moved.request, Stamp(2, Status.QUEUED))

    found = ledger.requests_of_job(JOB)

    assert sorted(r.request for r in found) == sorted([training.request, ended.request])
    assert ledger.requests_of_job("atelier-none") == []
