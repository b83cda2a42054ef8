"""Pictures between tensors and files: encoding PNG, and reading our own photos."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def encode_png(image_HW3: Tensor) -> bytes:
    """Return a PNG of a uint8 `[H, W, 3]` picture; equal pictures give equal bytes."""
    out = io.BytesIO()
    Image.fromarray(image_HW3.numpy()).save(out, "PNG", optimize=False)
    return out.getvalue()


def decode_square(body: bytes, side: int) -> Tensor:
    """Return a picture as float `[3, side, side]` in [-1, 1]: centre square, then resized.

    Raises:
        OSError: the bytes are no picture.
    """
    with Image.open(io.BytesIO(body)) as opened:
        image = opened.convert("RGB")
    edge = min(image.size)
    left, top = (image.width - edge) // 2, (image.height - edge) // 2
    square = image.crop((left, top, left + edge, top + edge))
    if edge != side:
        square = square.resize((side, side), Image.Resampling.LANCZOS)
    pixels_HW3 = torch.from_numpy(np.array(square))
    return pixels_HW3.permute(2, 0, 1).float() / 127.5 - 1.0
