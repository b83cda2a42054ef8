"""The second door: artifacts of object storage by relative path and digest, under one prefix."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from atelier.contracts import ids
from atelier.contracts.checkpoints import ADAPTER_FILE
from atelier.contracts.errors import AdapterRejected, ContractBroken
from serving_image.drawer import Row
from serving_image.loading import Loading
from serving_image.residency import Door, Residency
from tests.serving.artifacts import ANN, BOB, archive_of, files_of
from tests.serving.fakes import FakeDrawer
from tests.serving.house import House

PATH = "tiny/o/default/v1-00000000.tar.gz"


def published(house: House, owner: str, path: str = PATH, body: bytes = b"") -> str:
    """Put an artifact; return its adapter file's digest."""
    files = files_of(owner, body)
    house.put(path, archive_of(files))
    return ids.digest_of(files[ADAPTER_FILE])


def test_an_artifact_is_fetched_once_and_served(house: House) -> None:
    digest = published(house, ANN)
    house.ready()
    first = house.invoke_artifact(PATH, digest, ANN)
    assert first.status_code == 200
    assert first.json()["adapter_digest"] == digest
    (house.objects / PATH).unlink()
    assert house.invoke_artifact(PATH, digest, ANN).json()["images"] == first.json()["images"]
    assert house.client.get("/models").json() == {"models": []}


def test_another_owner_is_404_also_when_it_is_in_memory(house: House) -> None:
    digest = published(house, ANN)
    house.ready()
    assert house.invoke_artifact(PATH, digest, BOB).status_code == 404
    assert house.invoke_artifact(PATH, digest, ANN).status_code == 200
    assert house.invoke_artifact(PATH, digest, BOB).status_code == 404


def test_an_artifact_with_another_adapter_file_is_400(house: House) -> None:
    published(house, ANN)
    house.ready()
    refused = house.invoke_artifact(PATH, "0" * 64, ANN)
    assert (refused.status_code, refused.json()["facts"]["where"]) == (400, "digest")


def test_a_known_digest_at_another_path_is_not_taken_on_trust(house: House) -> None:
    digest = published(house, ANN)
    house.ready()
    assert house.invoke_artifact(PATH, digest, ANN).status_code == 200
    assert house.invoke_artifact("tiny/o/other/v1.tar.gz", digest, ANN).status_code == 404


@pytest.mark.parametrize(
    "path",
    ["../secret", "/etc/passwd", "a//b", "s3://bucket/key", ".hidden", "", "a/./b", "a" * 900],
)
def test_a_path_that_is_not_below_the_prefix_is_400(house: House, path: str) -> None:
    house.ready()
    assert house.invoke_artifact(path, "0" * 64, ANN).status_code == 400


def test_a_missing_artifact_is_404_and_may_come_later(house: House) -> None:
    house.ready()
    digest = ids.digest_of(files_of(ANN)[ADAPTER_FILE])
    assert house.invoke_artifact(PATH, digest, ANN).status_code == 404
    published(house, ANN)
    assert house.invoke_artifact(PATH, digest, ANN).status_code == 200


def test_artifacts_that_nobody_uses_make_room_for_others(tmp_path: Path) -> None:
    with House(tmp_path, FakeDrawer(host_bytes=600 * 1024)) as house:
        house.ready()
        for number in range(3):
            path = f"tiny/o/m{number}/v1.tar.gz"
            digest = published(house, ANN, path, b"%d" % number)
            assert house.invoke_artifact(path, digest, ANN).status_code == 200
        assert [r.key.door for r in house.residency.all()] == [Door.ARTIFACT]


def test_many_who_ask_at_once_share_one_fetch(house: House, drawer: FakeDrawer) -> None:
    digest = published(house, ANN)
    house.ready()
    inside, go, calls = threading.Event(), threading.Event(), []

    def slow(call: str, _: Sequence[Row]) -> None:
        if call == "stage":
            calls.append(call)
            inside.set()
            assert go.wait(20)

    drawer.fault = slow
    later = [
        house.background.submit(house.invoke_artifact, PATH, digest, ANN, seed=i) for i in range(4)
    ]
    assert inside.wait(20)
    go.set()
    assert {answer.result().status_code for answer in later} == {200}
    assert calls == ["stage"]


def test_an_artifact_of_too_many_bytes_breaks_a_rule() -> None:
    class TooLarge:
        def read(self, key: str, *, max_bytes: int) -> bytes:
            raise ContractBroken(f"object {key} has more than {max_bytes:,} bytes")

    residency = Residency(slots=1, host_bytes=1000)
    loading = Loading(residency=residency, drawer=FakeDrawer, objects=TooLarge())
    with pytest.raises(AdapterRejected, match="more than"):
        asyncio.run(loading.load_artifact(PATH, "0" * 64))
    assert residency.all() == []


def test_a_server_without_object_storage_says_so(tmp_path: Path) -> None:
    with House(tmp_path, FakeDrawer(), stored=False) as house:
        refused = house.ready().invoke_artifact(PATH, "0" * 64, ANN)
    assert refused.status_code == 400
    assert "ATELIER_OBJECTS" in refused.json()["message"]
