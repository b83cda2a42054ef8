"""A person's photos: a folder of files, with `captions.json` beside them if there is one."""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app.cli.exits import CommandFailed, Exit
from app.cli.progress import counted
from atelier.contracts.dataset import MAX_CAPTION_CHARACTERS, MAX_UPLOAD_BYTES
from atelier.contracts.documents import DocumentError, parse_json
from atelier.contracts.ids import digest_of
from atelier.contracts.request import MAX_PHOTOS, MIN_PHOTOS
from atelier.photos.kinds import sniff

CAPTIONS: Final = "captions.json"
MAX_CAPTIONS: Final = 1024 * 1024
TYPES: Final[Mapping[str, str]] = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
}
OTHER_IMAGES: Final = frozenset(
    {".heic", ".heif", ".avif", ".gif", ".bmp", ".tif", ".tiff", ".jxl", ".jp2", ".jfif"}
    | {".svg", ".psd", ".dng", ".raw", ".cr2", ".cr3", ".nef", ".arw"}
)
"""Endings of images that the platform does not read."""
ENDINGS: Final[Mapping[str, str]] = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}
"""Pillow's name of each kind that is read → its ending."""
SNIFFED_BYTES: Final = 16
MOST_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo to upload.

    Attributes:
        name: as it is called in the upload set.
        content_type: its media type, from its first bytes, else from its name.
        body: the file.
        caption: what is on it; empty for the onboarding's own words.
    """

    name: str
    content_type: str
    body: bytes
    caption: str = ""

    def announcement(self) -> dict[str, Any]:
        """Return what the API is told before the photo is sent."""
        return {
            "name": self.name,
            "digest": digest_of(self.body),
            "bytes": len(self.body),
            "content_type": self.content_type,
            "caption": self.caption,
        }


def check_folder(folder: Path) -> None:
    """Refuse what is no folder.

    Raises:
        CommandFailed: it is a file, or is not there.
    """
    if not folder.is_dir():
        found = "is a file" if folder.exists() else "does not exist"
        raise CommandFailed(
            Exit.NOT_FOUND, f"{folder} {found}", do="Name the folder that holds the photos."
        )


def read_folder(folder: Path, *, told: Callable[[str], None] = lambda _: None) -> list[Photo]:
    """Read the photos of a folder, sorted by name; hidden files and folders are left out.

    Args:
        folder: where they lie.
        told: is told of images that are skipped because the platform does not read their kind.

    Raises:
        CommandFailed: no such folder, too few photos in it, too many, one too large, or captions
            that do not fit.
    """
    check_folder(folder)
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    images = image_files(folder)
    paths = [path for path in images if _is_photo(path)]
    if others := [path.name for path in images if path not in paths]:
        told(_skipped(others))
    if not paths:
        raise CommandFailed(
            Exit.REFUSED,
            f"{folder} holds {counted(len(files), 'file')}, none of them a photo",
            do=f"Photos end in {', '.join(TYPES)}; convert others first.",
        )
    if len(paths) < MIN_PHOTOS:
        raise CommandFailed(
            Exit.REFUSED,
            f"{folder} holds {counted(len(paths), 'photo')}; at least {MIN_PHOTOS} are needed",
            do="Add photos of the same subject.",
        )
    if len(paths) > MAX_PHOTOS:
        raise CommandFailed(
            Exit.REFUSED,
            f"{folder} holds {len(paths)} photos; at most {MAX_PHOTOS} are taken",
            do="About ten that show the subject well are enough.",
        )
    captions = read_captions(folder, paths)
    return [_photo(path, name, captions) for path, name in zip(paths, _names(paths), strict=True)]


def image_files(folder: Path) -> list[Path]:
    """Return the files of a folder whose names are those of images, sorted; not hidden ones.

    Raises:
        CommandFailed: no such folder.
    """
    check_folder(folder)
    images = OTHER_IMAGES | set(TYPES)
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and not path.name.startswith(".") and path.suffix.lower() in images
    )


def _kind(path: Path) -> str | None:
    """Return the ending of what a file holds, whatever its name says; None when it is no photo."""
    with path.open("rb") as file:
        kind = sniff(file.read(SNIFFED_BYTES))
    return ENDINGS[kind] if kind else None


def _is_photo(path: Path) -> bool:
    return path.suffix.lower() in TYPES or _kind(path) is not None


def _ending(path: Path) -> str:
    suffix = path.suffix.lower()
    return suffix if suffix in TYPES else _kind(path) or suffix


def _skipped(names: list[str]) -> str:
    if len(names) == 1:
        return f"{names[0]} is skipped: convert it to JPEG or PNG first"
    named, rest = names[:MOST_NAMED], len(names) - MOST_NAMED
    more = f" and {rest} more" if rest > 0 else ""
    return f"{', '.join(named)}{more} are skipped: convert them to JPEG or PNG first"


def _photo(path: Path, name: str, captions: Mapping[str, str]) -> Photo:
    size = path.stat().st_size
    if not 0 < size <= MAX_UPLOAD_BYTES:
        raise CommandFailed(
            Exit.REFUSED,
            f"{path} has {size:,} bytes; 1 to {MAX_UPLOAD_BYTES:,} are taken",
            do="Save it smaller, or remove it." if size else "Remove it.",
        )
    content_type = TYPES[_kind(path) or path.suffix.lower()]
    return Photo(name, content_type, path.read_bytes(), captions.get(path.name, ""))


def _names(paths: list[Path]) -> list[str]:
    """Return the photos' names in the upload set: plain ones stay, others become plain."""
    names: list[str] = []
    for path in paths:
        stem = re.sub(r"[^A-Za-z0-9._=-]+", "-", path.stem).strip("-._=")[:100] or "photo"
        ending = _ending(path)
        name, number = f"{stem}{ending}", 2
        while name in names:
            name, number = f"{stem}-{number}{ending}", number + 1
        names.append(name)
    return names


def read_captions(folder: Path, photos: Sequence[Path]) -> Mapping[str, str]:
    """Return file name → caption, from `captions.json` if the folder has one.

    Raises:
        CommandFailed: it does not read, names what is no photo, or a caption is no line.
    """
    return _captions(folder / CAPTIONS, {path.name for path in photos})


def _captions(path: Path, photos: set[str]) -> Mapping[str, str]:
    if not path.exists():
        return {}
    example = '{"01.jpg": "a photo of zorp creature on a chair"}'
    try:
        # Editors of Windows begin a file with a mark.
        captions = parse_json(path.read_bytes().removeprefix(BOM_UTF8), max_bytes=MAX_CAPTIONS)
    except DocumentError as problem:
        raise CommandFailed(
            Exit.REFUSED, f"{path} is no JSON: {problem.problem}", do=f"Write it as {example}."
        ) from problem
    if not isinstance(captions, dict) or not all(isinstance(c, str) for c in captions.values()):
        raise CommandFailed(
            Exit.REFUSED,
            f"{path} does not give each file name a caption",
            do=f"Write it as {example}.",
        )
    if unknown := sorted(set(captions) - photos):
        raise CommandFailed(
            Exit.REFUSED,
            f"{path} names {', '.join(unknown[:5])}, which the folder does not hold",
            do="Correct the names or remove them.",
        )
    for name, caption in captions.items():
        if len(caption) > MAX_CAPTION_CHARACTERS or not caption.isprintable():
            raise CommandFailed(
                Exit.REFUSED,
                f"{path}: the caption of {name} is no line of at most {MAX_CAPTION_CHARACTERS} "
                "printable characters",
                do="Shorten it, and write it as one line.",
            )
    return captions
