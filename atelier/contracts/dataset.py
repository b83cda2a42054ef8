"""The two documents about photos: the one that closes an upload set, and our re-encoding's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from atelier.contracts import ids, keys
from atelier.contracts.consent import Consent
from atelier.contracts.documents import Document

MAX_UPLOAD_BYTES = 20 * 1024 * 1024
MAX_COMPLETE_BYTES = 1024 * 1024
"""Of `_complete.json`."""
MAX_CAPTION_CHARACTERS = 1000
UPLOAD_TYPES = ("image/jpeg", "image/png", "image/webp")


@dataclass(frozen=True, slots=True)
class UploadedPhoto:
    """One photo of an upload set: its file name in the set, digest, and optional caption."""

    name: str
    digest: str
    bytes: int
    caption: str = ""

    def __post_init__(self) -> None:
        """Check name, digest and size."""
        keys.check_key(self.name)
        if "/" in self.name or self.name.startswith("_"):
            raise ValueError(
                f"photo name {self.name!r} must be a plain file name without leading _"
            )
        _check_photo(self.digest, self.caption)
        if not 0 < self.bytes <= MAX_UPLOAD_BYTES:
            raise ValueError(
                f"{self.name}: {self.bytes:,} bytes; 1 to {MAX_UPLOAD_BYTES:,} allowed"
            )


@dataclass(frozen=True, slots=True)
class UploadComplete(Document):
    """`_complete.json`: written last, it closes an upload set and names what is in it.

    Attributes:
        photos: what is in the set.
        consent: who allowed its use.
        onboarding: an onboarding to start from the set at once, as its input without `photos` and
            `consent`; None to start none. Whoever reads it checks it (`atelier.contracts.request`).
    """

    SCHEMA = "atelier.upload-complete"
    VERSION = 2
    NEW_FIELDS = MappingProxyType({2: frozenset({"onboarding"})})

    photos: tuple[UploadedPhoto, ...]
    consent: Consent
    onboarding: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        """Check that names are unique."""
        names = [photo.name for photo in self.photos]
        if len(set(names)) != len(names):
            raise ValueError("a photo name stands twice in the set")


@dataclass(frozen=True, slots=True)
class DatasetPhoto:
    """One re-encoded photo: key, digest, pixels, caption ("" stands for the instance prompt)."""

    key: str
    digest: str
    width: int
    height: int
    source: str
    caption: str = ""

    def __post_init__(self) -> None:
        """Check key, digest and size."""
        keys.check_key(self.key)
        _check_photo(self.digest, self.caption)
        if self.width < 1 or self.height < 1:
            raise ValueError(f"{self.key}: {self.width}×{self.height} pixels")


@dataclass(frozen=True, slots=True)
class Dataset(Document):
    """What containers read: our own re-encoding of an upload set, with the consent beside it."""

    SCHEMA = "atelier.dataset"

    dataset: str
    owner: str
    photos: tuple[DatasetPhoto, ...]
    consent: Consent


def dataset_id(owner: str, photos: list[tuple[str, str]]) -> str:
    """Return the id of a set of (digest, caption): the same photos are the same dataset."""
    return ids.message_id("dataset", owner, *(f"{d} {c}" for d, c in sorted(photos)))


def _check_photo(digest: str, caption: str) -> None:
    if not ids.DIGEST_PATTERN.fullmatch(digest):
        raise ValueError(f"digest {digest[:80]!r} is no SHA-256 in hex")
    if len(caption) > MAX_CAPTION_CHARACTERS or not (caption == "" or caption.isprintable()):
        raise ValueError(f"a caption is at most {MAX_CAPTION_CHARACTERS} printable characters")
