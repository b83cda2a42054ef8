"""The artifact's archive: a tar.gz of its own few names, written to equal bytes, read strictly.

    adapter.json, adapter.safetensors, perhaps adapter.slots: regular files, once each, bounded

The tar is read block by block, so that links, devices, long-name and extended headers, paths and
decompression bombs are refused before anything is made of them.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, cast

from atelier.contracts.adapter import ARCHIVE_MEMBERS, MAX_MEMBER_BYTES
from atelier.contracts.checkpoints import ADAPTER_CARD, ADAPTER_FILE
from atelier.contracts.errors import AdapterRejected

MAX_ARCHIVE_BYTES = sum(MAX_MEMBER_BYTES.values()) + 64 * 1024
"""Of the packed file; gzip adds little to what it cannot compress."""
COMPRESSION = 1
"""gzip level: weights hardly compress, and the endpoint has 60 s from nothing to an image."""
_CHUNK_BYTES = 1024 * 1024
_MAX_PADDING_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive: its name, its size, and its body in pieces, read once."""

    name: str
    size: int
    chunks: Iterator[bytes]


def pack(members: Mapping[str, bytes]) -> bytes:
    """Return the archive of an artifact's members, in the contract's order.

    Raises:
        ValueError: a member that artifacts do not hold.
    """
    if unknown := set(members) - set(ARCHIVE_MEMBERS):
        raise ValueError(f"an artifact holds {ARCHIVE_MEMBERS}, not {sorted(unknown)}")
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in ARCHIVE_MEMBERS:
            if name in members:
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(members[name]), 0o644
                tar.addfile(entry, io.BytesIO(members[name]))
    return gzip.compress(plain.getvalue(), COMPRESSION, mtime=0)


def read(body: bytes) -> Iterator[Member]:
    """Yield an archive's members, each before the next; what is left of a body is passed over.

    Raises:
        AdapterRejected: it is no such archive. Members may have been given by then.
    """
    found: set[str] = set()
    with gzip.GzipFile(fileobj=io.BytesIO(body)) as unzipped:
        stream = cast("BinaryIO", unzipped)
        while (header := _next_header(stream)) is not None:
            if header.name in found:
                raise rejected(header.name, "the same name twice", "once in an artifact")
            found.add(header.name)
            chunks = _chunks(stream, header)
            yield Member(header.name, header.size, chunks)
            for _ in chunks:
                pass
        _check_end(stream)
    for name in (ADAPTER_CARD, ADAPTER_FILE):
        if name not in found:
            raise rejected(name, "no such file", "one in every artifact")


def rejected(where: str, found: str, allowed: str) -> AdapterRejected:
    """Return the error of an artifact that is not as it must be."""
    return AdapterRejected(
        f"artifact: {where}: found {found[:200]}; allowed: {allowed}",
        do="Publish the model again; the artifact was not loaded.",
        where=where,
        found=found[:200],
        allowed=allowed,
    )


def too_large(name: str, size: int) -> AdapterRejected:
    """Return the error of a member beyond its size."""
    return rejected(name, f"{size:,} bytes", f"at most {MAX_MEMBER_BYTES[name]:,}")


def _next_header(stream: BinaryIO) -> tarfile.TarInfo | None:
    """Return the next member's checked header, or None at the end."""
    block = _exactly(stream, tarfile.BLOCKSIZE)
    if not block.strip(b"\0"):
        return None
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.TarError, ValueError) as problem:
        raise rejected("the archive", str(problem), "a .tar.gz of an artifact") from problem
    if header.name not in ARCHIVE_MEMBERS:
        raise rejected("the archive", repr(header.name), f"once {list(ARCHIVE_MEMBERS)}")
    if header.type not in {tarfile.REGTYPE, tarfile.AREGTYPE}:
        raise rejected(header.name, "a link or special file", "a regular file")
    if header.size > MAX_MEMBER_BYTES[header.name]:
        raise too_large(header.name, header.size)
    if header.size < 1:
        raise rejected(header.name, f"{header.size} bytes", "at least 1")
    return header


def _chunks(stream: BinaryIO, header: tarfile.TarInfo) -> Iterator[bytes]:
    left = header.size
    while left:
        chunk = _exactly(stream, min(left, _CHUNK_BYTES))
        left -= len(chunk)
        yield chunk
    if _exactly(stream, -header.size % tarfile.BLOCKSIZE).strip(b"\0"):
        raise rejected(header.name, "padding that is not zero", "zeros")


def _check_end(stream: BinaryIO) -> None:
    # To the very end, where gzip's checksum stands.
    if _read(stream, _MAX_PADDING_BYTES).strip(b"\0") or _read(stream, 1):
        raise rejected("the archive", "data after its end", "zeros")


def _exactly(stream: BinaryIO, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        more = _read(stream, count - len(data))
        if not more:
            raise rejected("the archive", "an end too early", "a whole .tar.gz")
        data += more
    return bytes(data)


def _read(stream: BinaryIO, count: int) -> bytes:
    try:
        return stream.read(count)
    except (OSError, EOFError, zlib.error) as problem:
        raise rejected("the archive", str(problem), "a whole .tar.gz") from problem
