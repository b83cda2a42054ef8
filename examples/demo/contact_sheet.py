"""The contact sheet: instance images, then the same prompts and seeds before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

TILE = 144
GAP = 8
MARGIN = 28
INK = (34, 34, 40)
SOFT = (120, 120, 132)
PAPER = (250, 249, 246)
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True, slots=True)
class Row:
    """One prompt: the same seeds drawn by the base model and by the person's model."""

    prompt: str
    base: Sequence[Image.Image]
    personal: Sequence[Image.Image]


def contact_sheet(instance_images: Sequence[Image.Image], rows: Sequence[Row]) -> Image.Image:
    """Lay out the sheet; every image is shown at `TILE` pixels whatever its size."""
    columns = max(len(instance_images), max(len(r.base) + len(r.personal) for r in rows) + 1)
    width = 2 * MARGIN + columns * (TILE + GAP)
    row_height = TILE + 34
    height = 2 * MARGIN + 60 + TILE + 70 + len(rows) * row_height
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    large, small = _font(26), _font(15)
    y = MARGIN
    draw.text((MARGIN, y), "Instance images", INK, large)
    draw.text(
        (MARGIN + 250, y + 9), f"what the person uploaded ({len(instance_images)})", SOFT, small
    )
    y += 42
    _tiles(sheet, instance_images, MARGIN, y)
    y += TILE + 26
    half = max(len(r.base) for r in rows)
    right = MARGIN + half * (TILE + GAP) + TILE // 2
    draw.text((MARGIN, y), "Base model", INK, large)
    draw.text((right, y), "After personalisation", INK, large)
    draw.text((right + 300, y + 9), "same prompts, same seeds", SOFT, small)
    y += 42
    for row in rows:
        draw.text((MARGIN, y), row.prompt, SOFT, small)
        _tiles(sheet, row.base, MARGIN, y + 22)
        _tiles(sheet, row.personal, right, y + 22)
        y += row_height
    return sheet


def _tiles(sheet: Image.Image, images: Sequence[Image.Image], x: int, y: int) -> None:
    for image in images:
        tile = image.convert("RGB").resize((TILE, TILE), Image.Resampling.LANCZOS)
        sheet.paste(tile, (x, y))
        x += TILE + GAP


def _font(size: int) -> Font:
    # Pillow's own font: the same sheet on every machine.
    return ImageFont.load_default(size)
