"""Encoding finished images: PNG, or JPEG at quality 92, in standard base64."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

from PIL import Image

from atelier.contracts.generation import GeneratedImage, ImageFormat
from serving_image.drawer import Picture

JPEG_QUALITY = 92


def encode(picture: Picture, form: ImageFormat) -> bytes:
    """Return the encoded file of one image."""
    image = Image.frombytes("RGB", (picture.width, picture.height), picture.rgb)
    body = io.BytesIO()
    if form is ImageFormat.JPEG:
        # 4:4:4: drawn edges of strong colours bleed otherwise.
        image.save(body, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    else:
        image.save(body, "PNG")
    return body.getvalue()


def encode_all(
    pictures: Sequence[Picture], form: ImageFormat, *, first_seed: int
) -> tuple[GeneratedImage, ...]:
    """Return the images of one response, each with its seed."""
    return tuple(
        GeneratedImage(first_seed + i, base64.b64encode(encode(picture, form)).decode())
        for i, picture in enumerate(pictures)
    )
