"""Hostile artifacts at every door: refused, nothing left behind, and the next good one loads."""

from __future__ import annotations

import pickle
import shutil
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from atelier.contracts import checkpoints
from atelier.contracts.adapter import SLOT_LAYOUT_FILE
from atelier.contracts.checkpoints import ADAPTER_FILE
from atelier.contracts.clock import ManualClock
from atelier.contracts.errors import AdapterRejected
from atelier.contracts.ids import digest_of
from atelier.lora.adapter_file import write_adapter
from atelier.lora.bank import AdapterWeights
from atelier.lora.tensor_file import write_tensors
from infra.local.model_disk import ModelDisk
from infra.local.objects import FileObjects
from infra.local.upload_forms import hmac_signer
from serving_image.settings import MEBIBYTE, ServeSettings
from serving_image.torch_drawer import TorchDrawer, open_drawer
from tasks import publish_model, sync_checkpoints
from tests.fakes.world import World, new_world
from tests.fuzz import seeds
from tests.fuzz.zoo import (
    ARCHIVES,
    READS,
    SLOTS,
    UNPACKS,
    WEIGHTS,
    Files,
    Touch,
    packed,
    with_slots,
    with_weights,
)
from tests.fuzz.zoo import members as tar_of
from tests.serving.artifacts import ANN, BOB, folder_with
from tests.serving.house import House
from tests.serving.real import REPOSITORY, artifact_files, weights_of
from training_image.checkpoint import HEADER_KEY, StateCard, find_state
from training_image.tree import CheckpointTree

LIMIT_BYTES = 64 * MEBIBYTE
"""Of memory that refusing may take: the zoo's files are far smaller, what they announce is not."""
GIVEN_BACK = "x/tiny/v1.tar.gz"


# the local endpoint's disk


@dataclass
class Disk:
    folder: Path
    objects: FileObjects
    disk: ModelDisk

    def fetch(self, body: bytes) -> Path:
        self.objects.put("artifacts/a.tar.gz", body)
        return self.disk.fetch("a.tar.gz", in_use=lambda _: False)


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    objects = FileObjects(
        tmp_path / "objects",
        clock=ManualClock(),
        sign=hmac_signer(b"a secret of the tests, 32 bytes."),
        upload_url="",
    )
    home = tmp_path / "endpoint"
    return Disk(home, objects, ModelDisk(home, objects=objects, max_bytes=10**9))


@pytest.fixture(scope="module")
def files() -> Files:
    """Return a good artifact with a slot layout, of a network that is nowhere."""
    a, b = torch.ones(4, 4), torch.ones(4, 4)
    return artifact_files(ANN, AdapterWeights(4, 4.0, {"m": (a, b)}), slot_layout=False)


@pytest.mark.parametrize("name", sorted(set(ARCHIVES) - UNPACKS))
def test_the_endpoint_s_disk_keeps_nothing_of_a_hostile_archive(
    disk: Disk, files: Files, name: str
) -> None:
    hostile = ARCHIVES[name](files)
    tracemalloc.start()
    try:
        with pytest.raises(AdapterRejected):
            disk.fetch(hostile)
        assert tracemalloc.get_traced_memory()[1] < LIMIT_BYTES
    finally:
        tracemalloc.stop()
    assert list(disk.folder.rglob("*")) == []
    assert disk.disk.used_bytes == 0
    good = disk.fetch(packed(tar_of(files)))
    assert {path.name for path in good.iterdir()} == set(files)


# the model server: both doors, the registry and the device


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> TorchDrawer:
    bases = tmp_path_factory.mktemp("bases")
    (bases / "tiny").symlink_to(REPOSITORY / "examples/tiny/model")
    drawer = open_drawer(ServeSettings(base_models=bases, slots=2, rank=8, threads=1, device="cpu"))
    assert isinstance(drawer, TorchDrawer)
    return drawer


@dataclass
class Server:
    """A model server in whose slots a neighbour's adapter lies."""

    house: House
    drawer: TorchDrawer
    good: Files
    laid: Files

    def device(self) -> list[torch.Tensor]:
        return [self.drawer._bank.storage_SP.clone()]

    def put(self, body: bytes) -> Any:
        self.house.put(f"artifacts/{GIVEN_BACK}", body)
        self.house.put(GIVEN_BACK, body)
        digest = artifact_digest(self.good)
        return self.house.invoke_artifact(GIVEN_BACK, digest, ANN, denoising_steps=1)


def artifact_digest(files: Files) -> str:
    return digest_of(files[ADAPTER_FILE])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, opened: TorchDrawer) -> Iterator[Server]:
    with House(tmp_path_factory.mktemp("house"), opened, host_bytes=256 * MEBIBYTE) as house:
        shapes = opened._bank.shapes
        bobs = artifact_files(BOB, weights_of(shapes, seed=2))
        folder_with(house.folder / "models/bob/model", bobs)
        assert house.load("bob", BOB).status_code == 200
        assert house.invoke("bob", BOB, denoising_steps=1).status_code == 200
        good = artifact_files(ANN, weights_of(shapes, seed=1))
        laid = artifact_files(ANN, weights_of(shapes, seed=1), slot_layout=True)
        yield Server(house, opened, good, laid)


def unharmed(server: Server, before: list[torch.Tensor], names: set[str]) -> None:
    """Check that registry and device are as they were."""
    assert {resident.key.name for resident in server.house.residency.all()} == names
    assert all(torch.equal(a, b) for a, b in zip(before, server.device(), strict=True))


@pytest.mark.parametrize("name", sorted(set(ARCHIVES) - READS))
def test_a_hostile_archive_reaches_neither_registry_nor_device(server: Server, name: str) -> None:
    before, names = server.device(), {r.key.name for r in server.house.residency.all()}
    refused = server.put(ARCHIVES[name](server.good))
    assert (refused.status_code, refused.json()["error"]) == (400, "AdapterRejected")
    unharmed(server, before, names)


def hostile(server: Server, kind: str, name: str) -> Files:
    if kind == "weights":
        return with_weights(server.good, WEIGHTS[name](server.good[ADAPTER_FILE]))
    return with_slots(server.laid, SLOTS[name](server.laid[SLOT_LAYOUT_FILE]))


EVIL = [("weights", name) for name in WEIGHTS] + [("slots", name) for name in SLOTS]


@pytest.mark.parametrize(("kind", "name"), EVIL)
def test_hostile_tensors_with_an_honest_card_reach_no_device(
    server: Server, tmp_path: Path, kind: str, name: str
) -> None:
    before, names = server.device(), {r.key.name for r in server.house.residency.all()}
    evil = hostile(server, kind, name)
    server.house.put("evil.tar.gz", packed(tar_of(evil)))
    digest = artifact_digest(evil)
    for refused in (
        server.house.invoke_artifact("evil.tar.gz", digest, ANN, denoising_steps=1),
        server.house.client.post(
            "/models", json={"model_name": "evil", "url": str(folder_with(tmp_path / "m", evil))}
        ),
    ):
        assert (refused.status_code, refused.json()["error"]) == (400, "AdapterRejected")
    unharmed(server, before, names)


def test_neighbour_and_newcomer_draw_after_the_whole_zoo(server: Server) -> None:
    assert server.house.invoke("bob", BOB, denoising_steps=1).status_code == 200
    server.house.put("good.tar.gz", packed(tar_of(server.good)))
    digest = artifact_digest(server.good)
    answer = server.house.invoke_artifact("good.tar.gz", digest, ANN, denoising_steps=1)
    assert answer.status_code == 200


def test_another_owner_s_artifact_draws_for_nobody_else(server: Server) -> None:
    server.house.put("ann.tar.gz", packed(tar_of(server.good)))
    digest = artifact_digest(server.good)
    assert server.house.invoke_artifact("ann.tar.gz", digest, BOB).status_code == 404


# publishing


@pytest.fixture
def world() -> Iterator[World]:
    with new_world() as fresh:
        yield fresh


@pytest.mark.parametrize("name", sorted(WEIGHTS))
def test_hostile_weights_are_never_published(world: World, name: str) -> None:
    request = world.launched()
    rank = world.read(request).given.hyperparameters.rank
    a, b = torch.ones(rank, 4), torch.ones(4, rank)
    good = write_adapter(AdapterWeights(rank, 1.0, {"block.to_q": (a, b), "m.to_k": (a, b)}))
    world.train(request, weights=WEIGHTS[name](good))
    sync_checkpoints.run({"request": request, "turn": 0}, ports=world.ports)
    with pytest.raises(AdapterRejected):
        publish_model.run({"request": request}, ports=world.ports)
    assert not world.objects.list("artifacts/")
    assert not world.ledger.list_models(tenant="default")
    assert world.outbox() == []


# resumable states


@pytest.mark.parametrize("name", sorted(set(WEIGHTS) - {"modules of another model"}))
def test_a_hostile_state_is_passed_over_for_an_older_one(tmp_path: Path, name: str) -> None:
    card = StateCard("r" + "a" * 26, 4, seeds.DIGEST, None, 1.0)
    tensors = {f"weight.{n}.A": torch.ones(4, 4).half() for n in ("m", "n")}
    tree = CheckpointTree(tmp_path)
    for step in (2, 4):
        body = write_tensors(tensors, {HEADER_KEY: replace(card, step=step).to_json().decode()})
        path = checkpoints.state("algo-1", card.request, step)
        tree.write(path, body if step == 2 else WEIGHTS[name](body))
    task = type("Task", (), {"request": card.request, "resume_from": None})()
    found = find_state(
        task,
        fingerprint=seeds.DIGEST,
        tree=tree,
        host="algo-1",
        objects=None,  # type: ignore[arg-type]
    )
    assert found is not None
    assert all(tensor.isfinite().all() for tensor in found.tensors.values())
    if name not in HARMLESS:
        assert found.card.step == 2


HARMLESS = frozenset(
    {
        *["another shape of the same size", "a rank of its own", "a module that is nowhere"],
        "an A without its B",
    }
)
"""What a state may hold: `put_state` compares it with the slot before anything is copied."""


# base models


def test_a_base_model_of_pickles_is_not_opened(tmp_path: Path) -> None:
    folder = tmp_path / "bases" / "tiny"
    shutil.copytree(REPOSITORY / "examples/tiny/model", folder)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    evil = pickle.dumps(Touch(tmp_path / "pickled"))
    weights.unlink()
    weights.with_suffix(".bin").write_bytes(evil)
    with pytest.raises(Exception, match=r".+"):
        open_drawer(ServeSettings(base_models=tmp_path / "bases", slots=1, rank=8, device="cpu"))
    weights.write_bytes(evil)
    with pytest.raises(Exception, match=r".+"):
        open_drawer(ServeSettings(base_models=tmp_path / "bases", slots=1, rank=8, device="cpu"))
    assert not (tmp_path / "pickled").exists()
