"""From a stranger's bytes to pixels, under limits, or a reason why not.

The type is sniffed from the content, never taken from a name. The header is read and judged before
any pixel is decoded, so that a decompression bomb costs nothing; what passes costs memory in
proportion to its pixels, and the limits say how many those may be.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

from PIL import Image, ImageCms, ImageOps

from atelier.contracts.dataset import MAX_UPLOAD_BYTES
from atelier.photos.kinds import other_content, sniff
from atelier.photos.report import Reason

LONG_SIDE_PIXELS = 1024
"""Our re-encoding's long side, at most; training resolutions lie at or below it."""
MAX_PROFILE_BYTES = 4 * 1024 * 1024
"""Cameras' and printers' colour profiles have up to 3 MB."""
MAX_SCANS = 64
"""Progressive JPEGs have about ten scans; each one costs a pass over the whole picture."""
_START_OF_SCAN = b"\xff\xda"

# Pillow tells stderr what it makes of broken camera notes; what is said of a photo is its verdict.
warnings.filterwarnings("ignore", module=r"PIL\.")


@dataclass(frozen=True, slots=True)
class PhotoLimits:
    """What one photo may be.

    Attributes:
        most_bytes: of the file as uploaded.
        most_pixels: width times height, as the header says, of a baseline JPEG: it is decoded at
            a half, a quarter or an eighth of its size, in strips.
        most_whole_pixels: the same of PNG and progressive JPEG, which decode only as a whole, at
            6 bytes a pixel: 140 MB. Phones' 12-megapixel photos pass, as do 6000×4000.
        most_webp_pixels: the same of WebP, whose decoder holds three pictures: 250 MB.
        least_side_pixels: of the shorter side of our re-encoding.
        fine_side_pixels: of the shorter side of the photo; below it a note says that the photo
            shows less than the model can draw.
    """

    most_bytes: int = MAX_UPLOAD_BYTES
    most_pixels: int = 80_000_000
    most_whole_pixels: int = 24_000_000
    most_webp_pixels: int = 16_000_000
    least_side_pixels: int = 32
    fine_side_pixels: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a photo is not used: the reason, and one sentence for people."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """A photo's pixels: upright RGB without metadata, and the size that the file had, upright."""

    pixels: Image.Image
    source_width: int
    source_height: int


def decode(body: bytes, limits: PhotoLimits) -> Decoded | Refusal:
    """Return the upright photo as RGB without metadata, long side at most 1024 px, or a refusal."""
    if len(body) > limits.most_bytes:
        return Refusal(
            Reason.TOO_LARGE,
            f"{len(body):,} bytes; at most {limits.most_bytes:,} are taken: save it smaller",
        )
    kind = sniff(body)
    if kind is None:
        return Refusal(Reason.NOT_AN_IMAGE, other_content(body))
    try:
        with Image.open(io.BytesIO(body), formats=[kind]) as image:
            if refusal := _judge_header(image, body, limits):
                return refusal
            size = image.size
            pixels = _upright_rgb(image)
    except Image.DecompressionBombError:
        return Refusal(Reason.TOO_LARGE, f"more than {limits.most_pixels:,} pixels")
    except MemoryError:
        # The machine's trouble, not the photo's: within the limits a photo fits.
        raise
    # Pillow raises almost anything on damaged input: OSError, SyntaxError, ValueError,
    # struct.error, zlib.error, IndexError, OverflowError.
    except Exception:  # noqa: BLE001 - the door to strangers' files
        return Refusal(
            Reason.TRUNCATED, f"the {kind} file is cut short or damaged: send the original again"
        )
    if min(pixels.size) < limits.least_side_pixels:
        return _too_small(pixels.size, limits)
    width, height = size
    if (width > height) != (pixels.width > pixels.height):
        width, height = height, width
    return Decoded(pixels, width, height)


def whole_pixels(body: bytes, limits: PhotoLimits) -> int:
    """Return how many pixels of a photo would be decoded at full size.

    None of a baseline JPEG, nor of what its header refuses.
    """
    kind = sniff(body)
    if kind is None:
        return 0
    try:
        with Image.open(io.BytesIO(body), formats=[kind]) as image:
            free = _scales(image) or _judge_header(image, body, limits)
            return 0 if free else image.width * image.height
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - as in `decode`
        return 0


def _scales(image: Image.Image) -> bool:
    """Return whether a photo is decoded at a part of its size, strip by strip."""
    return image.format in {"JPEG", "MPO"} and "progressive" not in image.info


def _judge_header(image: Image.Image, body: bytes, limits: PhotoLimits) -> Refusal | None:
    width, height = image.size
    progressive = image.format in {"JPEG", "MPO"} and not _scales(image)
    most = limits.most_pixels
    if progressive or image.format == "PNG":
        most = min(most, limits.most_whole_pixels)
    elif image.format == "WEBP":
        most = min(most, limits.most_webp_pixels)
    if width * height > most:
        how = "progressive JPEG" if progressive else image.format
        return Refusal(
            Reason.TOO_LARGE,
            f"{width}×{height} pixels as {how}; at most {most:,} are decoded: save it smaller",
        )
    if progressive and body.count(_START_OF_SCAN) > MAX_SCANS:
        return Refusal(Reason.TOO_LARGE, f"a JPEG of more than {MAX_SCANS} scans: save it anew")
    if image.format in {"PNG", "WEBP"} and getattr(image, "is_animated", False):
        return Refusal(
            Reason.ANIMATION,
            "an animation; save the one picture that shows the subject as JPEG or PNG",
        )
    if min(width, height) < limits.least_side_pixels:
        return _too_small(image.size, limits)
    return None


def _too_small(size: tuple[int, int], limits: PhotoLimits) -> Refusal:
    scaled = " at a long side of 1,024" if max(size) == LONG_SIDE_PIXELS else ""
    return Refusal(
        Reason.TOO_SMALL,
        f"{size[0]}×{size[1]} pixels{scaled}; the shorter side needs at least "
        f"{limits.least_side_pixels}",
    )


def _upright_rgb(image: Image.Image) -> Image.Image:
    # JPEG decodes at 1/2, 1/4 or 1/8 scale for next to nothing; never below what we keep.
    image.draft(None, (LONG_SIDE_PIXELS, LONG_SIDE_PIXELS))
    image.load()
    turn = _orientation(image)
    profile = image.info.get("icc_profile")
    small = _to_rgb(_reduced(_eight_bit(image)), profile)
    small.thumbnail((LONG_SIDE_PIXELS, LONG_SIDE_PIXELS), Image.Resampling.LANCZOS)
    # A new image from bare pixels: EXIF, XMP, ICC, comments and text have no way along.
    bare = Image.frombytes("RGB", small.size, small.tobytes())
    bare.getexif()[_ORIENTATION] = turn
    upright = ImageOps.exif_transpose(bare)
    return Image.frombytes("RGB", upright.size, upright.tobytes())


_ORIENTATION = 0x0112


def _orientation(image: Image.Image) -> int:
    """Return how a camera says that it was held, 1 to 8; 1 where its notes do not read."""
    try:
        turn = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - as many kinds as damaged pixels; these are whole
        return 1
    return turn if turn in range(1, 9) else 1


def _reduced(image: Image.Image) -> Image.Image:
    """Return the image at twice what we keep or less, averaged, where its mode can be averaged.

    What follows makes several copies; they are of the small one.
    """
    factor = max(image.size) // (2 * LONG_SIDE_PIXELS)
    if factor < 2:
        return image
    keyed = "transparency" in image.info
    if keyed or image.mode not in {"L", "RGB", "CMYK", "RGBA", "LA"}:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    small = image.reduce(factor)
    small.info = dict(image.info)
    return small


def _eight_bit(image: Image.Image) -> Image.Image:
    """Return 16-bit grey divided by 256; Pillow clips it when it converts."""
    if not image.mode.startswith("I;16"):
        return image
    return image.point(lambda value: value * (1 / 256)).convert("L")


def _to_rgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.new("RGBA", layer.size, "white")
        image.alpha_composite(layer)
        image = image.convert("RGB")
    return _to_srgb(image, profile) or image.convert("RGB")


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image | None:
    """Return the image in sRGB if it carries a colour profile that reads, else None."""
    if (
        not isinstance(profile, bytes)
        or not 0 < len(profile) <= MAX_PROFILE_BYTES
        or image.mode not in {"RGB", "CMYK", "L"}
    ):
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.profileToProfile(
            image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        # A broken profile says nothing about the colours; the pixels are still a photo.
        return None
