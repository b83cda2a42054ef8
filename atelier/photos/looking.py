"""Looking at one photo and at a set: verdicts beside our own re-encoding as PNG."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass

from PIL import Image

from atelier.contracts.ids import digest_of
from atelier.photos.decoding import PhotoLimits, Refusal, decode
from atelier.photos.report import PhotoVerdict, Reason, SetLimits, SetReport, set_report

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
class Looked:
    """A photo that was looked at: the verdict, and the re-encoding exactly when accepted."""

    verdict: PhotoVerdict
    encoded: EncodedPhoto | None = None


def look(name: str, body: bytes, limits: PhotoLimits) -> Looked:
    """Decode one photo under limits and re-encode it."""
    pixels = decode(body, limits)
    if isinstance(pixels, Refusal):
        return refused(name, pixels.reason, pixels.detail)
    png = _png(pixels)
    width, height = pixels.size
    return Looked(
        PhotoVerdict(name, width=width, height=height),
        EncodedPhoto(name, png, digest_of(png), width, height),
    )


def refused(name: str, reason: Reason, detail: str) -> Looked:
    """Return a photo that is not used."""
    return Looked(PhotoVerdict(name, reason, detail))


def judge_set(
    looked: Iterable[Looked], limits: SetLimits
) -> tuple[SetReport, tuple[EncodedPhoto, ...]]:
    """Return the report on a set and the re-encodings that it accepts, in the set's order.

    A photo that repeats the pixels of an earlier one is refused and names it.
    """
    first_of: dict[str, str] = {}
    verdicts, accepted = [], []
    for photo in looked:
        verdict, encoded = photo.verdict, photo.encoded
        if encoded is not None:
            earlier = first_of.setdefault(encoded.digest, encoded.name)
            if earlier != encoded.name:
                detail = f"shows exactly what {earlier} shows"
                verdict = PhotoVerdict(encoded.name, Reason.DUPLICATE, detail, same_as=earlier)
            else:
                accepted.append(encoded)
        verdicts.append(verdict)
    return set_report(verdicts, limits), tuple(accepted)


def _png(pixels: Image.Image) -> bytes:
    out = io.BytesIO()
    pixels.save(out, "PNG", compress_level=PNG_COMPRESSION)
    return out.getvalue()
