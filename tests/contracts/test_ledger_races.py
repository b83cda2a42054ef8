"""Many writers at once: every conditional write of the ledger has one outcome."""

from __future__ import annotations

import itertools
from datetime import timedelta

from atelier.contracts.errors import LedgerContention
from atelier.contracts.records import BatchState
from atelier.contracts.status import Stamp, Status, Verdict
from tests.contracts.people import (
    JOB,
    NOON,
    at,
    batch,
    model_of,
    notification,
    request_record,
    version_of,
)
from tests.contracts.races import together

WRITERS = 8


def again(write):
    """Repeat a write while others are in its way, as every state's retry does."""
    for _ in range(50):
        try:
            return write()
        except LedgerContention:
            continue
    raise AssertionError("the ledger never let this writer through")


def applied(changes):
    return [change for change in changes if change.verdict is Verdict.APPLIES]


def test_of_many_creations_of_one_request_exactly_one_is_new(ledger):
    made = together(WRITERS, lambda n: again(lambda: ledger.create(request_record(dataset=f"{n}"))))

    assert sum(new for _, new in made) == 1
    stored = ledger.read(made[0][0].request)
    assert all(record == stored for record, _ in made)


def test_exactly_one_of_many_claims_wins(ledger):
    record, _ = ledger.create(request_record(queued_at=NOON))

    claims = together(
        WRITERS,
        lambda n: again(
            lambda: ledger.advance(record.request, Stamp(1, Status.CLAIMED), batch=f"b{n}")
        ),
    )

    (winner,) = applied(claims)
    assert {claim.record.batch for claim in claims} == {winner.record.batch}
    assert ledger.read(record.request) == winner.record


def test_of_ready_failed_and_cancelled_at_once_exactly_one_is_told(ledger):
    record, _ = ledger.create(at(Stamp(1, Status.PUBLISHING, JOB)))
    ends = [Status.READY, Status.FAILED, Status.CANCELLED]

    changes = together(
        9,
        lambda n: again(
            lambda: ledger.advance(
                record.request,
                Stamp(1, ends[n % 3]),
                notification=notification(record, f"onboarding.{ends[n % 3]}"),
            )
        ),
    )

    (winner,) = applied(changes)
    (told,) = ledger.undelivered(limit=10)
    assert told.type == f"onboarding.{winner.record.status}"
    assert ledger.read(record.request).status is winner.record.status


def test_many_writers_who_walk_one_life_make_each_change_once(ledger):
    record, _ = ledger.create(request_record(queued_at=NOON))
    life = [
        Stamp(1, Status.CLAIMED),
        *(
            Stamp(1, status, JOB)
            for status in (
                Status.LAUNCHING,
                Status.TRAINING,
                Status.TRAINED,
                Status.PUBLISHING,
                Status.READY,
            )
        ),
    ]

    walks = together(
        WRITERS,
        lambda _: [again(lambda s=stamp: ledger.advance(record.request, s)) for stamp in life],
    )

    made = [change.record.status for change in applied(itertools.chain(*walks))]
    assert sorted(made) == sorted(set(made))
    assert ledger.read(record.request).status is Status.READY
    assert set(ledger.read(record.request).entered) == {"queued", *made}


def test_no_annotation_is_lost_beside_others(ledger):
    record, _ = ledger.create(at(Stamp(1, Status.TRAINING, JOB)))
    fields = ["dataset", "host", "token", "batch", "waiting_for", "job_reason"]

    together(
        len(fields),
        lambda n: [
            again(lambda i=i: ledger.annotate(record.request, attempt=1, **{fields[n]: f"{i}"}))
            for i in range(5)
        ],
    )

    after = ledger.read(record.request)
    assert [getattr(after, field) for field in fields] == ["4"] * len(fields)


def test_the_token_handshake_is_completed_by_at_least_one_side(ledger):
    for number in range(10):
        record, _ = ledger.create(at(Stamp(1, Status.CLAIMED), f"{number}"))
        launching = Stamp(1, Status.LAUNCHING, JOB)

        def task(request=record.request):
            again(lambda: ledger.annotate(request, attempt=1, token="token"))
            return ledger.read(request).status is Status.LAUNCHING

        def launcher(request=record.request, stamp=launching):
            again(lambda: ledger.advance(request, stamp))
            return ledger.read(request).token is not None

        saw_both = together(2, lambda n, sides=(task, launcher): sides[n]())

        assert any(saw_both)


def test_of_two_versions_published_at_once_one_is_made_again(ledger):
    records = [
        ledger.create(at(Stamp(1, Status.PUBLISHING, JOB), given={"seed": n, "new_version": True}))[
            0
        ]
        for n in range(4)
    ]
    owner = records[0].given.owner

    def publish(number):
        record = records[number]
        for _ in range(50):
            before = [v for model in ledger.models(owner=owner) for v in model.versions]
            version = version_of(record, len(before) + 1)
            try:
                return ledger.publish(
                    record.request,
                    Stamp(1, Status.READY, JOB),
                    model=model_of(record, *before, version),
                    version=version,
                    notification=notification(record),
                )
            except LedgerContention:
                continue
        raise AssertionError("never published")

    changes = together(len(records), publish)

    assert len(applied(changes)) == len(records)
    versions = ledger.model(owner, "me").versions
    assert [v.version.split("-")[0] for v in versions] == ["v1", "v2", "v3", "v4"]
    assert {v.request for v in versions} == {r.request for r in records}
    assert len(ledger.undelivered(limit=10)) == len(records)


def test_no_two_launches_share_a_slot(ledger, clock):
    slots = together(
        WRITERS,
        lambda _: [again(lambda: ledger.reserve_launch(interval_seconds=1.0)) for _ in range(5)],
    )

    taken = sorted(itertools.chain(*slots))
    assert taken == [clock.now() + timedelta(seconds=n) for n in range(len(taken))]


def test_no_ring_of_the_doorbell_is_lost(ledger):
    together(WRITERS, lambda _: [again(ledger.ring) for _ in range(5)])

    assert ledger.dispatch_state().doorbell == WRITERS * 5


def test_exactly_one_closes_an_epoch(ledger):
    closed = together(WRITERS, lambda _: again(lambda: ledger.close_epoch(epoch=1, doorbell=None)))

    assert sum(closed) == 1
    assert ledger.dispatch_state().epoch == 2


def test_a_batch_is_either_launched_or_released_never_both(ledger):
    ends = [BatchState.LAUNCHED, BatchState.RELEASED]
    for letter in "abcdef":
        made = batch(("r" + letter * 26, 1))
        ledger.create_batch(made)
        ledger.move_batch(made.batch, to=BatchState.SEALED)

        said = together(
            4, lambda n, b=made.batch: again(lambda: ledger.move_batch(b, to=ends[n % 2]))
        )

        assert len(set(said)) == 1
