"""Hostile and broken artifacts: nothing but our few regular files is ever made of them."""

import contextlib
import gzip
import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atelier.contracts.errors import AdapterRejected
from infra.local.model_disk import unpack
from tests.local.endpoint_bench import archive

GOOD = {"adapter.json": b"{}", "adapter.safetensors": b"w" * 600}


def test_an_artifact_unpacks_to_its_files(tmp_path: Path):
    assert unpack(archive({**GOOD, "adapter.slots": b"s"}), tmp_path) == 603
    assert (tmp_path / "adapter.safetensors").read_bytes() == b"w" * 600
    assert (tmp_path / "adapter.slots").read_bytes() == b"s"


def pax() -> bytes:
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("adapter.json")
        member.pax_headers = {"path": "../../etc/passwd"}
        tar.addfile(member, io.BytesIO())
    return body.getvalue()


def announced(size: int) -> bytes:
    member = tarfile.TarInfo("adapter.json")
    member.size = size
    return gzip.compress(member.tobuf(tarfile.USTAR_FORMAT) + b"\0" * 2048)


BAD = {
    "nothing": b"",
    "no gzip": b"PK\x03\x04 zip",
    "empty archive": archive({}),
    "no card": archive({"adapter.safetensors": b"w"}),
    "no weights": archive({"adapter.json": b"{}"}),
    "traversal": archive({**GOOD, "../escaped": b"x"}),
    "absolute path": archive({**GOOD, "/tmp/escaped": b"x"}),
    "below a folder": archive({"model/adapter.json": b"{}"}),
    "another file": archive({**GOOD, "weights.pkl": b"x"}),
    "a link": archive({"adapter.json": b""}, kind=tarfile.SYMTYPE),
    "a hard link": archive({"adapter.json": b""}, kind=tarfile.LNKTYPE),
    "a device": archive({"adapter.json": b""}, kind=tarfile.CHRTYPE),
    "a folder": archive({"adapter.json": b""}, kind=tarfile.DIRTYPE),
    "extended header": pax(),
    "empty file": archive({**GOOD, "adapter.slots": b""}),
    "huge card": archive({**GOOD, "adapter.json": b"x" * 70_000}),
    "huge announcement": announced(8**11 - 1),
    "cut short": archive(GOOD)[:-20],
    "truncated file": announced(5000),
    "data behind the end": gzip.compress(gzip.decompress(archive(GOOD)) + b"more"),
    "endless zeros": gzip.compress(gzip.decompress(archive(GOOD)) + b"\0" * 10_000_000),
}


@pytest.mark.parametrize("case", BAD)
def test_whatever_is_no_artifact_is_rejected(case: str, tmp_path: Path):
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(AdapterRejected):
        unpack(BAD[case], inside)
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]


def test_the_same_file_twice_is_rejected(tmp_path: Path):
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w:gz") as tar:
        for _ in range(2):
            member = tarfile.TarInfo("adapter.json")
            member.size = 2
            tar.addfile(member, io.BytesIO(b"{}"))
    with pytest.raises(AdapterRejected, match="twice"):
        unpack(body.getvalue(), tmp_path)


@given(st.binary(max_size=3000), st.integers(0, 2000))
def test_damaged_bytes_are_rejected_or_make_only_our_files(tmp_path_factory, damage, place):
    folder = tmp_path_factory.mktemp("unpacked")
    plain = bytearray(gzip.decompress(archive(GOOD)))
    plain[place : place + len(damage)] = damage
    with contextlib.suppress(AdapterRejected):
        unpack(gzip.compress(bytes(plain), compresslevel=1), folder)
    assert {path.name for path in folder.iterdir()} <= {*GOOD, "adapter.slots"}
