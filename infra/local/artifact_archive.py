"""Unpack an artifact: the archive's own few names, regular files, bounded, or nothing at all.

    tar.gz of adapter.json, adapter.safetensors and perhaps adapter.slots

The tar is read block by block, so that links, devices, long-name and extended headers, paths and
decompression bombs are refused before anything is made of them.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from atelier.contracts.adapter import (
    ARCHIVE_MEMBERS,
    MAX_ADAPTER_BYTES,
    MAX_CARD_BYTES,
    SLOT_LAYOUT_FILE,
)
from atelier.contracts.checkpoints import ADAPTER_CARD, ADAPTER_FILE
from atelier.contracts.errors import AdapterRejected
from atelier.contracts.slot_layout import MAX_LAYOUT_HEADER_BYTES

MAX_MEMBER_BYTES = {
    ADAPTER_CARD: MAX_CARD_BYTES,
    ADAPTER_FILE: MAX_ADAPTER_BYTES,
    SLOT_LAYOUT_FILE: MAX_ADAPTER_BYTES + MAX_LAYOUT_HEADER_BYTES,
}
MAX_ARCHIVE_BYTES = sum(MAX_MEMBER_BYTES.values())
_CHUNK_BYTES = 1024 * 1024
_MAX_PADDING_BYTES = 64 * 1024


def unpack(body: bytes, into: Path) -> int:
    """Write an archive's members into an empty folder; return how many bytes they are.

    Raises:
        AdapterRejected: it is no such archive. The folder may hold some of its members then.
    """
    found: list[str] = []
    written = 0
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as stream:
            for member in _members(stream):
                if member.name in found:
                    raise _rejected(member.name, "twice", "once")
                found.append(member.name)
                _copy(stream, member, into / member.name)
                written += member.size
    except (OSError, EOFError, zlib.error, tarfile.TarError) as problem:
        raise _rejected("archive", str(problem), "a whole tar.gz") from problem
    missing = {ADAPTER_CARD, ADAPTER_FILE} - set(found)
    if missing:
        raise _rejected("archive", f"no {min(missing)}", " and ".join(ARCHIVE_MEMBERS[:2]))
    return written


def _members(stream: gzip.GzipFile) -> Iterator[tarfile.TarInfo]:
    """Yield checked headers; the caller reads each member's bytes before it asks for the next."""
    while True:
        block = _exactly(stream, tarfile.BLOCKSIZE)
        if not block.strip(b"\0"):
            break
        member = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        if member.name not in ARCHIVE_MEMBERS:
            raise _rejected("archive", member.name, " ".join(ARCHIVE_MEMBERS))
        if member.type not in {tarfile.REGTYPE, tarfile.AREGTYPE}:
            raise _rejected(member.name, f"entry of type {member.type!r}", "a regular file")
        if not 0 < member.size <= MAX_MEMBER_BYTES[member.name]:
            raise _rejected(
                member.name,
                f"{member.size:,} bytes",
                f"1 to {MAX_MEMBER_BYTES[member.name]:,} bytes",
            )
        yield member
    rest = stream.read(_MAX_PADDING_BYTES)
    if rest.strip(b"\0") or stream.read(1):
        raise _rejected("archive", "data after its end", "zeros")


def _copy(stream: gzip.GzipFile, member: tarfile.TarInfo, path: Path) -> None:
    with path.open("xb") as file:
        left = member.size
        while left:
            chunk = _exactly(stream, min(left, _CHUNK_BYTES))
            file.write(chunk)
            left -= len(chunk)
    padding = -member.size % tarfile.BLOCKSIZE
    if _exactly(stream, padding).strip(b"\0"):
        raise _rejected(member.name, "padding that is not zero", "zeros")


def _exactly(stream: gzip.GzipFile, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        more = stream.read(count - len(data))
        if not more:
            raise _rejected("archive", "an end too early", "a whole tar.gz")
        data += more
    return bytes(data)


def _rejected(where: str, found: str, allowed: str) -> AdapterRejected:
    return AdapterRejected(
        f"artifact: {where}: found {found[:120]}; allowed: {allowed}",
        where=where,
        found=found[:120],
        allowed=allowed,
    )
