"""The whole server but its sockets, drawing with the base model `tiny`."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from atelier.contracts import ids
from atelier.contracts.base_models import folder_digest
from atelier.contracts.checkpoints import ADAPTER_FILE
from atelier.contracts.errors import ContractBroken
from atelier.lora import sampling
from serving_image.jobs import proof_drawing
from serving_image.residency import AdapterKey, Door
from serving_image.settings import MEBIBYTE, ServeSettings
from serving_image.torch_drawer import TorchDrawer, check_weights, open_drawer
from tests.serving.artifacts import ANN, BOB, archive_of, folder_with
from tests.serving.house import House
from tests.serving.real import REPOSITORY, TINY, artifact_files, weights_of

DENOISING_STEPS = 4
TOLERANCE = 2
"""Of 255: a batch sums in another order than a lone row."""


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> TorchDrawer:
    bases = tmp_path_factory.mktemp("bases")
    (bases / "tiny").symlink_to(REPOSITORY / "examples/tiny/model")
    drawer = open_drawer(ServeSettings(base_models=bases, slots=2, rank=8, threads=1, device="cpu"))
    assert isinstance(drawer, TorchDrawer)
    return drawer


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, opened: TorchDrawer) -> Iterator[House]:
    with House(tmp_path_factory.mktemp("house"), opened, host_bytes=256 * MEBIBYTE) as house:
        for name, owner, seed in (("ann", ANN, 1), ("bob", BOB, 2)):
            files = artifact_files(owner, weights_of(opened._bank.shapes, seed=seed))
            folder_with(house.folder / f"models/{name}/model", files)
            assert house.load(name, owner).status_code == 200
        yield house


def draw(house: House, name: str, owner: str, **wanted: Any) -> list[np.ndarray]:
    return pixels(house.invoke(name, owner, **({"denoising_steps": DENOISING_STEPS} | wanted)))


def pixels(answer: Any) -> list[np.ndarray]:
    assert answer.status_code == 200, answer.text
    bodies = [base64.b64decode(image["image_base64"]) for image in answer.json()["images"]]
    return [np.asarray(Image.open(io.BytesIO(body))).astype(int) for body in bodies]


def difference(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(one - other).max())


def test_an_adapter_changes_the_picture_and_each_its_own_way(house: House) -> None:
    [base] = draw(house, "ann", ANN, adapter_scale=0.0)
    [anns] = draw(house, "ann", ANN)
    [bobs] = draw(house, "bob", BOB)
    assert min(difference(base, anns), difference(base, bobs), difference(anns, bobs)) > 20


def test_adapter_scale_zero_is_the_base_model_exactly(house: House) -> None:
    [anns] = draw(house, "ann", ANN, adapter_scale=0.0, seed=3)
    [bobs] = draw(house, "bob", BOB, adapter_scale=0.0, seed=3)
    assert difference(anns, bobs) == 0


def test_the_same_request_draws_the_same_picture(house: House) -> None:
    [one] = draw(house, "ann", ANN, seed=5)
    [other] = draw(house, "ann", ANN, seed=5)
    assert difference(one, other) == 0


def test_image_i_of_a_request_is_the_one_that_seed_plus_i_draws_alone(house: House) -> None:
    together = draw(house, "ann", ANN, seed=10, count=3)
    alone = [draw(house, "ann", ANN, seed=10 + i)[0] for i in range(3)]
    assert max(difference(a, b) for a, b in zip(together, alone, strict=True)) <= TOLERANCE


def test_people_in_one_batch_get_what_each_gets_alone(house: House) -> None:
    requests: list[tuple[str, str, dict[str, Any]]] = [
        ("ann", ANN, {"seed": 1, "count": 2}),
        ("bob", BOB, {"seed": 1, "prompt": "a red balloon", "guidance": 1.0}),
        ("bob", BOB, {"seed": 1, "denoising_steps": 7, "scheduler": "euler"}),
        ("ann", ANN, {"seed": 2, "width": 32, "height": 48, "adapter_scale": 0.5}),
        ("ann", ANN, {"seed": 2, "scheduler": "dpm-solver++", "negative_prompt": "blue"}),
    ]
    alone = [draw(house, name, owner, **wanted) for name, owner, wanted in requests]
    later = [
        house.invoke_later(name, owner, **({"denoising_steps": DENOISING_STEPS} | wanted))
        for name, owner, wanted in requests
    ]
    together = [pixels(answer.result()) for answer in later]
    for mine, shared in zip(alone, together, strict=True):
        pairs = zip(mine, shared, strict=True)
        assert max(difference(a, b) for a, b in pairs) <= TOLERANCE


def test_more_people_than_slots_are_served_in_turn_and_keep_their_own(
    house: House, opened: TorchDrawer
) -> None:
    names = [f"p{seed}" for seed in range(4)]
    for seed, name in enumerate(names):
        files = artifact_files(ANN, weights_of(opened._bank.shapes, seed=50 + seed))
        folder_with(house.folder / f"models/{name}/model", files)
        assert house.load(name, ANN).status_code == 200
    alone = [draw(house, name, ANN)[0] for name in names]
    later = [house.invoke_later(name, ANN, denoising_steps=DENOISING_STEPS) for name in names * 2]
    together = [pixels(answer.result())[0] for answer in later]
    for mine, shared in zip(alone * 2, together, strict=True):
        assert difference(mine, shared) <= TOLERANCE


def test_a_slot_layout_file_serves_the_same_picture(house: House, opened: TorchDrawer) -> None:
    files = artifact_files(ANN, weights_of(opened._bank.shapes, seed=1), slot_layout=True)
    folder_with(house.folder / "models/laid/model", files)
    assert house.load("laid", ANN).status_code == 200
    [laid], [anns] = draw(house, "laid", ANN), draw(house, "ann", ANN)
    assert difference(laid, anns) == 0


def test_an_artifact_from_object_storage_serves_the_same_picture(
    house: House, opened: TorchDrawer
) -> None:
    files = artifact_files(ANN, weights_of(opened._bank.shapes, seed=1))
    house.put("tiny/o/default/v1.tar.gz", archive_of(files))
    digest = ids.digest_of(files[ADAPTER_FILE])
    answer = house.invoke_artifact("tiny/o/default/v1.tar.gz", digest, ANN)
    [stored], [anns] = pixels(answer), draw(house, "ann", ANN, denoising_steps=3)
    assert difference(stored, anns) == 0


def test_latents_that_are_no_numbers_are_refused_and_hurt_nobody_in_the_batch(
    house: House, opened: TorchDrawer
) -> None:
    wild = weights_of(opened._bank.shapes, seed=9)
    wild = replace(
        wild, matrices={name: (a * 6e4, b * 6e4) for name, (a, b) in wild.matrices.items()}
    )
    folder_with(house.folder / "models/wild/model", artifact_files(BOB, wild))
    assert house.load("wild", BOB).status_code == 200
    [alone] = draw(house, "ann", ANN)
    broken = house.invoke_later("wild", BOB, denoising_steps=4)
    good = house.invoke_later("ann", ANN, denoising_steps=4)
    assert broken.result().status_code == 422
    assert broken.result().json()["error"] == "DrawingFailed"
    assert difference(pixels(good.result())[0], alone) <= TOLERANCE
    [after] = draw(house, "ann", ANN)
    assert difference(after, alone) == 0


def test_pixels_that_are_no_numbers_come_to_no_image_beside_one_that_does(
    opened: TorchDrawer,
) -> None:
    drawing = proof_drawing(opened.resolution)
    good, overflowing = opened.begin([drawing, drawing])
    while good.left:
        opened.advance([good, overflowing])
    cast("sampling.Row", overflowing).latent_CHW.fill_(1e30)
    picture, none = opened.finish([good, overflowing])
    [alone] = opened.finish([good])
    assert none is None
    assert picture is not None
    assert alone is not None
    one, other = (np.frombuffer(p.rgb, np.uint8).astype(int) for p in (picture, alone))
    assert difference(one, other) <= TOLERANCE


@pytest.mark.parametrize(("rank", "why"), [(16, "rank"), (4, "module")])
def test_an_adapter_that_does_not_fit_the_bank_is_400(
    house: House, opened: TorchDrawer, rank: int, why: str
) -> None:
    weights = weights_of(opened._bank.shapes, seed=3, rank=rank)
    if why == "module":
        stranger = next(iter(weights.matrices.values()))
        weights = replace(weights, matrices={**weights.matrices, "mid_block.stranger": stranger})
    url = folder_with(house.folder / f"unfit-{why}", artifact_files(ANN, weights))
    answer = house.client.post("/models", json={"model_name": why, "url": str(url)})
    assert (answer.status_code, answer.json()["error"]) == (400, "AdapterRejected")


def test_a_base_model_with_other_weights_than_the_registry_names_is_refused() -> None:
    folder = REPOSITORY / TINY.source
    check_weights(folder, replace(TINY, digest=folder_digest(folder)))
    with pytest.raises(ContractBroken):
        check_weights(folder, replace(TINY, digest="0" * 64))


def test_an_unloaded_adapter_leaves_only_zeros_behind(house: House, opened: TorchDrawer) -> None:
    files = artifact_files(BOB, weights_of(opened._bank.shapes, seed=77))
    folder_with(house.folder / "models/gone/model", files)
    house.load("gone", BOB)
    draw(house, "gone", BOB)
    slot = house.residency.find(AdapterKey(Door.PLATFORM, "gone")).slot
    assert slot is not None
    assert opened._bank.storage_SP[slot].any()
    assert house.client.delete("/models/gone").status_code == 200
    assert not opened._bank.storage_SP[slot].any()
