"""Register: what is checked, what is written, and who finds what is there already."""

from __future__ import annotations

import json
from dataclasses import replace
from threading import BoundedSemaphore
from typing import Any

import pytest

from atelier.contracts import ids, keys
from atelier.contracts.dataset import Dataset
from atelier.contracts.errors import (
    AlreadyExists,
    Cancelled,
    ConsentMissing,
    ContractBroken,
    DeadlinePassed,
    IdempotencyConflict,
    InvalidRequest,
    NotFound,
    PhotosRejected,
)
from atelier.contracts.records import RequestRecord
from atelier.contracts.request import MAX_PHOTOS, normalise, read_input
from atelier.contracts.status import Stamp, Status
from tasks import cancel, publish_model, register, sync_checkpoints
from tests.fakes.crashing import Crash, dying
from tests.fakes.world import World, photo


def start(world: World, execution: str = "by-hand", **given: Any) -> dict[str, Any]:
    payload = {"given": world.asked(**given), "execution": execution}
    return register.run(payload, ports=world.ports)


def dataset_of(world: World, request: str) -> Dataset:
    record = world.read(request)
    key = keys.dataset_document(record.given.owner, str(record.dataset))
    return Dataset.from_json(world.objects.read(key))


def publish(world: World, request: str) -> None:
    world.train(request)
    sync_checkpoints.run({"request": request, "turn": 0}, ports=world.ports)
    publish_model.run({"request": request}, ports=world.ports)


def test_an_input_typed_in_the_console_becomes_a_request_with_defaults(world):
    folder = world.upload(complete=False)
    given = {"user_id": 42, "photos": folder}
    result = register.run({"given": given, "execution": "mine"}, ports=world.ports)
    record = world.read(result["request"])
    assert result == {
        "request": record.request,
        "attempt": 1,
        "deadline_seconds": 24 * 3600,
        "known": False,
    }
    assert (record.given.tenant, record.given.model) == ("default", "me")
    assert (record.status, record.execution) == (Status.QUEUED, "mine")
    assert record.given.consent.given_by == "operator"
    assert record.queued_at is None
    assert record.steps == record.given.hyperparameters.steps


def test_a_completed_upload_becomes_a_dataset_with_its_consent(world):
    world.upload(photos=6)
    dataset = dataset_of(world, start(world)["request"])
    assert dataset.consent.given_by == "ada"
    assert [p.source for p in dataset.photos] == [f"{n:02d}.png" for n in range(6)]
    for one in dataset.photos:
        body = world.objects.read(one.key)
        assert ids.digest_of(body) == one.digest
        assert body.startswith(b"\x89PNG")


def test_the_same_photos_are_the_same_dataset_whatever_their_names_and_order(world):
    world.upload()
    first = world.read(start(world)["request"])
    folder = keys.upload_prefix(first.given.owner, "second")
    for number in range(5):
        world.objects.put(f"{folder}other-{9 - number}.png", photo(number))
    again = start(world, "second", photos=folder)
    assert world.read(again["request"]).dataset == first.dataset


def test_the_record_that_the_api_wrote_is_found(world):
    world.upload()
    asked = normalise(read_input(world.asked()), now=world.clock.now())
    name = ids.execution_name(asked.request, 1)
    written = RequestRecord(
        given=asked,
        attempt=1,
        status=Status.QUEUED,
        execution=name,
        created_at=world.clock.now(),
        updated_at=world.clock.now(),
    )
    world.ledger.create(written)
    world.clock.advance(100)
    result = start(world, name)
    assert result["request"] == asked.request
    assert result["deadline_seconds"] == 24 * 3600 - 100
    assert world.read(asked.request).given == asked


def test_what_cannot_be_used_is_left_out_while_enough_remains(world):
    folder = world.upload(complete=False)
    world.objects.put(f"{folder}notes.txt", b"hello")
    world.objects.put(f"{folder}again.png", photo(0))
    world.objects.put(f"{folder}_hidden.png", photo(8))
    request = start(world)["request"]
    dataset, record = dataset_of(world, request), world.read(request)
    assert len(dataset.photos) == record.photos_used == 5
    assert {"notes.txt", "_hidden.png"}.isdisjoint(p.source for p in dataset.photos)
    assert set(record.photos_left_out) == {"notes.txt", "again.png"}
    assert "00.png" in record.photos_left_out["again.png"]


def test_a_photo_that_could_be_better_is_used_and_noted(world):
    folder = world.upload(complete=False)
    world.objects.put(f"{folder}small.png", photo(8, 40))
    record = world.read(start(world)["request"])
    assert record.photos_used == 6
    assert record.photos_notes == {"small.png": "small: 40×40 pixels; the model draws 64"}
    assert any("better one" in sentence for sentence in record.photos_advice)


def test_the_consent_of_the_upload_is_the_datasets_and_the_records(world):
    world.upload()
    request = start(world)["request"]
    record = world.read(request)
    assert record.consent == dataset_of(world, request).consent
    assert record.consent is not None
    assert record.consent.given_by == "ada"


def test_photos_without_a_closed_upload_are_used_on_the_operators_word(world):
    world.upload(complete=False)
    request = start(world)["request"]
    record = world.read(request)
    assert record.consent == record.given.consent == dataset_of(world, request).consent
    assert record.given.consent.given_by == "operator"


def test_the_report_is_kept_beside_the_photos_and_read_by_the_next_attempt(world):
    folder = world.upload()
    world.objects.put(f"{folder}01.png", b"")
    request = start(world, "first")["request"]
    [kept] = [i for i in world.objects.list(folder) if "_report-" in i.key]
    cancel.run({"request": request}, ports=world.ports)
    # Whoever decodes again would wait for ever: nobody gives these places back.
    busy = replace(world.ports, decoding=BoundedSemaphore(1))
    busy.decoding.acquire()
    payload = {"given": world.asked(), "execution": "second"}
    assert register.run(payload, ports=busy)["attempt"] == 2
    assert [i for i in world.objects.list(folder) if "_report-" in i.key] == [kept]


def test_a_dataset_that_lost_a_photo_is_made_whole_from_the_same_report(world):
    folder = world.upload()
    request = start(world, "first")["request"]
    first = dataset_of(world, request)
    world.objects.delete(first.photos[2].key)
    cancel.run({"request": request}, ports=world.ports)
    start(world, "second")
    assert dataset_of(world, request) == first
    body = world.objects.read(first.photos[2].key)
    assert ids.digest_of(body) == first.photos[2].digest
    assert folder


@pytest.mark.parametrize("note", [b"", b"{}", b"\xff", b'{"schema":"atelier.set-report/9"}'])
def test_a_kept_report_that_does_not_read_is_made_anew(world, note):
    folder = world.upload()
    request = start(world, "first")["request"]
    [kept] = [i.key for i in world.objects.list(folder) if "_report-" in i.key]
    told = world.objects.read(kept)
    world.objects.put(kept, note)
    cancel.run({"request": request}, ports=world.ports)
    start(world, "second")
    assert world.objects.read(kept) == told


def test_another_resolution_or_another_photo_is_another_report(world):
    folder = world.upload(complete=False)
    start(world, "first")
    start(world, "second", model="large", hyperparameters={"resolution": 128})
    world.objects.put(f"{folder}00.png", photo(17))
    start(world, "third", model="other")
    assert len([i for i in world.objects.list(folder) if "_report-" in i.key]) == 3


def test_more_photos_than_a_set_may_have_are_never_noted(world):
    request = world.registered()
    before = world.read(request)
    with pytest.raises(ContractBroken, match=f"at most {MAX_PHOTOS}"):
        world.ledger.annotate(request, attempt=1, photos_used=MAX_PHOTOS + 1)
    assert world.read(request) == before


def test_too_few_photos_are_refused_and_each_says_why(world):
    folder = world.upload(photos=5)
    world.objects.delete(f"{folder}00.png")
    world.objects.put(f"{folder}01.png", photo(17))
    world.objects.put(f"{folder}02.png", b"x")
    with pytest.raises(PhotosRejected) as caught:
        start(world)
    facts = caught.value.facts
    assert (facts["accepted"], facts["needed"]) == (2, 4)
    assert facts["photos"]["00.png"] == "was announced but never uploaded"
    assert "announced" in facts["photos"]["01.png"]
    assert set(facts["photos"]) == {"00.png", "01.png", "02.png"}
    assert "2 of 5 photos can be used" in caught.value.message
    assert not world.objects.list("datasets/")


def test_too_many_photos_are_refused_unread(world):
    folder = world.upload(photos=0, complete=False)
    for number in range(MAX_PHOTOS + 1):
        world.objects.put(f"{folder}{number}.png", b"never read")
    with pytest.raises(PhotosRejected, match=f"at most {MAX_PHOTOS}"):
        start(world)


def test_an_upload_without_consent_is_refused(world):
    folder = world.upload()
    document = json.loads(world.objects.read(keys.upload_complete(folder)))
    del document["consent"]
    world.objects.put(keys.upload_complete(folder), json.dumps(document).encode())
    with pytest.raises(ConsentMissing):
        start(world)


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"photos": "datasets/someone/set/"}, "photos"),
        ({"photos": "uploads/"}, "photos"),
        ({"colour": "blue"}, "$"),
        ({"base": "no-such"}, "base"),
        ({"deadline_seconds": 1}, "deadline_seconds"),
    ],
)
def test_a_wrong_field_is_named_and_leaves_nothing_behind(world, given, where):
    with pytest.raises(InvalidRequest) as caught:
        start(world, **given)
    assert caught.value.facts["where"] == where
    assert not world.objects.list("datasets/")


def test_a_base_model_whose_weights_are_not_there_is_refused(world):
    world.upload()
    settings = replace(world.ports.settings, base_models=("tiny",))
    payload = {"given": world.asked(base="sd15"), "execution": "by-hand"}
    with pytest.raises(InvalidRequest, match="no base model sd15; it has: tiny") as caught:
        register.run(payload, ports=replace(world.ports, settings=settings))
    facts = caught.value.facts
    assert (facts["where"], facts["found"], facts["allowed"]) == ("base", "sd15", ["tiny"])
    assert not world.objects.list("datasets/")


def test_a_folder_of_another_owner_does_not_exist(world):
    folder = world.upload("somebody else")
    with pytest.raises(NotFound):
        start(world, photos=folder)


def test_a_model_of_that_name_is_not_replaced_without_being_asked(world):
    publish(world, world.launched(execution="first"))
    with pytest.raises(AlreadyExists) as caught:
        start(world, "second", seed=7)
    assert "new_version" in caught.value.do
    again = start(world, "third", seed=8, new_version=True)
    assert again["known"] is False


def test_a_returning_owner_with_the_same_photos_is_ready_at_once(world):
    publish(world, world.launched(execution="first"))
    result = start(world, "second", idempotency_key="another day")
    record = world.read(result["request"])
    assert result["known"] is True
    assert record.status is Status.READY
    assert record.photos_used == 5
    assert record.version == world.ledger.models(owner=record.given.owner)[0].current
    assert world.outbox() == ["onboarding.ready", "onboarding.ready"]


def test_a_second_start_of_a_running_request_is_refused_and_changes_nothing(world):
    request = world.queued(execution="first")
    before = world.read(request)
    with pytest.raises(AlreadyExists, match="first"):
        start(world, "second")
    assert world.read(request) == before


def test_starting_a_cancelled_request_again_by_hand_is_its_next_attempt(world):
    request = world.queued(execution="first")
    cancel.run({"request": request}, ports=world.ports)
    result = start(world, "second")
    assert (result["request"], result["attempt"]) == (request, 2)
    assert world.read(request).status is Status.QUEUED


def test_who_begins_again_before_the_end_was_told_leaves_nobody_waiting_for_the_attempt_before(
    world,
):
    request = world.launched()
    job = str(world.read(request).job)
    world.executions.succeeded.clear()
    world.executions.start("onboarding", "by-hand", {})
    ports, _ = dying(world.ports, after=2)
    with pytest.raises(Crash):
        cancel.run({"request": request}, ports=ports)
    world.registered(execution="again")
    assert world.executions.describe("onboarding", "by-hand").status == "ABORTED"
    assert world.read(request).attempt == 2
    assert set(world.executions.failed) == {"token-1"}
    assert world.objects.list(keys.control_of_job(job))


def test_a_retry_after_the_deadline_has_as_long_again(world):
    request = world.queued(execution="first", deadline_seconds=60)
    world.clock.advance(100)
    with pytest.raises(DeadlinePassed):
        start(world, "first", deadline_seconds=60)
    cancel.run({"request": request}, ports=world.ports)
    assert start(world, "second", deadline_seconds=60)["deadline_seconds"] == 60


def test_an_execution_of_an_earlier_attempt_revives_nothing(world):
    request = world.registered(execution="first")
    cancel.run({"request": request}, ports=world.ports)
    with pytest.raises(Cancelled):
        start(world, ids.execution_name(request, 1))
    assert world.read(request).stamp == Stamp(1, Status.CANCELLED)


def test_the_same_key_with_another_input_is_a_conflict(world):
    world.registered(execution="first", idempotency_key="k")
    with pytest.raises(IdempotencyConflict):
        start(world, "second", idempotency_key="k", seed=3)


def test_two_tenants_who_both_call_their_user_42_get_requests_of_their_own(world):
    one = world.registered(execution="a", tenant="acme")
    other = world.registered(execution="b", tenant="globex")
    assert world.read(one).given.owner != world.read(other).given.owner
    assert world.read(one).dataset != world.read(other).dataset
