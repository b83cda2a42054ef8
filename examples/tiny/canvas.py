"""Draw filled, outlined shapes in unit coordinates at any resolution.

Everything in the drawn world is a polygon in its own coordinates, placed by a `Frame`. Drawing
happens at `OVERSAMPLING` times the wanted size and is reduced by averaging, which anti-aliases.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

Point = tuple[float, float]
Colour = tuple[int, int, int]

OVERSAMPLING = 4
_TURN = [(math.cos(math.tau * i / 32), math.sin(math.tau * i / 32)) for i in range(32)]


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a drawing's own coordinates lie in the picture.

    Attributes:
        x: Where its origin lies, 0 left to 1 right.
        y: Where its origin lies, 0 top to 1 bottom.
        scale: How long one unit of its own is, as a share of the picture.
        tilt: Turn in radians, clockwise.
        mirrored: Whether left and right are exchanged before turning.
    """

    x: float = 0.0
    y: float = 0.0
    scale: float = 1.0
    tilt: float = 0.0
    mirrored: bool = False


class Canvas:
    """A picture under construction; `in_frame` gives the same picture in other coordinates."""

    def __init__(self, pixels: int) -> None:
        self._size = pixels * OVERSAMPLING
        self._image = Image.new("RGB", (self._size, self._size))
        self._draw = ImageDraw.Draw(self._image)
        self._place(Frame())

    def _place(self, frame: Frame) -> None:
        length = frame.scale * self._size
        self._unit = length
        cosine, sine = math.cos(frame.tilt) * length, math.sin(frame.tilt) * length
        side = -1.0 if frame.mirrored else 1.0
        self._matrix = (cosine * side, -sine, sine * side, cosine)
        self._origin = (frame.x * self._size, frame.y * self._size)

    def in_frame(self, frame: Frame) -> "Canvas":
        """The same picture, drawn on in the coordinates of `frame`."""
        other = object.__new__(Canvas)
        other._size, other._image, other._draw = self._size, self._image, self._draw
        other._place(frame)
        return other

    def finished(self) -> Image.Image:
        """The picture at its final size."""
        return self._image.reduce(OVERSAMPLING)

    def _pixels(self, points: Sequence[Point]) -> list[Point]:
        a, b, c, d = self._matrix
        left, top = self._origin
        return [(left + a * x + b * y, top + c * x + d * y) for x, y in points]

    def shape(
        self,
        points: Sequence[Point],
        fill: Colour,
        *,
        edge: Colour | None = None,
        width: float = 0.09,
    ) -> None:
        """A filled polygon, with an outline of `width` own units when `edge` is given."""
        corners = self._pixels(points)
        self._draw.polygon(corners, fill=fill)
        if edge is not None:
            self._stroke([*corners, corners[0], corners[1]], edge, width)

    def line(self, points: Sequence[Point], colour: Colour, *, width: float = 0.09) -> None:
        """An open line with round joints and ends."""
        corners = self._pixels(points)
        self._stroke(corners, colour, width)
        radius = width * self._unit / 2
        for x, y in (corners[0], corners[-1]):
            self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)

    def _stroke(self, corners: Sequence[Point], colour: Colour, width: float) -> None:
        self._draw.line(
            corners, fill=colour, width=max(1, round(width * self._unit)), joint="curve"
        )

    def oval(
        self,
        centre: Point,
        radii: Point,
        fill: Colour,
        *,
        edge: Colour | None = None,
        width: float = 0.09,
        tilt: float = 0.0,
    ) -> None:
        """A filled ellipse, turned by `tilt` radians about its centre."""
        self.shape(oval_points(centre, radii, tilt=tilt), fill, edge=edge, width=width)

    def disc(self, centre: Point, radius: float, fill: Colour) -> None:
        """A filled circle without an outline, the fastest shape."""
        ((x, y),) = self._pixels([centre])
        reach = radius * self._unit
        self._draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=fill)

    def box(self, left: float, top: float, right: float, bottom: float, fill: Colour) -> None:
        """A filled rectangle without an outline."""
        self.shape([(left, top), (right, top), (right, bottom), (left, bottom)], fill)

    def fade(self, top: Colour, bottom: Colour, *, start: float = 0.0, end: float = 1.0) -> None:
        """A vertical gradient over the whole width, from `start` to `end` of the height."""
        first, last = round(start * self._size), round(end * self._size)
        strip = Image.new("RGB", (1, 2))
        strip.putpixel((0, 0), top)
        strip.putpixel((0, 1), bottom)
        smooth = strip.resize((1, last - first), Image.Resampling.BILINEAR)
        self._image.paste(smooth.resize((self._size, last - first)), (0, first))


def oval_points(centre: Point, radii: Point, *, tilt: float = 0.0) -> list[Point]:
    """Thirty-two points around an ellipse."""
    cosine, sine = math.cos(tilt), math.sin(tilt)
    (x, y), (wide, high) = centre, radii
    return [
        (x + wide * c * cosine - high * s * sine, y + wide * c * sine + high * s * cosine)
        for c, s in _TURN
    ]


def ring_points(radius: Sequence[float] | float, *, count: int, turn: float = 0.0) -> list[Point]:
    """`count` points around the origin whose distances repeat through `radius`."""
    reaches = [radius] if isinstance(radius, float) else list(radius)
    return [
        (
            reaches[i % len(reaches)] * math.sin(turn + math.tau * i / count),
            -reaches[i % len(reaches)] * math.cos(turn + math.tau * i / count),
        )
        for i in range(count)
    ]


def darker(colour: Colour, share: float = 0.35) -> Colour:
    """The colour with `share` of its light taken away."""
    red, green, blue = colour
    keep = 1.0 - share
    return int(red * keep), int(green * keep), int(blue * keep)


def lighter(colour: Colour, share: float = 0.35) -> Colour:
    """The colour moved towards white by `share`."""
    red, green, blue = colour
    return (
        int(red + (255 - red) * share),
        int(green + (255 - green) * share),
        int(blue + (255 - blue) * share),
    )
