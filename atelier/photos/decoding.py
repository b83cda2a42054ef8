"""From a stranger's bytes to pixels, under limits, or a reason why not.

The type is sniffed from the content, never taken from a name. The header is read and judged before
any pixel is decoded, so that a decompression bomb costs nothing.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image, ImageCms, ImageOps

from atelier.contracts.dataset import MAX_UPLOAD_BYTES
from atelier.photos.report import Reason

LONG_SIDE_PIXELS = 1024
"""Our re-encoding's long side, at most; training resolutions lie at or below it."""


@dataclass(frozen=True, slots=True)
class PhotoLimits:
    """What one photo may be.

    Attributes:
        most_bytes: of the file as uploaded.
        most_pixels: width times height as the header says; nothing larger is decoded.
        least_side_pixels: of the shorter side of our re-encoding.
    """

    most_bytes: int = MAX_UPLOAD_BYTES
    most_pixels: int = 80_000_000
    least_side_pixels: int = 32


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a photo is not used: the reason, and one sentence for people."""

    reason: Reason
    detail: str


def sniff(body: bytes) -> str | None:
    """Return Pillow's name of the type that the content has, or None for any other content."""
    if body.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if body.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if body[:4] == b"RIFF" and body[8:12] == b"WEBP":
        return "WEBP"
    return None


def decode(body: bytes, limits: PhotoLimits) -> Image.Image | Refusal:
    """Return the upright photo as RGB without metadata, long side at most 1024 px, or a refusal."""
    if len(body) > limits.most_bytes:
        return Refusal(
            Reason.TOO_LARGE, f"{len(body):,} bytes; at most {limits.most_bytes:,} are taken"
        )
    kind = sniff(body)
    if kind is None:
        return Refusal(Reason.NOT_AN_IMAGE, _other_content(body))
    try:
        with Image.open(io.BytesIO(body), formats=[kind]) as image:
            if refusal := _judge_size(image, limits):
                return refusal
            pixels = _upright_rgb(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return Refusal(Reason.TOO_LARGE, f"more than {limits.most_pixels:,} pixels")
    # Pillow raises almost anything on damaged input: OSError, SyntaxError, ValueError,
    # struct.error, zlib.error, IndexError, OverflowError.
    except Exception:  # noqa: BLE001 - the door to strangers' files
        return Refusal(Reason.TRUNCATED, f"the {kind} file is cut short or damaged")
    if min(pixels.size) < limits.least_side_pixels:
        return _too_small(pixels.size, limits)
    return pixels


def _judge_size(image: Image.Image, limits: PhotoLimits) -> Refusal | None:
    width, height = image.size
    if width * height > limits.most_pixels:
        return Refusal(
            Reason.TOO_LARGE,
            f"{width}×{height} pixels; at most {limits.most_pixels:,} are decoded",
        )
    if min(width, height) < limits.least_side_pixels:
        return _too_small(image.size, limits)
    return None


def _too_small(size: tuple[int, int], limits: PhotoLimits) -> Refusal:
    return Refusal(
        Reason.TOO_SMALL,
        f"{size[0]}×{size[1]} pixels; the shorter side needs at least {limits.least_side_pixels}",
    )


def _upright_rgb(image: Image.Image) -> Image.Image:
    # JPEG decodes at 1/2, 1/4 or 1/8 scale for next to nothing; never below what we keep.
    image.draft(None, (LONG_SIDE_PIXELS, LONG_SIDE_PIXELS))
    image.load()
    upright = ImageOps.exif_transpose(image)
    rgb = _to_rgb(upright)
    rgb.thumbnail((LONG_SIDE_PIXELS, LONG_SIDE_PIXELS), Image.Resampling.LANCZOS)
    # A new image from bare pixels: EXIF, XMP, ICC, comments and text have no way along.
    return Image.frombytes("RGB", rgb.size, rgb.tobytes())


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        # Pillow clips 16-bit grey when it converts; divide instead.
        image = image.point(lambda value: value * (1 / 256)).convert("L")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.new("RGBA", layer.size, "white")
        image.alpha_composite(layer)
        return image.convert("RGB")
    return _to_srgb(image) or image.convert("RGB")


def _to_srgb(image: Image.Image) -> Image.Image | None:
    """Return the image in sRGB if it carries a colour profile that reads, else None."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in {"RGB", "CMYK", "L"}:
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.profileToProfile(
            image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        # A broken profile says nothing about the colours; the pixels are still a photo.
        return None


_OTHER_KINDS = (
    (4, (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypheif"), "a HEIC photo"),
    (4, (b"ftypavif",), "an AVIF image"),
    (0, (b"GIF8",), "a GIF"),
    (0, (b"II*\x00", b"MM\x00*"), "a TIFF or raw photo"),
    (0, (b"%PDF",), "a PDF"),
    (0, (b"PK\x03\x04",), "a ZIP archive"),
)


def _other_content(body: bytes) -> str:
    for at, magics, name in _OTHER_KINDS:
        if body[at : at + 8].startswith(magics):
            return f"{name}; only JPEG, PNG and WebP are read"
    return "no image; only JPEG, PNG and WebP are read"
