"""PublishModel: what is checked, what is written, and that it happens once."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from atelier.contracts import archive, checkpoints, keys, slot_layout
from atelier.contracts.errors import AdapterRejected, Cancelled, ContractBroken
from atelier.contracts.ids import digest_of
from atelier.contracts.slot_layout import SlotLayout, SlotMatrix
from atelier.contracts.status import Status
from tasks import cancel, publish_model, sync_checkpoints
from tasks.ports import Ports
from tests.fakes.crashing import Crash, dying
from tests.fakes.world import World, adapter_file, new_world


def publish(world: World, request: str) -> dict[str, Any]:
    return publish_model.run({"request": request}, ports=world.ports)


def trained(world: World, *, weights: bytes | None = None, **card: Any) -> str:
    request = world.launched()
    world.train(request, weights=weights, **card)
    sync_checkpoints.run({"request": request, "turn": 0}, ports=world.ports)
    return request


def test_a_trained_request_becomes_the_models_current_version(world):
    request = trained(world)
    result = publish(world, request)
    record = world.read(request)
    model = world.ledger.model(record.given.owner, "me")
    version = model.current_version
    assert record.status is Status.READY
    assert result == {
        "version": version.version,
        "artifact": f"artifacts/{result['target_model']}",
        "digest": digest_of(adapter_file(16)),
        "target_model": f"tiny/{record.given.owner}/me/{version.version}.tar.gz",
    }
    assert version.version.startswith("v1-")
    assert (model.dataset, version.request) == (record.dataset, request)
    assert version.bytes == len(world.objects.read(version.artifact))
    assert world.outbox() == ["onboarding.ready"]


def test_the_artifact_is_a_plain_archive_of_card_and_adapter_file(world):
    artifact = publish(world, trained(world))["artifact"]
    with tarfile.open(fileobj=io.BytesIO(world.objects.read(artifact))) as tar:
        names = tar.getnames()
        assert names == ["adapter.json", "adapter.safetensors"]
        assert all(m.isreg() and (m.mtime, m.uid) == (0, 0) for m in tar.getmembers())


def test_an_archives_bytes_depend_on_its_members_alone():
    members = {"adapter.safetensors": b"weights", "adapter.json": b"{}"}
    first = archive.pack(members)
    assert first == archive.pack(dict(reversed(members.items())))
    assert first[4:8] == b"\0\0\0\0"
    assert gzip.decompress(first)
    with pytest.raises(ValueError, match="surprise"):
        archive.pack({"surprise.pkl": b""})


def test_publishing_twice_publishes_once(world):
    request = trained(world)
    assert publish(world, request) == publish(world, request)
    assert len(world.ledger.models(owner=world.read(request).given.owner)[0].versions) == 1


def test_a_second_version_follows_the_first_and_keeps_it(world):
    publish(world, trained(world))
    again = world.launched(execution="second", new_version=True, seed=1)
    world.train(again)
    sync_checkpoints.run({"request": again, "turn": 0}, ports=world.ports)
    result = publish(world, again)
    model = world.ledger.models(owner=world.read(again).given.owner)[0]
    assert [v.version[:3] for v in model.versions] == ["v1-", "v2-"]
    assert model.current == result["version"]
    assert all(world.objects.info(v.artifact) for v in model.versions)


def test_two_onboardings_of_one_name_that_both_train_become_two_versions(world):
    one = world.launched(execution="one", token="one")
    other = world.launched(execution="other", token="other", seed=1)
    for request in (one, other):
        world.train(request)
        sync_checkpoints.run({"request": request, "turn": 0}, ports=world.ports)
        publish(world, request)
    (model,) = world.ledger.models(owner=world.read(one).given.owner)
    assert [v.request for v in model.versions] == [one, other]


@pytest.mark.parametrize(
    ("card", "where"),
    [
        ({"owner": "o" + "a" * 26}, "owner"),
        ({"request": "r" + "a" * 26}, "request"),
        ({"model": "other"}, "model"),
        ({"base": "sd15"}, "base"),
        ({"rank": 8}, "rank"),
        ({"tensors": 3}, "tensors"),
        ({"file_digest": "0" * 64}, "file_digest"),
        ({"file_bytes": 7}, "file_bytes"),
        ({"instance_prompt": "a photo"}, "instance_prompt"),
    ],
)
def test_a_card_that_does_not_agree_is_rejected_and_nothing_is_published(world, card, where):
    request = trained(world, **card)
    with pytest.raises(AdapterRejected, match=where):
        publish(world, request)
    assert not world.objects.list("artifacts/")
    assert world.read(request).status is Status.PUBLISHING


@pytest.mark.parametrize(
    "weights",
    [
        adapter_file(16, value=float("nan")),
        adapter_file(16, value=float("inf")),
        adapter_file(16)[:-4],
        adapter_file(16) + b"tail",
        adapter_file(16).replace(b"lora_B", b"lora_C"),
        adapter_file(16).replace(b"unet.", b"evil."),
        adapter_file(8),
        b"not safetensors at all",
    ],
    ids=["nan", "infinity", "cut", "tail", "lone", "foreign", "rank", "rubbish"],
)
def test_a_file_that_breaks_the_rules_is_rejected(world, weights):
    request = trained(world, weights=weights)
    with pytest.raises(AdapterRejected):
        publish(world, request)
    assert not world.objects.list("artifacts/")


def test_a_file_that_changed_since_it_was_announced_is_rejected(world):
    request = trained(world)
    record = world.read(request)
    path = checkpoints.adapter_file(str(record.host), request)
    world.objects.put(keys.checkpoint(str(record.job), path), adapter_file(16, value=0.25))
    with pytest.raises(AdapterRejected, match="file_digest"):
        publish(world, request)


def test_a_progress_that_points_at_another_tasks_files_is_rejected(world):
    request = trained(world)
    record = world.read(request)
    key = keys.checkpoint(str(record.job), checkpoints.progress(str(record.host), request))
    body = world.objects.read(key)
    here, there = f"algo-1/{request}/adapter", f"algo-1/{'r' + 'a' * 26}/adapter"
    world.objects.put(key, body.replace(here.encode(), there.encode()))
    with pytest.raises(AdapterRejected, match="lies outside"):
        publish(world, request)


def slots_of(digest: str) -> bytes:
    matrices = (SlotMatrix("unet.block_0.to_q", "A", (16, 4), 0),)
    layout = SlotLayout(digest, "F32", 16, 16.0, matrices)
    return slot_layout.pack(layout, bytes(layout.data_bytes))


def test_a_slot_layout_travels_with_the_adapter_that_it_is_bound_to(world):
    slots = slots_of(digest_of(adapter_file(16)))
    request = trained(world, slot_layout_digest=digest_of(slots))
    record = world.read(request)
    path = f"{checkpoints.folder(str(record.host), request)}adapter/adapter.slots"
    world.objects.put(keys.checkpoint(str(record.job), path), slots)
    body = world.objects.read(publish(world, request)["artifact"])
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        assert tar.getnames() == ["adapter.json", "adapter.safetensors", "adapter.slots"]


def test_a_slot_layout_of_another_adapter_is_rejected(world):
    slots = slots_of("0" * 64)
    request = trained(world, slot_layout_digest=digest_of(slots))
    record = world.read(request)
    path = f"{checkpoints.folder(str(record.host), request)}adapter/adapter.slots"
    world.objects.put(keys.checkpoint(str(record.job), path), slots)
    with pytest.raises(AdapterRejected, match="another adapter file"):
        publish(world, request)


def test_a_cancelled_request_is_not_published(world):
    request = trained(world)
    cancel.run({"request": request}, ports=world.ports)
    with pytest.raises(Cancelled):
        publish(world, request)
    assert world.ledger.models(owner=world.read(request).given.owner) == []


def test_a_cancel_that_comes_while_publishing_keeps_the_model_unpublished(world):
    request = trained(world)

    class CancelledMeanwhile:
        def __getattr__(self, name: str) -> Any:
            if name == "publish":
                cancel.run({"request": request}, ports=world.ports)
            return getattr(world.ledger, name)

    ports = replace(world.ports, ledger=CancelledMeanwhile())
    with pytest.raises(Cancelled):
        publish_model.run({"request": request}, ports=ports)
    assert world.outbox() == ["onboarding.cancelled"]


class OvertakenPort:
    """Something else happens just before the first call of a name that begins so."""

    def __init__(self, port: Any, name: str, meanwhile: Callable[[], object]) -> None:
        self._port, self._name, self._meanwhile = port, name, meanwhile

    def __getattr__(self, name: str) -> Any:
        if name == self._name:
            self._name = ""
            self._meanwhile()
        return getattr(self._port, name)


def overtaken(world: World, call: str, meanwhile: Callable[[], object]) -> Ports:
    port, _, name = call.partition(".")
    return replace(
        world.ports, **{port: OvertakenPort(getattr(world.ports, port), name, meanwhile)}
    )


def published_artifacts(world: World, request: str) -> set[str]:
    models = world.ledger.models(owner=world.read(request).given.owner)
    return {version.artifact for model in models for version in model.versions}


@pytest.mark.parametrize("call", ["objects.put", "ledger.publish"])
def test_no_archive_stays_when_a_cancel_overtakes_its_publishing_wherever_the_process_dies(call):
    for point in range(1, 100):
        with new_world() as world:
            request = trained(world)
            meanwhile = partial(cancel.run, {"request": request}, ports=world.ports)
            ports, calls = dying(overtaken(world, call, meanwhile), after=point)
            with pytest.raises((Crash, Cancelled)):
                publish_model.run({"request": request}, ports=ports)
            if calls.calls >= point:
                cancel.run({"request": request}, ports=world.ports)
            with pytest.raises(Cancelled):
                publish(world, request)
            assert not world.objects.list("artifacts/")
            if calls.calls < point:
                return


def test_no_archive_stays_whose_number_another_version_took_wherever_the_process_dies():
    for point in range(1, 100):
        with new_world() as world:
            slow = trained(world)
            quick = world.launched(execution="quick", token="quick", seed=1)
            world.train(quick)
            sync_checkpoints.run({"request": quick, "turn": 0}, ports=world.ports)
            meanwhile = partial(publish, world, quick)
            ports, calls = dying(overtaken(world, "ledger.publish", meanwhile), after=point)
            with suppress(Crash):
                publish_model.run({"request": slow}, ports=ports)
            publish(world, slow)
            publish(world, quick)
            held = {info.key for info in world.objects.list("artifacts/")}
            assert held == published_artifacts(world, slow)
            assert len(held) == 2
            if calls.calls < point:
                return


def test_what_was_never_trained_is_not_published(world):
    with pytest.raises(ContractBroken, match="not trained"):
        publish(world, world.launched())
