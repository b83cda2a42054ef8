"""Reading an artifact: the folder that the platform unpacked, or the archive from object storage.

Whoever wrote it, only the three names of `atelier.contracts.adapter` are opened, regular files
only, within their size limits, and the card's digests must hold. What the tensors are is checked
where they are staged (`Drawer.stage`).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from atelier.contracts import archive, ids
from atelier.contracts.adapter import (
    ARCHIVE_MEMBERS,
    MAX_CARD_BYTES,
    MAX_MEMBER_BYTES,
    SLOT_LAYOUT_FILE,
    AdapterCard,
)
from atelier.contracts.archive import rejected, too_large
from atelier.contracts.checkpoints import ADAPTER_CARD, ADAPTER_FILE
from atelier.contracts.documents import DocumentError
from atelier.contracts.errors import InvalidRequest

FORBIDDEN_ROOTS = ("/dev", "/proc", "/sys")
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - allowed, not used
"""Files in memory are files: a platform's home may lie there."""


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
        kernels = any(path.is_relative_to(root) for root in FORBIDDEN_ROOTS)
        if kernels and not path.is_relative_to(SHARED_MEMORY):
            raise _bad_url(url, f"not below {', '.join(FORBIDDEN_ROOTS)}")
    try:
        there = real.is_dir()
    except OSError as problem:  # A name too long for any disk.
        raise _bad_url(url, "a folder that is there") from problem
    if not there:
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
    for member in archive.read(body):
        members[member.name] = b"".join(member.chunks)
    return _bind(members)


def _read_file(name: str, folder: int) -> bytes | None:
    try:
        # O_NONBLOCK: opening a named pipe must not wait for its writer.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        opened = os.open(name, flags, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise rejected(name, problem.strerror or "no access", "a regular file") from problem
    with os.fdopen(opened, "rb") as stream:
        found = os.fstat(stream.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise rejected(name, "a link or special file", "a regular file")
        if found.st_size > MAX_MEMBER_BYTES[name]:
            raise too_large(name, found.st_size)
        body = stream.read(found.st_size)
        if len(body) != found.st_size:
            raise rejected(name, f"{len(body):,} bytes", f"{found.st_size:,}, its size")
        return body


def _bind(members: Mapping[str, bytes | None]) -> Artifact:
    card_text, adapter = members[ADAPTER_CARD], members[ADAPTER_FILE]
    slot_layout = members[SLOT_LAYOUT_FILE]
    if card_text is None or adapter is None:
        missing = ADAPTER_CARD if card_text is None else ADAPTER_FILE
        raise rejected(missing, "no such file", "one in every artifact")
    try:
        card = AdapterCard.from_json(card_text, max_bytes=MAX_CARD_BYTES)
    except DocumentError as problem:
        raise rejected(f"{ADAPTER_CARD} {problem.where}", problem.problem, "a card") from problem
    for name, body, digest in (
        (ADAPTER_FILE, adapter, card.file_digest),
        (SLOT_LAYOUT_FILE, slot_layout, card.slot_layout_digest),
    ):
        found = None if body is None else ids.digest_of(body)
        if found != digest:
            raise rejected(name, f"digest {found}", f"{digest}, as its card says")
    if len(adapter) != card.file_bytes:
        raise rejected(ADAPTER_FILE, f"{len(adapter):,} bytes", f"{card.file_bytes:,}")
    return Artifact(card, adapter, slot_layout)


def _bad_url(url: str, allowed: str) -> InvalidRequest:
    return InvalidRequest(
        f"url {url[:200]!r}: {allowed} is allowed", where="url", found=url[:200], allowed=allowed
    )
