"""Draw an object from its attributes, about two units wide and high around the origin."""

import math
from collections.abc import Callable, Mapping

from examples.tiny.canvas import Canvas, Colour, darker, lighter, oval_points, ring_points
from examples.tiny.subjects import COLOURS, Thing

_INK: Colour = (38, 32, 48)
_WOOD: Colour = (140, 94, 58)
_LEAF: Colour = (64, 158, 74)


def draw_thing(canvas: Canvas, thing: Thing) -> None:
    """Draw `thing` around the origin of `canvas`."""
    _DRAWINGS[thing.kind](canvas, COLOURS[thing.colour], COLOURS[thing.accent])


def _balloon(canvas: Canvas, colour: Colour, accent: Colour) -> None:
    canvas.line([(0, 0.5), (0.12, 0.85), (-0.1, 1.2)], darker(accent), width=0.08)
    canvas.shape([(-0.16, 0.62), (0, 0.36), (0.16, 0.62)], accent, edge=darker(accent))
    canvas.oval((0, -0.35), (0.8, 0.92), colour, edge=darker(colour))
    canvas.oval((-0.3, -0.7), (0.13, 0.24), lighter(colour, 0.6), tilt=0.5)


def _fish(canvas: Canvas, colour: Colour, accent: Colour) -> None:
    canvas.shape([(0.6, 0), (1.25, -0.6), (1.1, 0), (1.25, 0.6)], accent, edge=darker(accent))
    canvas.shape([(-0.2, -0.5), (0.2, -1.0), (0.5, -0.35)], accent, edge=darker(accent))
    canvas.oval((-0.1, 0), (0.95, 0.64), colour, edge=darker(colour))
    canvas.line([(0.2, -0.42), (0.3, 0), (0.2, 0.42)], accent, width=0.16)
    canvas.oval((-0.58, -0.14), (0.2, 0.2), (255, 255, 255), edge=_INK, width=0.06)
    canvas.disc((-0.6, -0.14), 0.1, _INK)


def _house(canvas: Canvas, colour: Colour, accent: Colour) -> None:
    canvas.shape([(-0.8, -0.15), (0.8, -0.15), (0.8, 1), (-0.8, 1)], colour, edge=darker(colour))
    canvas.shape([(-1.1, -0.1), (0, -1.05), (1.1, -0.1)], accent, edge=darker(accent, 0.5))
    canvas.shape([(-0.2, 0.35), (0.2, 0.35), (0.2, 1), (-0.2, 1)], _WOOD, edge=darker(_WOOD))
    for x in (-0.65, 0.37):
        corners = [(x, 0.15), (x + 0.28, 0.15), (x + 0.28, 0.43), (x, 0.43)]
        canvas.shape(corners, (255, 236, 150), edge=_INK, width=0.06)


def _rocket(canvas: Canvas, colour: Colour, accent: Colour) -> None:
    canvas.shape([(-0.28, 0.7), (0, 1.35), (0.28, 0.7)], (255, 170, 40), edge=(230, 80, 30))
    for side in (-1, 1):
        fin = [(side * 0.4, 0.1), (side * 0.9, 0.95), (side * 0.3, 0.75)]
        canvas.shape(fin, accent, edge=darker(accent))
    hull = [(0, -1.25), (0.34, -0.75), (0.46, -0.1), (0.36, 0.75)]
    canvas.shape([*hull, *[(-x, y) for x, y in reversed(hull)]], colour, edge=darker(colour))
    canvas.shape([(0, -1.25), (0.3, -0.8), (-0.3, -0.8)], accent, edge=darker(accent))
    canvas.oval((0, -0.25), (0.22, 0.22), (170, 220, 250), edge=_INK)


def _mushroom(canvas: Canvas, colour: Colour, accent: Colour) -> None:
    stem = [(-0.3, 0), (0.3, 0), (0.42, 1), (-0.42, 1)]
    canvas.shape(stem, (240, 226, 200), edge=(150, 130, 110))
    cap = [(x, min(y, 0.12)) for x, y in oval_points((0, 0.05), (1.05, 1.0))]
    canvas.shape(cap, colour, edge=darker(colour))
    for x, y, radius in ((-0.5, -0.3, 0.17), (0.1, -0.62, 0.19), (0.56, -0.2, 0.15)):
        canvas.disc((x, y), radius, accent)


def _flower(canvas: Canvas, colour: Colour, accent: Colour) -> None:
    canvas.line([(0, 0), (0.05, 1.2)], _LEAF, width=0.14)
    canvas.oval((0.38, 0.85), (0.36, 0.15), _LEAF, tilt=-0.6)
    for x, y in ring_points(0.55, count=6):
        canvas.oval((x, y - 0.3), (0.37, 0.37), colour, edge=darker(colour), width=0.07)
    canvas.oval((0, -0.3), (0.34, 0.34), accent, edge=darker(accent), width=0.07)


def _boat(canvas: Canvas, colour: Colour, accent: Colour) -> None:
    canvas.line([(0, 0.4), (0, -1.15)], _WOOD, width=0.13)
    canvas.shape([(0.1, -1.05), (0.95, 0.2), (0.1, 0.2)], accent, edge=darker(accent))
    canvas.shape([(-0.1, -0.8), (-0.8, 0.2), (-0.1, 0.2)], accent, edge=darker(accent))
    hull = [(-1.15, 0.38), (1.15, 0.38), (0.75, 1), (-0.75, 1)]
    canvas.shape(hull, colour, edge=darker(colour, 0.5))


def _star(canvas: Canvas, colour: Colour, accent: Colour) -> None:
    canvas.shape(ring_points((1.1, 0.5), count=10), accent, edge=darker(accent), width=0.1)
    canvas.shape(ring_points((0.72, 0.33), count=10), colour)


def _heart(canvas: Canvas, colour: Colour, accent: Colour) -> None:
    def points(size: float) -> list[tuple[float, float]]:
        turns = [math.tau * i / 36 for i in range(36)]
        return [
            (
                size * 16 * math.sin(t) ** 3 / 16,
                -size
                * (13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t))
                / 16,
            )
            for t in turns
        ]

    canvas.shape(points(1.1), colour, edge=darker(colour, 0.45))
    canvas.shape(points(0.5), accent)


def _tree(canvas: Canvas, colour: Colour, accent: Colour) -> None:
    canvas.shape([(-0.18, 0.3), (0.18, 0.3), (0.26, 1.15), (-0.26, 1.15)], _WOOD, edge=(80, 52, 32))
    for x, y, radius in ((-0.45, 0.05, 0.55), (0.45, 0.05, 0.55), (0, -0.5, 0.65)):
        canvas.oval((x, y), (radius, radius), colour, edge=darker(colour))
    canvas.oval((0, -0.1), (0.55, 0.5), colour)
    for x, y in ((-0.5, 0.05), (0.45, 0.12), (0, -0.55), (0.02, -0.05)):
        canvas.disc((x, y), 0.14, accent)


def _car(canvas: Canvas, colour: Colour, accent: Colour) -> None:
    cabin = [(-0.7, -0.05), (-0.45, -0.6), (0.4, -0.6), (0.75, -0.05)]
    canvas.shape(cabin, (176, 222, 246), edge=darker(colour, 0.45))
    body = [(-1.2, 0), (1.1, -0.02), (1.25, 0.25), (1.2, 0.6), (-1.2, 0.6)]
    canvas.shape(body, colour, edge=darker(colour, 0.45))
    canvas.line([(-1.1, 0.3), (1.15, 0.3)], accent, width=0.16)
    for x in (-0.65, 0.65):
        canvas.oval((x, 0.62), (0.32, 0.32), _INK, edge=(20, 16, 26))
        canvas.disc((x, 0.62), 0.14, (220, 220, 225))


def _cup(canvas: Canvas, colour: Colour, accent: Colour) -> None:
    canvas.line([(0.6, -0.35), (1.1, -0.3), (1.05, 0.3), (0.6, 0.4)], darker(colour), width=0.24)
    side = [(-0.8, -0.65), (0.75, -0.65), (0.6, 0.95), (-0.65, 0.95)]
    canvas.shape(side, colour, edge=darker(colour))
    canvas.oval((-0.02, -0.65), (0.78, 0.22), (96, 60, 40), edge=darker(colour))
    canvas.line([(-0.7, 0.2), (0.62, 0.2)], accent, width=0.3)


def _cake(canvas: Canvas, colour: Colour, accent: Colour) -> None:
    low = [(-1.05, 0.3), (1.05, 0.3), (1.05, 1), (-1.05, 1)]
    canvas.shape(low, colour, edge=darker(colour))
    high = [(-0.7, -0.35), (0.7, -0.35), (0.7, 0.3), (-0.7, 0.3)]
    canvas.shape(high, accent, edge=darker(accent))
    for x in (-0.4, 0.0, 0.4):
        canvas.line([(x, -0.4), (x, -0.8)], (250, 250, 250), width=0.13)
        canvas.oval((x, -0.98), (0.1, 0.16), (255, 160, 40))
    canvas.line([(-1, 0.62), (1, 0.62)], lighter(accent, 0.3), width=0.17)


def _umbrella(canvas: Canvas, colour: Colour, accent: Colour) -> None:
    canvas.line([(0, -0.9), (0, 0.95), (0.28, 1.1), (0.42, 0.85)], _WOOD, width=0.14)
    dome = [(x, min(y, 0.0)) for x, y in oval_points((0, 0), (1.15, 1.0))]
    canvas.shape(dome, colour, edge=darker(colour))
    canvas.shape([(-0.36, -0.02), (0, -0.98), (0.36, -0.02)], accent)


_DRAWINGS: Mapping[str, Callable[[Canvas, Colour, Colour], None]] = {
    "balloon": _balloon,
    "fish": _fish,
    "house": _house,
    "rocket": _rocket,
    "mushroom": _mushroom,
    "flower": _flower,
    "boat": _boat,
    "star": _star,
    "heart": _heart,
    "tree": _tree,
    "car": _car,
    "cup": _cup,
    "cake": _cake,
    "umbrella": _umbrella,
}
