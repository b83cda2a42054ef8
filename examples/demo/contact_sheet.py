"""The contact sheet: instance images, then the same prompts and seeds before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

TILE = 160
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
    """Lay out the sheet: instance images over its whole width, then a row for each prompt."""
    half = max(max(len(row.base), len(row.personal)) for row in rows)
    right = MARGIN + half * (TILE + GAP) + TILE // 3
    width = right + half * (TILE + GAP) - GAP + MARGIN
    small_tile = (width - 2 * MARGIN + GAP) // len(instance_images) - GAP
    row_height = TILE + 34
    height = MARGIN + 42 + small_tile + 26 + 42 + len(rows) * row_height + MARGIN - 10
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    large, small = _font(26), _font(15)
    y = MARGIN
    draw.text((MARGIN, y), "Instance images", INK, large)
    told = f"the {len(instance_images)} photos that the person uploaded"
    draw.text((MARGIN + 220, y + 9), told, SOFT, small)
    y += 42
    _tiles(sheet, instance_images, MARGIN, y, small_tile)
    y += small_tile + 26
    draw.text((MARGIN, y), "Base model", INK, large)
    draw.text((right, y), "After personalisation", INK, large)
    draw.text((right + 280, y + 9), "same prompts, same seeds", SOFT, small)
    y += 42
    for row in rows:
        draw.text((MARGIN, y), row.prompt, SOFT, small)
        _tiles(sheet, row.base, MARGIN, y + 22, TILE)
        _tiles(sheet, row.personal, right, y + 22, TILE)
        y += row_height
    return sheet


def _tiles(sheet: Image.Image, images: Sequence[Image.Image], x: int, y: int, side: int) -> None:
    for image in images:
        tile = image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
        sheet.paste(tile, (x, y))
        x += side + GAP


def _font(size: int) -> Font:
    # Pillow's own font: the same sheet on every machine.
    return ImageFont.load_default(size)
