"""Whether two photos show the same: small pictures of both, laid over each other.

A photo's likeness is its picture at 32×32, brought to one mean and one contrast, so that another
encoding, size or brightness changes little. Two photos are the same when their likenesses differ
little everywhere: a subject that moved changes some blocks much, while the mean hardly stirs.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image, ImageChops, ImageStat

_SIDE = 32
_BLOCKS = 8
"""Blocks a side, of 4×4 pixels each, in which differences are looked for."""
_MEAN, _DEVIATION = 128.0, 56.0
_MOST_GAIN = 4.0
"""A picture with less contrast is brought up so far and no further: noise is no likeness."""
_ASPECT = 1.03
"""Pictures whose ratios of width to height differ more have been framed anew."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """What a photo looks like from far away.

    Attributes:
        pixels: 32×32 RGB, row by row, at one mean and contrast.
        aspect: width divided by height of the photo.
    """

    pixels: bytes
    aspect: float


@dataclass(frozen=True, slots=True)
class Difference:
    """How two photos differ, in levels of 255 at one contrast.

    Attributes:
        mean: over the whole picture.
        worst: in the one of 8×8 blocks that differs most.
        mirrored: whether it is the mirror image of the second photo that differs so.
    """

    mean: float
    worst: int
    mirrored: bool = False

    def within(self, mean: float, worst: float) -> bool:
        """Return whether it is as small as these."""
        return self.mean <= mean and self.worst <= worst


def likeness(pixels: Image.Image) -> Likeness:
    """Return what an upright RGB photo looks like from far away."""
    small = pixels.resize((_SIDE, _SIDE), Image.Resampling.HAMMING)
    light = ImageStat.Stat(small.convert("L"))
    gain = min(_MOST_GAIN, _DEVIATION / max(light.stddev[0], 1.0))
    levels = [round(_MEAN + gain * (level - light.mean[0])) for level in range(256)]
    table = [min(255, max(0, level)) for level in levels] * 3
    return Likeness(small.point(table).tobytes(), pixels.width / pixels.height)


def difference(one: Likeness, other: Likeness) -> Difference | None:
    """Return how two photos differ, the nearer of upright and mirrored; None if framed anew."""
    if max(one.aspect, other.aspect) > _ASPECT * min(one.aspect, other.aspect):
        return None
    first, second = _image(one), _image(other)
    mirror = second.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    upright, mirrored = _differ(first, second), _differ(first, mirror)
    if mirrored.worst < upright.worst and mirrored.mean < upright.mean:
        return Difference(mirrored.mean, mirrored.worst, mirrored=True)
    return upright


def _image(photo: Likeness) -> Image.Image:
    return Image.frombytes("RGB", (_SIDE, _SIDE), photo.pixels)


def _differ(one: Image.Image, other: Image.Image) -> Difference:
    red, green, blue = ImageChops.difference(one, other).split()
    most = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    blocks = most.resize((_BLOCKS, _BLOCKS), Image.Resampling.BOX)
    return Difference(ImageStat.Stat(most).mean[0], max(blocks.tobytes()))
