"""The second door: artifacts of object storage by relative path and digest, under one prefix."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from atelier.contracts import ids
from atelier.contracts.checkpoints import ADAPTER_FILE
from atelier.contracts.errors import ObjectMissing, ServiceUnavailable
from serving_image.drawer import Row
from serving_image.objects import FileReader, S3Reader, open_objects
from serving_image.refusals import BodyTooLarge
from serving_image.residency import Door
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


def test_a_server_without_object_storage_says_so(tmp_path: Path) -> None:
    with House(tmp_path, FakeDrawer(), stored=False) as house:
        refused = house.ready().invoke_artifact(PATH, "0" * 64, ANN)
    assert refused.status_code == 400
    assert "ATELIER_OBJECTS" in refused.json()["message"]


class FakeS3:
    """GetObject on a mapping; an exception in the place of a body is raised."""

    def __init__(self, **objects: bytes | Exception) -> None:
        self.objects = {f"artifacts/{key}": body for key, body in objects.items()}

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:
        assert Bucket == "bucket"
        found = self.objects.get(Key, told("NoSuchKey"))
        if isinstance(found, Exception):
            raise found
        return {"Body": io.BytesIO(found)}


def told(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code}}, "GetObject")


def test_s3_and_files_read_the_same(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"body")
    for reader in (
        FileReader(tmp_path),
        S3Reader("bucket", "artifacts/", client=FakeS3(a=b"body")),
    ):
        assert reader.read("a", max_bytes=4) == b"body"
        with pytest.raises(BodyTooLarge):
            reader.read("a", max_bytes=3)
        with pytest.raises(ObjectMissing):
            reader.read("b", max_bytes=4)
        with pytest.raises(ValueError, match="object key"):
            reader.read("../a", max_bytes=4)


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        (told("AccessDenied"), ObjectMissing),
        (told("SlowDown"), ServiceUnavailable),
        (EndpointConnectionError(endpoint_url="https://s3"), ServiceUnavailable),
    ],
)
def test_troubles_of_s3_are_told_in_our_errors(problem: Exception, kind: type[Exception]) -> None:
    reader = S3Reader("bucket", "artifacts/", client=FakeS3(a=problem))
    with pytest.raises(kind):
        reader.read("a", max_bytes=4)


def test_a_folder_in_the_place_of_an_object_is_missing(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    for key in ("a", "a/b/c"):
        with pytest.raises(ObjectMissing):
            FileReader(tmp_path).read(key, max_bytes=4)


@pytest.mark.parametrize("address", ["https://host/x", "file://host/x", "s3:///x", "/plain", ""])
def test_other_addresses_of_objects_are_refused(address: str) -> None:
    with pytest.raises(ValueError, match="is allowed"):
        open_objects(address)


def test_a_file_address_reads_below_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    folder.mkdir()
    (folder / "a").write_bytes(b"x")
    assert open_objects(folder.as_uri() + "/").read("a", max_bytes=1) == b"x"
