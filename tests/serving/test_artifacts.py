"""Artifacts of any origin: read exactly as published, or refused with the reason."""

from __future__ import annotations

import gzip
import io
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atelier.contracts import ids
from atelier.contracts.adapter import MAX_CARD_BYTES, SLOT_LAYOUT_FILE
from atelier.contracts.archive import MAX_ARCHIVE_BYTES
from atelier.contracts.checkpoints import ADAPTER_CARD, ADAPTER_FILE
from atelier.contracts.errors import AdapterRejected
from serving_image.artifact import read_archive, read_folder, read_url
from tests.serving.artifacts import ANN, archive_of, files_of, folder_with

SLOTS = b"slots"
LAID = {"slot_layout_digest": ids.digest_of(SLOTS)}


def test_a_folder_and_an_archive_of_the_same_files_are_the_same_artifact(tmp_path: Path) -> None:
    files = {**files_of(ANN, **LAID), SLOT_LAYOUT_FILE: SLOTS}
    from_folder = read_folder(folder_with(tmp_path / "a", files))
    assert from_folder == read_archive(archive_of(files))
    assert (from_folder.card.owner, from_folder.slot_layout) == (ANN, SLOTS)


@pytest.mark.parametrize("memory", ["/dev/shm"] if Path("/dev/shm").is_dir() else [])
def test_a_folder_in_shared_memory_is_read_as_on_a_disk(memory: str) -> None:
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        laid = folder_with(Path(folder) / "a", files_of(ANN))
        assert read_url(str(laid)) == read_archive(archive_of(files_of(ANN)))


def test_other_files_in_a_folder_stay_unopened(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "a", {**files_of(ANN), "model.pkl": b"never read"})
    assert read_folder(folder) == read_archive(archive_of(files_of(ANN)))


@pytest.mark.parametrize("name", [ADAPTER_CARD, ADAPTER_FILE])
def test_a_link_in_the_place_of_a_file_is_refused(tmp_path: Path, name: str) -> None:
    folder = folder_with(tmp_path / "a", files_of(ANN))
    (folder / name).rename(tmp_path / "outside")
    (folder / name).symlink_to(tmp_path / "outside")
    with pytest.raises(AdapterRejected):
        read_folder(folder)
    kept = {n: b for n, b in files_of(ANN).items() if n != name}
    archive = archive_of(kept, links={name: "/etc/hostname"})
    with pytest.raises(AdapterRejected, match="link"):
        read_archive(archive)


WRONG = {
    "no card": {ADAPTER_FILE: b"x"},
    "no adapter file": {ADAPTER_CARD: files_of(ANN)[ADAPTER_CARD]},
    "another adapter file than the card's": {**files_of(ANN), ADAPTER_FILE: b"other"},
    "another size than the card's": files_of(ANN, file_bytes=7),
    "a slot layout that the card does not know": {**files_of(ANN), SLOT_LAYOUT_FILE: SLOTS},
    "a card that knows a slot layout which is not there": files_of(ANN, **LAID),
    "a card that is no JSON": {**files_of(ANN), ADAPTER_CARD: b"{"},
    "a card of another kind": {**files_of(ANN), ADAPTER_CARD: b'{"schema":"atelier.other/1"}'},
    "a card beyond its size": {**files_of(ANN), ADAPTER_CARD: b" " * (MAX_CARD_BYTES + 1)},
}


@pytest.mark.parametrize("files", WRONG.values(), ids=WRONG.keys())
def test_a_broken_artifact_is_refused_from_folder_and_archive(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    with pytest.raises(AdapterRejected) as of_folder:
        read_folder(folder_with(tmp_path / "a", files))
    with pytest.raises(AdapterRejected) as of_archive:
        read_archive(archive_of(files))
    assert of_folder.value.facts == of_archive.value.facts
    assert set(of_folder.value.facts) == {"where", "found", "allowed"}


@pytest.mark.parametrize("name", ["../adapter.json", "/etc/passwd", "model.pkl", "a/adapter.json"])
def test_an_archive_with_any_other_name_is_refused(name: str) -> None:
    with pytest.raises(AdapterRejected):
        read_archive(archive_of({**files_of(ANN), name: b"x"}))


def test_an_archive_that_names_a_file_twice_is_refused() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for body in files_of(ANN).values():
            member = tarfile.TarInfo(ADAPTER_CARD)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    with pytest.raises(AdapterRejected):
        read_archive(out.getvalue())


def test_an_archive_that_unpacks_to_more_than_any_artifact_is_refused_early() -> None:
    head = tarfile.TarInfo("x" * 50)
    head.type, head.size = tarfile.XHDTYPE, MAX_ARCHIVE_BYTES * 2
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1) as packed:
        packed.write(head.tobuf())
        for _ in range(8):
            packed.write(bytes(1024 * 1024))
    with pytest.raises(AdapterRejected):
        read_archive(out.getvalue())


@given(st.binary(max_size=400))
def test_bytes_that_are_no_archive_are_refused_whatever_they_are(body: bytes) -> None:
    with pytest.raises(AdapterRejected):
        read_archive(body)


@given(st.data())
def test_a_damaged_archive_is_refused_or_reads_as_published(data: st.DataObject) -> None:
    body = bytearray(archive_of(files_of(ANN)))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] ^= data.draw(st.integers(1, 255))
    try:
        found = read_archive(bytes(body))
    except AdapterRejected:
        return
    assert found == read_archive(archive_of(files_of(ANN)))
