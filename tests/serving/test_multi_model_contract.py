"""The multi-model contract, door by door (sagemaker/latest/dg `mms-container-apis`)."""

from __future__ import annotations

import base64
import io
import os
import threading
from pathlib import Path

import pytest
from PIL import Image

from tests.serving.artifacts import ANN, BOB, files_of, folder_with
from tests.serving.fakes import FakeDrawer
from tests.serving.house import House, request_of, until

MEMBERS = {"error", "message", "do", "facts"}


def test_ping_answers_200_only_once_an_image_could_be_made(tmp_path: Path) -> None:
    loaded = threading.Event()
    drawer = FakeDrawer()

    def open_slowly() -> FakeDrawer:
        assert loaded.wait(20)
        return drawer

    with House(tmp_path, drawer, open_drawer=open_slowly) as house:
        assert house.client.get("/ping").status_code == 503
        loaded.set()
        house.ready()
        assert house.client.get("/ping").status_code == 200
    assert house.client.get("/ping").status_code == 503


def test_ping_fails_for_ever_when_the_base_model_does_not_load(tmp_path: Path) -> None:
    def broken() -> FakeDrawer:
        raise OSError("no such base model")

    with House(tmp_path, FakeDrawer(), open_drawer=broken) as house:
        house.engine.wait_until_started(20)
        assert house.client.get("/ping").status_code == 503
        refused = house.client.post("/models", json={"model_name": "a", "url": str(tmp_path)})
        assert refused.status_code == 503


def test_ping_answers_200_with_an_empty_body_while_a_batch_is_drawn(
    house: House, drawer: FakeDrawer
) -> None:
    house.load("a", ANN)
    drawer.gate.clear()
    answer = house.invoke_later("a", ANN)
    ping = house.client.get("/ping")
    drawer.gate.set()
    assert (ping.status_code, ping.content) == (200, b"")
    assert answer.result().status_code == 200


def test_ping_fails_while_a_denoising_step_hangs(tmp_path: Path) -> None:
    drawer = FakeDrawer()
    with House(tmp_path, drawer, stuck_seconds=0.0) as house:
        house.load("a", ANN)
        inside = threading.Event()
        drawer.gate.clear()
        drawer.fault = lambda call, _: inside.set() if call == "begin" else None
        answer = house.invoke_later("a", ANN)
        assert inside.wait(20)
        assert house.client.get("/ping").status_code == 503
        drawer.gate.set()
        assert answer.result().status_code == 200


def test_a_loaded_model_is_described_listed_and_drawn_with(house: House) -> None:
    loaded = house.load("a", ANN)
    url = str(house.folder / "models/a/model")
    assert (loaded.status_code, loaded.json()) == (200, {"modelName": "a", "modelUrl": url})
    assert house.client.get("/models/a").json() == {"modelName": "a", "modelUrl": url}
    assert house.client.get("/models").json() == {"models": [{"modelName": "a", "modelUrl": url}]}
    assert house.invoke("a", ANN).status_code == 200


def test_an_answer_names_the_adapter_and_every_seed(house: House) -> None:
    house.load("a", ANN)
    answer = house.invoke("a", ANN, count=3, seed=7, width=32, height=40).json()
    assert [image["seed"] for image in answer["images"]] == [7, 8, 9]
    assert (answer["width"], answer["height"], answer["base"]) == (32, 40, "tiny")
    assert answer["schema"] == "atelier.generated/1"
    assert answer["seconds"] >= 0
    bodies = [base64.b64decode(image["image_base64"]) for image in answer["images"]]
    assert len(set(bodies)) == 3
    with Image.open(io.BytesIO(bodies[0])) as image:
        assert (image.format, image.size, image.mode) == ("PNG", (32, 40), "RGB")


def test_images_come_as_jpeg_when_asked_for(house: House) -> None:
    house.load("a", ANN)
    answer = house.invoke("a", ANN, format="jpeg").json()
    with Image.open(io.BytesIO(base64.b64decode(answer["images"][0]["image_base64"]))) as image:
        assert (image.format, image.size) == ("JPEG", (64, 64))


def test_loading_a_loaded_name_again_is_409(house: House) -> None:
    house.load("a", ANN)
    again = house.load("a", ANN)
    assert again.status_code == 409
    assert again.json()["error"] == "AlreadyExists"


def test_loading_beyond_host_memory_is_507_and_works_after_an_unload(tmp_path: Path) -> None:
    half = 600 * 1024
    with House(tmp_path, FakeDrawer(host_bytes=half)) as house:
        assert house.load("a", ANN).status_code == 200
        full = house.load("b", BOB)
        assert (full.status_code, full.json()["error"]) == (507, "MemoryExhausted")
        assert house.client.delete("/models/a").status_code == 200
        assert house.load("b", BOB).status_code == 200


def test_names_are_opaque_and_may_hold_what_paths_separate(house: House) -> None:
    for name in ("0f3a9c", "tiny/owner/v1.tar.gz", "a b%ü"):
        assert house.load(name, ANN).status_code == 200
    assert house.client.get("/models/tiny%2Fowner%2Fv1.tar.gz").status_code == 200
    assert house.invoke("tiny/owner/v1.tar.gz", ANN).status_code == 200
    assert house.client.delete("/models/a%20b%25%C3%BC").status_code == 200


def test_the_list_comes_in_pages_that_hold_every_name_once(house: House) -> None:
    names = [f"m{i}" for i in range(7)]
    for name in reversed(names):
        house.load(name, ANN)
    found, token = [], None
    while True:
        page = house.client.get("/models", params={"next_page_token": token} if token else {})
        models = page.json()["models"]
        assert len(models) <= 3
        found += [model["modelName"] for model in models]
        token = page.json().get("nextPageToken")
        if token is None:
            break
    assert found == names


def test_a_page_token_of_somebody_else_is_400(house: House) -> None:
    for token in ("%%%", "ü", "A", "/w=="):
        answer = house.client.get("/models", params={"next_page_token": token})
        assert answer.status_code == 400


def test_what_is_not_loaded_is_404_at_every_door(house: House) -> None:
    house.ready()
    for answer in (
        house.client.get("/models/a"),
        house.client.delete("/models/a"),
        house.invoke("a", ANN),
    ):
        assert answer.status_code == 404
        assert set(answer.json()) == MEMBERS


def test_an_unloaded_model_is_404_and_its_slot_is_zeroed(house: House, drawer: FakeDrawer) -> None:
    house.load("a", ANN)
    house.invoke("a", ANN)
    assert any(drawer.bank)
    assert house.client.delete("/models/a").status_code == 200
    assert not any(drawer.bank)
    assert house.invoke("a", ANN).status_code == 404
    assert house.residency.all() == []


def test_unloading_waits_for_rows_in_flight_and_admits_nobody_new(
    house: House, drawer: FakeDrawer
) -> None:
    house.load("a", ANN)
    inside = threading.Event()
    drawer.gate.clear()
    drawer.fault = lambda call, _: inside.set() if call == "begin" else None
    drawn = house.invoke_later("a", ANN)
    assert inside.wait(20)
    gone = house.background.submit(house.client.delete, "/models/a")
    until(lambda: house.client.get("/models/a").status_code == 404)
    assert house.invoke("a", ANN).status_code == 404
    assert house.load("a", ANN).status_code == 409
    assert not gone.done()
    drawer.gate.set()
    assert drawn.result().status_code == 200
    assert gone.result().status_code == 200


def test_another_owners_model_is_404_as_if_it_were_not_there(house: House) -> None:
    house.load("a", ANN)
    foreign, absent = house.invoke("a", BOB), house.invoke("b", BOB)
    assert foreign.status_code == absent.status_code == 404
    assert foreign.text.replace("'a'", "'b'").replace('"a"', '"b"') == absent.text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", ""),
        ("prompt", "x" * 10_000),
        ("width", 63),
        ("height", 4096),
        ("count", 0),
        ("count", 9),
        ("denoising_steps", -1),
        ("denoising_steps", 201),
        ("guidance", 0),
        ("guidance", "5"),
        ("adapter_scale", -0.1),
        ("seed", -1),
        ("seed", 2**63),
        ("scheduler", "pndm"),
        ("format", "gif"),
        ("colour", "red"),
        ("schema", "atelier.generate/2"),
    ],
)
def test_a_wrong_field_is_400_with_its_name(house: House, field: str, value: object) -> None:
    house.load("a", ANN)
    answer = house.invoke("a", ANN, **{field: value})
    assert answer.status_code == 400
    assert set(answer.json()) == MEMBERS
    assert field in answer.text


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"a":1,"a":2}', b"[" * 1000])
def test_a_body_that_is_no_json_object_is_400(house: House, body: bytes) -> None:
    house.load("a", ANN)
    assert house.client.post("/models/a/invoke", content=body).status_code == 400
    assert house.client.post("/models", content=body).status_code == 400
    assert house.client.post("/invocations", content=body).status_code == 400


def test_a_body_above_a_mebibyte_is_413_announced_or_not(house: House) -> None:
    house.load("a", ANN)
    body = b" " * (1024 * 1024 + 1)
    assert house.client.post("/models/a/invoke", content=body).status_code == 413
    chunks = (body[i : i + 65_536] for i in range(0, len(body), 65_536))
    assert house.client.post("/models/a/invoke", content=chunks).status_code == 413


@pytest.mark.parametrize(
    "url", ["/dev", "/proc/self", "/sys", "/dev/../proc", "//proc/1", "/dev/x", "/dev/shm/../x"]
)
def test_kernel_folders_are_no_models(house: House, url: str) -> None:
    answer = house.ready().client.post("/models", json={"model_name": "a", "url": url})
    assert answer.status_code == 400
    assert answer.json()["facts"]["where"] == "url"


def test_a_link_into_a_kernel_folder_is_no_model(house: House, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/proc/self")
    given = {"model_name": "a", "url": str(tmp_path / "link")}
    assert house.ready().client.post("/models", json=given).status_code == 400


@pytest.mark.parametrize("url", [None, 7, "", "models/a", "/no/such/folder", "/a\0b"])
def test_a_url_that_is_no_folder_is_400(house: House, url: object) -> None:
    given = {"model_name": "a", "url": url}
    assert house.ready().client.post("/models", json=given).status_code == 400


@pytest.mark.parametrize("name", [None, 7, "", "a\nb", "x" * 2000])
def test_a_name_that_cannot_be_one_is_400(house: House, name: object) -> None:
    given = {"model_name": name, "url": str(house.folder)}
    assert house.ready().client.post("/models", json=given).status_code == 400


def test_the_platform_may_send_fields_that_we_do_not_know(house: House) -> None:
    url = folder_with(house.folder / "m", files_of(ANN))
    given = {"model_name": "a", "url": str(url), "gpu_id": 0}
    assert house.ready().client.post("/models", json=given).status_code == 200


def test_an_artifact_that_breaks_a_rule_is_400_and_its_name_is_free_again(house: House) -> None:
    refused = house.load("a", ANN, base="sd15")
    assert (refused.status_code, refused.json()["error"]) == (400, "AdapterRejected")
    url = folder_with(house.folder / "good", files_of(ANN))
    given = {"model_name": "a", "url": str(url)}
    assert house.client.post("/models", json=given).status_code == 200


def test_unknown_paths_and_methods_are_refused_in_our_json(house: House) -> None:
    assert house.client.get("/").status_code == 404
    assert house.client.get("/v2/health/ready").status_code == 404
    wrong = house.client.put("/models", json={})
    assert wrong.status_code == 405
    assert set(wrong.json()) == MEMBERS


def test_headers_of_the_platform_change_nothing(house: House) -> None:
    house.load("a", ANN)
    headers = {
        "X-Amzn-SageMaker-Target-Model": "tiny/o/m/v1.tar.gz",
        "X-Amzn-SageMaker-Custom-Attributes": "trace=1",
        "X-Amzn-SageMaker-New-Thing": "x",
    }
    answer = house.client.post("/models/a/invoke", json=request_of(ANN), headers=headers)
    assert answer.status_code == 200


def test_a_pipe_in_an_artifact_is_refused_and_nobody_waits_for_it(house: House) -> None:
    url = folder_with(house.folder / "m", files_of(ANN))
    (url / "adapter.safetensors").unlink()
    os.mkfifo(url / "adapter.safetensors")
    given = {"model_name": "a", "url": str(url)}
    answer = house.ready().client.post("/models", json=given)
    assert answer.status_code == 400
    assert answer.json()["facts"]["where"] == "adapter.safetensors"
