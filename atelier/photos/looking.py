"""Looking at one photo and at a set: verdicts beside our own re-encoding as PNG."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from PIL import Image

from atelier.contracts.ids import digest_of
from atelier.photos.decoding import PhotoLimits, Refusal, decode, whole_pixels
from atelier.photos.judging import THRESHOLDS, Thresholds, judge
from atelier.photos.likeness import Likeness, difference, likeness
from atelier.photos.measures import measure
from atelier.photos.report import (
    Note,
    PhotoVerdict,
    Reason,
    SetLimits,
    SetReport,
    set_report,
)

RULES_VERSION = 1
"""Rises when the same photo may get another verdict or other bytes: kept reports are made anew."""
PNG_COMPRESSION = 3
"""zlib level: photos gain little beyond it, and levels above cost most of the time."""


@dataclass(frozen=True, slots=True)
class EncodedPhoto:
    """Our re-encoding of one accepted photo: the same photo is the same bytes, always.

    Attributes:
        name: of the photo in its upload set.
        body: an RGB PNG without metadata, long side at most 1024 px.
        digest: SHA-256 of `body`.
        width, height: pixels.
    """

    name: str
    body: bytes
    digest: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What decides which of two photos of the same is kept.

    Attributes:
        likeness: what it looks like from far away.
        pixels: of our re-encoding.
        blur: as measured; 0 where nothing could be measured.
        source_bytes: of the file as uploaded.
    """

    likeness: Likeness
    pixels: int
    blur: float
    source_bytes: int


@dataclass(frozen=True, slots=True)
class Looked:
    """A photo that was looked at: the verdict, and the rest exactly when accepted."""

    verdict: PhotoVerdict
    encoded: EncodedPhoto | None = None
    seen: Seen | None = None


def look(
    name: str, body: bytes, limits: PhotoLimits, thresholds: Thresholds = THRESHOLDS
) -> Looked:
    """Decode one photo under limits, judge it, and re-encode it."""
    decoded = decode(body, limits)
    if isinstance(decoded, Refusal):
        return refused(name, decoded.reason, decoded.detail)
    pixels = decoded.pixels
    found = measure(pixels)
    notes = judge(found, thresholds)
    if isinstance(notes, Refusal):
        return refused(name, notes.reason, notes.detail)
    side = min(decoded.source_width, decoded.source_height)
    if side < limits.fine_side_pixels:
        size = f"{decoded.source_width}×{decoded.source_height}"
        small = f"small: {size} pixels; the model draws {limits.fine_side_pixels}"
        notes = {Note.SMALL: small, **notes}
    png = _png(pixels)
    width, height = pixels.size
    digest = digest_of(png)
    return Looked(
        PhotoVerdict(name, width=width, height=height, digest=digest, notes=notes),
        EncodedPhoto(name, png, digest, width, height),
        Seen(likeness(pixels), width * height, found.blur or 0.0, len(body)),
    )


@dataclass(slots=True)
class SetLook:
    """Looks at the photos of one set, one after the other, within what a set may cost."""

    photo: PhotoLimits
    whole: SetLimits
    _pixels: int = 0

    def look(self, name: str, body: bytes) -> Looked:
        """Look at the next photo, unless it and those before it are too much together."""
        self._pixels += whole_pixels(body, self.photo)
        most = self.whole.most_whole_pixels
        if self._pixels > most:
            detail = (
                f"with this one the set has more than {most:,} pixels as PNG, WebP or progressive "
                "JPEG; save it smaller, or as baseline JPEG"
            )
            return refused(name, Reason.TOO_LARGE, detail)
        return look(name, body, self.photo)


def encode(name: str, body: bytes, limits: PhotoLimits) -> EncodedPhoto | None:
    """Re-encode a photo that was accepted before; None if its bytes no longer decode."""
    decoded = decode(body, limits)
    if isinstance(decoded, Refusal):
        return None
    png = _png(decoded.pixels)
    return EncodedPhoto(name, png, digest_of(png), *decoded.pixels.size)


def refused(name: str, reason: Reason, detail: str) -> Looked:
    """Return a photo that is not used."""
    return Looked(PhotoVerdict(name, reason, detail))


def judge_set(
    looked: Iterable[Looked], limits: SetLimits, thresholds: Thresholds = THRESHOLDS
) -> tuple[SetReport, tuple[EncodedPhoto, ...]]:
    """Return the report on a set and the re-encodings that it accepts, in the set's order.

    Of photos that show the same the best is kept: the largest, then the sharpest, then the least
    compressed; the others are refused and name it. Names and order decide between equals alone.
    """
    photos = list(looked)
    kept: list[int] = []
    verdicts = [photo.verdict for photo in photos]
    for index in _best_first(photos):
        for better in kept:
            if repeated := _repeats(photos[index], photos[better], thresholds):
                verdicts[index] = repeated
                break
        else:
            kept.append(index)
    kept.sort()
    views = [seen.likeness for index in kept if (seen := photos[index].seen) is not None]
    report = set_report(verdicts, limits, few_views=_few_views(views, thresholds))
    encoded = (photos[index].encoded for index in kept)
    return report, tuple(photo for photo in encoded if photo is not None)


def without_bodies(looked: Iterable[Looked]) -> Iterable[Looked]:
    """Yield what was looked at without the re-encodings' bytes, for a report alone."""
    for photo in looked:
        if photo.encoded is None:
            yield photo
        else:
            yield replace(photo, encoded=replace(photo.encoded, body=b""))


def _best_first(photos: Sequence[Looked]) -> list[int]:
    def rank(index: int) -> tuple[int, float, int, str, int]:
        photo = photos[index]
        seen = photo.seen
        assert seen is not None  # noqa: S101 - what is accepted was seen
        # A quarter of a pixel is within what another encoding does to the measure.
        blur = round(4 * seen.blur)
        return -seen.pixels, blur, -seen.source_bytes, photo.verdict.digest, index

    return sorted((i for i, photo in enumerate(photos) if photo.seen is not None), key=rank)


def _repeats(photo: Looked, better: Looked, thresholds: Thresholds) -> PhotoVerdict | None:
    name, other = photo.verdict.name, better.verdict.name
    if photo.verdict.digest == better.verdict.digest:
        detail = f"shows exactly what {other} shows"
        return PhotoVerdict(name, Reason.DUPLICATE, detail, same_as=other)
    assert photo.seen is not None  # noqa: S101 - what is accepted was seen
    assert better.seen is not None  # noqa: S101 - likewise
    found = difference(photo.seen.likeness, better.seen.likeness)
    if found is None or not thresholds.same(found):
        return None
    mirrored = ", mirrored" if found.mirrored else ""
    detail = f"shows what {other} shows{mirrored}; the better one is kept"
    return PhotoVerdict(name, Reason.DUPLICATE, detail, same_as=other)


def _few_views(views: Sequence[Likeness], thresholds: Thresholds) -> bool:
    """Return whether more than half of the photos have one beside them that is much alike."""
    alike = sum(
        any(
            thresholds.alike(difference(view, other))
            for place, other in enumerate(views)
            if place != index
        )
        for index, view in enumerate(views)
    )
    return 2 * alike > len(views)


def _png(pixels: Image.Image) -> bytes:
    out = io.BytesIO()
    pixels.save(out, "PNG", compress_level=PNG_COMPRESSION)
    return out.getvalue()
