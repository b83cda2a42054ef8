"""The ledger's models, its outbox and its dispatch. One promise of the port a test."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from atelier.contracts.errors import ContractBroken, LedgerContention, NotFound
from atelier.contracts.records import BatchState, DispatchState
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

PUBLISHING = Stamp(1, Status.PUBLISHING, JOB)
READY = Stamp(1, Status.READY, JOB)


def publish(ledger, record, *before, number=1):
    """Publish version `number` of a request's model after the versions `before`."""
    version = version_of(record, number)
    return ledger.publish(
        record.request,
        READY,
        model=model_of(record, *before, version),
        version=version,
        notification=notification(record),
    )


# publish


def test_publishing_makes_request_model_and_notification_in_one_write(ledger):
    record, _ = ledger.create(at(PUBLISHING))

    changed = publish(ledger, record)

    version = version_of(record)
    assert changed.verdict is Verdict.APPLIES
    assert (changed.record.status, changed.record.version) == (Status.READY, version.version)
    assert ledger.read(record.request) == changed.record
    assert ledger.model(record.given.owner, "me") == model_of(record, version)
    assert ledger.undelivered(limit=10) == [notification(record)]


def test_publishing_twice_publishes_once(ledger):
    record, _ = ledger.create(at(PUBLISHING))
    first = publish(ledger, record)

    again = publish(ledger, record)

    assert (again.verdict, again.record) == (Verdict.SAME, first.record)
    assert len(ledger.model(record.given.owner, "me").versions) == 1
    assert len(ledger.undelivered(limit=10)) == 1


def test_a_cancelled_request_is_not_published(ledger):
    record, _ = ledger.create(at(Stamp(1, Status.CANCELLED, JOB)))

    assert publish(ledger, record).verdict is Verdict.STALE
    assert ledger.models(owner=record.given.owner) == []
    assert ledger.undelivered(limit=10) == []


def test_the_next_version_follows_the_versions_before_it(ledger):
    first, _ = ledger.create(at(PUBLISHING))
    publish(ledger, first)
    second, _ = ledger.create(at(PUBLISHING, given={"seed": 1, "new_version": True}))

    publish(ledger, second, version_of(first), number=2)

    model = ledger.model(first.given.owner, "me")
    assert [v.version[:2] for v in model.versions] == ["v1", "v2"]
    assert model.current_version == version_of(second, 2)


def test_a_version_made_beside_another_one_has_to_be_made_again(ledger):
    first, _ = ledger.create(at(PUBLISHING))
    publish(ledger, first)
    second, _ = ledger.create(at(PUBLISHING, given={"seed": 1, "new_version": True}))

    with pytest.raises(LedgerContention):
        publish(ledger, second)

    assert ledger.read(second.request).status is Status.PUBLISHING
    assert len(ledger.model(first.given.owner, "me").versions) == 1
    assert len(ledger.undelivered(limit=10)) == 1


def test_a_version_cannot_follow_versions_that_are_not_there(ledger):
    record, _ = ledger.create(at(PUBLISHING))

    with pytest.raises(LedgerContention):
        publish(ledger, record, version_of(record, 1), number=2)


def test_a_request_never_publishes_the_model_of_somebody_else(ledger):
    mine, _ = ledger.create(at(PUBLISHING, "1"))
    other = at(PUBLISHING, "2")
    version = replace(version_of(other), request=mine.request)

    with pytest.raises(ContractBroken):
        ledger.publish(
            mine.request,
            READY,
            model=model_of(other, version),
            version=version,
            notification=notification(mine),
        )

    assert ledger.read(mine.request) == mine
    assert ledger.models(owner=other.given.owner) == []


def test_the_published_version_must_be_the_models_newest(ledger):
    record, _ = ledger.create(at(PUBLISHING))
    version = version_of(record)

    for model in (
        model_of(record, version, version_of(record, 2)),
        replace(model_of(record, version), current="v9-00000000"),
    ):
        with pytest.raises(ContractBroken):
            ledger.publish(
                record.request,
                READY,
                model=model,
                version=version,
                notification=notification(record),
            )

    assert ledger.read(record.request) == record


def test_publishing_keeps_the_last_use_of_a_model(ledger):
    first, _ = ledger.create(at(PUBLISHING))
    publish(ledger, first)
    ledger.touch_model(first.given.owner, "me", used_at=NOON)
    second, _ = ledger.create(at(PUBLISHING, given={"seed": 1, "new_version": True}))

    publish(ledger, second, version_of(first), number=2)

    assert ledger.model(first.given.owner, "me").used_at == NOON


def test_publishing_a_request_that_is_not_there_raises_not_found(ledger):
    with pytest.raises(NotFound):
        publish(ledger, at(PUBLISHING))


# models


def test_a_model_that_is_not_there_raises_not_found(ledger):
    with pytest.raises(NotFound) as caught:
        ledger.model("o" + "a" * 26, "me")

    assert caught.value.facts["kind"] == "model"


def test_an_owner_has_several_models_by_name_and_a_tenant_all_of_them(ledger):
    for user, tenant, name in [
        ("1", "acme", "pet"),
        ("1", "acme", "me"),
        ("2", "acme", "me"),
        ("1", "rival", "me"),
    ]:
        record, _ = ledger.create(at(PUBLISHING, user, given={"model": name, "tenant": tenant}))
        publish(ledger, record)
        if (user, tenant) == ("1", "acme"):
            owner = record.given.owner

    assert [m.model for m in ledger.models(owner=owner)] == ["me", "pet"]
    listed = [(m.owner, m.model) for m in ledger.list_models(tenant="acme")]
    assert listed == sorted(listed)
    assert len(listed) == 3
    assert ledger.models(owner="o" + "a" * 26) == []


def test_the_last_use_of_a_model_never_goes_back(ledger):
    record, _ = ledger.create(at(PUBLISHING))
    publish(ledger, record)
    owner = record.given.owner

    for seconds in (5, 9, 7):
        ledger.touch_model(owner, "me", used_at=NOON + timedelta(seconds=seconds))

    assert ledger.model(owner, "me").used_at == NOON + timedelta(seconds=9)


def test_using_a_model_that_is_gone_changes_nothing(ledger):
    ledger.touch_model("o" + "a" * 26, "me", used_at=NOON)

    assert ledger.models(owner="o" + "a" * 26) == []


# outbox


def tell(ledger, user, *, seconds=0):
    """Fail a request of `user`, and return what is told about it."""
    record, _ = ledger.create(request_record(user))
    told = replace(
        notification(record, "onboarding.failed"), created_at=NOON + timedelta(seconds=seconds)
    )
    ledger.advance(record.request, Stamp(1, Status.FAILED), notification=told)
    return told


def test_undelivered_notifications_come_oldest_first(ledger):
    late, early, middle = (tell(ledger, str(s), seconds=s) for s in (9, 1, 5))

    assert ledger.undelivered(limit=10) == [early, middle, late]
    assert ledger.undelivered(limit=1) == [early]


def test_a_delivered_notification_is_not_delivered_again(ledger):
    first, second = tell(ledger, "1", seconds=1), tell(ledger, "2", seconds=2)

    ledger.mark_delivered(first.id, at=NOON)
    ledger.mark_delivered(first.id, at=NOON + timedelta(seconds=9))

    assert ledger.undelivered(limit=10) == [second]


def test_an_id_that_was_delivered_is_never_told_again(ledger):
    told = tell(ledger, "1")
    ledger.mark_delivered(told.id, at=NOON)
    record, _ = ledger.create(request_record("2"))

    ledger.advance(record.request, Stamp(1, Status.FAILED), notification=told)

    assert ledger.undelivered(limit=10) == []


def test_marking_an_unknown_notification_changes_nothing(ledger):
    ledger.mark_delivered("m" + "a" * 26, at=NOON)

    assert ledger.undelivered(limit=10) == []


# dispatch


def test_dispatch_begins_with_epoch_1_and_a_silent_doorbell(ledger):
    assert ledger.dispatch_state() == DispatchState(epoch=1, doorbell=0)


def test_every_ring_of_the_doorbell_is_counted(ledger):
    assert ledger.ring() == DispatchState(epoch=1, doorbell=1)
    assert ledger.ring() == DispatchState(epoch=1, doorbell=2)
    assert ledger.dispatch_state() == DispatchState(epoch=1, doorbell=2)


def test_an_epoch_closes_only_if_nobody_rang_since(ledger):
    seen = ledger.ring().doorbell
    ledger.ring()

    assert not ledger.close_epoch(epoch=1, doorbell=seen)
    assert ledger.dispatch_state().epoch == 1
    assert ledger.close_epoch(epoch=1, doorbell=seen + 1)
    assert ledger.dispatch_state() == DispatchState(epoch=2, doorbell=2)


def test_an_epoch_closes_whoever_rang_when_no_doorbell_is_named(ledger):
    ledger.ring()

    assert ledger.close_epoch(epoch=1, doorbell=None)
    assert ledger.dispatch_state().epoch == 2


def test_only_the_current_epoch_closes(ledger):
    ledger.close_epoch(epoch=1, doorbell=None)

    assert not ledger.close_epoch(epoch=1, doorbell=None)
    assert not ledger.close_epoch(epoch=3, doorbell=None)
    assert ledger.dispatch_state().epoch == 2


def test_the_first_launch_may_happen_now(ledger, clock):
    assert ledger.reserve_launch(interval_seconds=1.0) == clock.now()


def test_launch_slots_lie_an_interval_apart(ledger, clock):
    slots = [ledger.reserve_launch(interval_seconds=1.25) for _ in range(4)]

    assert slots == [clock.now() + timedelta(seconds=1.25 * n) for n in range(4)]


def test_a_slot_that_nobody_took_in_time_is_not_saved_up(ledger, clock):
    ledger.reserve_launch(interval_seconds=1.0)
    clock.advance(60)

    assert ledger.reserve_launch(interval_seconds=1.0) == clock.now()
    assert ledger.reserve_launch(interval_seconds=1.0) == clock.now() + timedelta(seconds=1)


# batches


def test_a_batch_is_written_once(ledger):
    made = batch(("r" + "a" * 26, 1), epoch=1)

    assert ledger.create_batch(made) == (made, BatchState.OPEN)
    assert ledger.create_batch(replace(made, epoch=2)) == (made, BatchState.OPEN)


def test_a_batch_that_was_written_before_tells_how_far_it_came(ledger):
    made = batch(("r" + "a" * 26, 1))
    ledger.create_batch(made)
    ledger.move_batch(made.batch, to=BatchState.SEALED)

    assert ledger.create_batch(made) == (made, BatchState.SEALED)


FORWARD = {
    (BatchState.OPEN, BatchState.SEALED),
    (BatchState.OPEN, BatchState.RELEASED),
    (BatchState.SEALED, BatchState.LAUNCHED),
    (BatchState.SEALED, BatchState.RELEASED),
}
PATHS = {
    BatchState.OPEN: [],
    BatchState.SEALED: [BatchState.SEALED],
    BatchState.LAUNCHED: [BatchState.SEALED, BatchState.LAUNCHED],
    BatchState.RELEASED: [BatchState.RELEASED],
}


@pytest.mark.parametrize("at_state", BatchState, ids=str)
@pytest.mark.parametrize("to", BatchState, ids=str)
def test_a_batch_moves_forward_only(ledger, at_state, to):
    made = batch(("r" + "a" * 26, 1))
    ledger.create_batch(made)
    for step in PATHS[at_state]:
        ledger.move_batch(made.batch, to=step)

    stands = to if (at_state, to) in FORWARD else at_state

    assert ledger.move_batch(made.batch, to=to) is stands
    assert ledger.create_batch(made) == (made, stands)


def test_moving_a_batch_that_is_not_there_raises_not_found(ledger):
    with pytest.raises(NotFound):
        ledger.move_batch("b" + "a" * 20, to=BatchState.SEALED)


def test_what_a_dead_dispatcher_left_is_found_oldest_first(ledger):
    left = [
        batch(("r" + letter * 26, 1), created_at=NOON + timedelta(seconds=seconds))
        for letter, seconds in (("c", 3), ("a", 1), ("d", 2), ("b", 4))
    ]
    for made in left:
        ledger.create_batch(made)
    ledger.move_batch(left[0].batch, to=BatchState.SEALED)
    ledger.move_batch(left[2].batch, to=BatchState.RELEASED)

    assert ledger.open_batches() == [
        (left[1], BatchState.OPEN),
        (left[0], BatchState.SEALED),
        (left[3], BatchState.OPEN),
    ]
