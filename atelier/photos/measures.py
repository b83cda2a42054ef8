"""What can be measured of a photo: how sharp its edges are, and how much of the light it uses.

Everything is measured at one size, so that a photo and its thumbnail are told the same, and with
integer arithmetic of Pillow alone, so that the same pixels give the same numbers everywhere.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from PIL import Image, ImageChops

MEASURED_SIDE_PIXELS = 256
"""Long side at which photos are measured; smaller ones keep their size."""
_SPAN_PIXELS = 16
"""Edges are looked at in a window so wide; blurs beyond a quarter of it all look alike."""
_TILES = 8
"""Tiles a side in which edges are looked for, so that a sharp subject before a blurred
background counts as sharp."""
_LEAST_EDGE_LEVELS = 32
"""Height of an edge, of 255; lower ones drown in noise and JPEG's blocks."""
_STEEPEST = 0.02
"""Share of a tile's pixels that is taken for its edge."""
_SHARPEST = 8
"""One in so many of the tiles that have an edge decides: an eighth of the picture in focus."""
_OUTLIERS = 0.005
"""Share of pixels that is left out at both ends of the light: dust, hot pixels, one lamp."""


@dataclass(frozen=True, slots=True)
class Measures:
    """What was measured of one photo.

    Attributes:
        blur_across, blur_along: standard deviation of the blur of edges that are crossed from
            left to right and from top to bottom, in pixels at a long side of 256; None where no
            edge is high enough to tell. Sharp photos have 0.4 to 0.9.
        darkest, brightest: levels of 255; the lowest and the highest that any colour channel
            has, but for half a percent of the pixels.
        contrast: levels of 255 between dark and bright in the channel that has most.
        dark_share, bright_share: share of pixels whose luma is below 32, above 250.
        pixel: size of one measured pixel in the same unit: 1, or more for small photos.
    """

    blur_across: float | None
    blur_along: float | None
    darkest: int
    brightest: int
    contrast: int
    dark_share: float
    bright_share: float
    pixel: float

    @property
    def blur(self) -> float | None:
        """The blur in the sharper direction, or None where there is no edge at all."""
        known = [b for b in (self.blur_across, self.blur_along) if b is not None]
        return min(known) if known else None

    @property
    def edgeless(self) -> bool:
        """Whether the photo is large enough to show edges and has none."""
        return self.blur is None and self.pixel < MEASURED_SIDE_PIXELS / (4 * _SPAN_PIXELS)

    @property
    def shake(self) -> float | None:
        """The blur in the softer direction, or None unless both are known."""
        if self.blur_across is None or self.blur_along is None:
            return None
        return max(self.blur_across, self.blur_along)


def measure(pixels: Image.Image) -> Measures:
    """Measure an upright RGB photo."""
    small = pixels.copy()
    side = MEASURED_SIDE_PIXELS
    small.thumbnail((side, side), Image.Resampling.BOX)
    scale = side / max(small.size)
    histograms = [band.histogram() for band in small.split()]
    lows = [_quantile(h, _OUTLIERS) for h in histograms]
    highs = [_quantile(h, 1 - _OUTLIERS) for h in histograms]
    light = small.convert("L").histogram()
    return Measures(
        blur_across=_blur(small, scale),
        blur_along=_blur(small.transpose(Image.Transpose.TRANSPOSE), scale),
        darkest=min(lows),
        brightest=max(highs),
        contrast=max(high - low for low, high in zip(lows, highs, strict=True)),
        dark_share=sum(light[:32]) / sum(light),
        bright_share=sum(light[251:]) / sum(light),
        pixel=scale,
    )


def _blur(image: Image.Image, scale: float) -> float | None:
    """Return the blur of edges crossed from left to right, from how steep they are.

    An edge of height h under a Gaussian blur of deviation s is h / (s √2π) levels a pixel steep.
    """
    width, height = image.size
    if width <= 2 * _SPAN_PIXELS or height < _TILES:
        return None
    wide, half = width - _SPAN_PIXELS, _SPAN_PIXELS // 2
    heights = _step(image, 0, _SPAN_PIXELS, wide)
    slopes = _step(image, half - 1, half, wide)
    steepness = []
    for box in _tiles(wide, height):
        edge = _quantile(heights.crop(box).histogram(), 1 - _STEEPEST)
        if edge >= _LEAST_EDGE_LEVELS:
            slope = _quantile(slopes.crop(box).histogram(), 1 - _STEEPEST)
            steepness.append(max(slope, 1) / edge)
    if not steepness:
        return None
    steepness.sort(reverse=True)
    typical = steepness[len(steepness) // _SHARPEST]
    return round(scale / (typical * math.sqrt(2 * math.pi)), 2)


def _step(image: Image.Image, start: int, end: int, wide: int) -> Image.Image:
    """Return |image[x + end] - image[x + start]| for the first `wide` columns x.

    Of the colour channel that differs most: there are edges between colours of equal light.
    """
    left = image.crop((start, 0, start + wide, image.height))
    right = image.crop((end, 0, end + wide, image.height))
    red, green, blue = ImageChops.difference(left, right).split()
    return ImageChops.lighter(ImageChops.lighter(red, green), blue)


def _tiles(width: int, height: int) -> list[tuple[int, int, int, int]]:
    across = [n * width // _TILES for n in range(_TILES + 1)]
    along = [n * height // _TILES for n in range(_TILES + 1)]
    return [
        (left, top, right, bottom)
        for left, right in pairwise(across)
        for top, bottom in pairwise(along)
    ]


def _quantile(histogram: Sequence[int], share: float) -> int:
    """Return the level that `share` of the pixels do not exceed."""
    counted = list(accumulate(histogram))
    return bisect_left(counted, max(1.0, share * counted[-1]))
