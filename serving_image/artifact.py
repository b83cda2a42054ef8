"""Reading an artifact: the folder that the platform unpacked, or the archive from object storage.

Whoever wrote it, only the three names of `atelier.contracts.adapter` are opened, regular files
only, within their size limits, and the card's digests must hold. What the tensors are is checked
where they are staged (`Drawer.stage`).
"""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from atelier.contracts import ids
from atelier.contracts.adapter import (
    ARCHIVE_MEMBERS,
    MAX_ADAPTER_BYTES,
    MAX_CARD_BYTES,
    SLOT_LAYOUT_FILE,
    AdapterCard,
)
from atelier.contracts.checkpoints import ADAPTER_CARD, ADAPTER_FILE
from atelier.contracts.documents import DocumentError
from atelier.contracts.errors import AdapterRejected, InvalidRequest

FORBIDDEN_ROOTS = ("/dev", "/proc", "/sys")
MEMBER_BYTES: Mapping[str, int] = {
    ADAPTER_CARD: MAX_CARD_BYTES,
    ADAPTER_FILE: MAX_ADAPTER_BYTES,
    SLOT_LAYOUT_FILE: MAX_ADAPTER_BYTES,
}
MAX_ARCHIVE_BYTES = sum(MEMBER_BYTES.values()) + 64 * 1024
"""Of the archive, packed or unpacked: its members, and tar's own headers and padding."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """An adapter as published: its card, the adapter file, and the slot-layout file if it has one.

    The digests of the card hold; nothing else is known of the bytes yet.
    """

    card: AdapterCard
    adapter: bytes
    slot_layout: bytes | None


def read_url(url: object) -> Artifact:
    """Read an artifact from the folder that the platform names.

    Raises:
        InvalidRequest: as `check_url`.
        AdapterRejected: as `read_folder`.
    """
    return read_folder(check_url(url))


def check_url(url: object) -> Path:
    """Return the folder that the platform names, which must lie on the disk.

    Raises:
        InvalidRequest: no absolute path, none there, or below /dev, /proc or /sys.
    """
    if not isinstance(url, str) or not url.startswith("/") or "\0" in url or len(url) > 4096:
        raise _bad_url(str(url), "an absolute path")
    # The path as written and where its links lead: neither may be the kernel's.
    real = Path(url).resolve()
    for path in (Path(os.path.normpath(url)), real):
        if any(path.is_relative_to(root) for root in FORBIDDEN_ROOTS):
            raise _bad_url(url, f"not below {', '.join(FORBIDDEN_ROOTS)}")
    if not real.is_dir():
        raise _bad_url(url, "a folder that is there")
    return real


def read_folder(folder: Path) -> Artifact:
    """Read an artifact from the folder that the platform unpacked; other names stay unopened.

    Raises:
        AdapterRejected: a file is missing, no regular file, too large, or not what the card says.
    """
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _bind({name: _read_file(name, opened) for name in ARCHIVE_MEMBERS})
    finally:
        os.close(opened)


def read_archive(body: bytes) -> Artifact:
    """Read an artifact from its `.tar.gz`.

    Raises:
        AdapterRejected: no such archive, other names, links, undue size, or as `read_folder`.
    """
    members: dict[str, bytes | None] = dict.fromkeys(ARCHIVE_MEMBERS)
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as unpacked:
            bounded = _Bounded(unpacked)
            with tarfile.open(fileobj=bounded, mode="r|") as archive:
                for member in archive:
                    members[_check_member(member, members)] = _read_member(archive, member)
            # To the end, where gzip's checksum stands: tar stops before it.
            bounded.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error, ValueError) as problem:
        raise _rejected("the archive", str(problem)[:200], "a .tar.gz of an artifact") from problem
    return _bind(members)


class _Bounded(io.RawIOBase):
    """A stream that ends in an error after as many bytes as an archive may unpack to."""

    def __init__(self, source: gzip.GzipFile) -> None:
        self._source = source
        self._left = MAX_ARCHIVE_BYTES

    def read(self, size: int = -1) -> bytes:
        read = self._source.read(min(size, self._left + 1) if size >= 0 else self._left + 1)
        self._left -= len(read)
        if self._left < 0:
            raise _rejected("the archive", "more than that", f"{MAX_ARCHIVE_BYTES:,} bytes")
        return read


def _check_member(member: tarfile.TarInfo, members: Mapping[str, bytes | None]) -> str:
    if member.name not in members or members[member.name] is not None:
        raise _rejected("the archive", f"{member.name[:80]!r}", f"once {list(ARCHIVE_MEMBERS)}")
    if not member.isreg():
        raise _rejected(member.name, "a link or special file", "a regular file")
    if member.size > MEMBER_BYTES[member.name]:
        raise _too_large(member.name, member.size)
    return member.name


def _read_member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    assert stream is not None, "a regular member has a stream"  # noqa: S101 - invariant
    return stream.read()


def _read_file(name: str, folder: int) -> bytes | None:
    try:
        # O_NONBLOCK: opening a named pipe must not wait for its writer.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        opened = os.open(name, flags, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise _rejected(name, problem.strerror or "no access", "a regular file") from problem
    with os.fdopen(opened, "rb") as stream:
        found = os.fstat(stream.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise _rejected(name, "a link or special file", "a regular file")
        if found.st_size > MEMBER_BYTES[name]:
            raise _too_large(name, found.st_size)
        body = stream.read(found.st_size)
        if len(body) != found.st_size:
            raise _rejected(name, f"{len(body):,} bytes", f"{found.st_size:,}, its size")
        return body


def _bind(members: Mapping[str, bytes | None]) -> Artifact:
    card_text, adapter = members[ADAPTER_CARD], members[ADAPTER_FILE]
    slot_layout = members[SLOT_LAYOUT_FILE]
    if card_text is None or adapter is None:
        missing = ADAPTER_CARD if card_text is None else ADAPTER_FILE
        raise _rejected(missing, "no such file", "one in every artifact")
    try:
        card = AdapterCard.from_json(card_text, max_bytes=MAX_CARD_BYTES)
    except DocumentError as problem:
        raise _rejected(f"{ADAPTER_CARD} {problem.where}", problem.problem, "a card") from problem
    for name, body, digest in (
        (ADAPTER_FILE, adapter, card.file_digest),
        (SLOT_LAYOUT_FILE, slot_layout, card.slot_layout_digest),
    ):
        found = None if body is None else ids.digest_of(body)
        if found != digest:
            raise _rejected(name, f"digest {found}", f"{digest}, as its card says")
    if len(adapter) != card.file_bytes:
        raise _rejected(ADAPTER_FILE, f"{len(adapter):,} bytes", f"{card.file_bytes:,}")
    return Artifact(card, adapter, slot_layout)


def _bad_url(url: str, allowed: str) -> InvalidRequest:
    return InvalidRequest(
        f"url {url[:200]!r}: {allowed} is allowed", where="url", found=url[:200], allowed=allowed
    )


def _too_large(name: str, size: int) -> AdapterRejected:
    return _rejected(name, f"{size:,} bytes", f"at most {MEMBER_BYTES[name]:,}")


def _rejected(where: str, found: str, allowed: str) -> AdapterRejected:
    return AdapterRejected(
        f"artifact: {where}: found {found}; allowed: {allowed}",
        do="Publish the model again; the artifact was not loaded.",
        where=where,
        found=found,
        allowed=allowed,
    )
