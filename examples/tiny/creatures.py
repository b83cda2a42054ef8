"""Draw a creature from its attributes, about two units wide and high around the origin."""

import math
from dataclasses import dataclass

from examples.tiny.canvas import Canvas, Colour, Point, darker, lighter, oval_points
from examples.tiny.subjects import COLOURS, Creature

_INK: Colour = (38, 32, 48)
_WHITE: Colour = (255, 255, 255)
_ROUND = [math.tau * i / 40 for i in range(40)]


@dataclass(frozen=True, slots=True)
class Pose:
    """How a creature holds itself: where it looks (-1 to 1) and how high its arms are (0 to 1)."""

    look_x: float = 0.0
    look_y: float = 0.0
    arms: float = 0.3


@dataclass(frozen=True, slots=True)
class _Build:
    """A body's outline and where the parts sit on it."""

    outline: tuple[Point, ...]
    head_top: float
    head_half: float
    eye_height: float
    belly: Point
    belly_radii: Point
    waist: float


def _polar(radius: "list[float]", *, wide: float = 1.0, high: float = 1.0) -> tuple[Point, ...]:
    return tuple(
        (wide * r * math.sin(a), -high * r * math.cos(a))
        for r, a in zip(radius, _ROUND, strict=True)
    )


def _pear() -> tuple[Point, ...]:
    return tuple(
        ((0.80 - 0.24 * math.cos(a)) * math.sin(a) * 1.08, -math.cos(a) * 1.02) for a in _ROUND
    )


def _pointy() -> tuple[Point, ...]:
    side = [(0.92 * math.sin(t) * math.sin(t / 2) ** 0.8, -1.2 * math.cos(t)) for t in _ROUND]
    return tuple((x, y * 0.92 - 0.08) for x, y in side)


def _square() -> tuple[Point, ...]:
    def swell(value: float) -> float:
        return math.copysign(abs(value) ** 0.45, value)

    return tuple((0.9 * swell(math.sin(a)), -0.92 * swell(math.cos(a))) for a in _ROUND)


def _bell() -> tuple[Point, ...]:
    dome = [(0.78 * math.sin(t), -0.28 - 0.76 * math.cos(t)) for t in _half_turn(-1)]
    hem = [(0.98 - 0.245 * i, 1.0 if i % 2 == 0 else 0.78) for i in range(9)]
    return (*dome, *hem)


def _half_turn(sign: int) -> list[float]:
    return [sign * math.pi / 2 * (1 - i / 8) for i in range(17)]


_BUILDS = {
    "round": _Build(_polar([0.98] * 40), -0.95, 0.55, -0.22, (0, 0.42), (0.58, 0.48), 0.95),
    "tall": _Build(
        _polar([1.0] * 40, wide=0.74, high=1.16), -1.12, 0.42, -0.42, (0, 0.42), (0.46, 0.58), 0.72
    ),
    "wide": _Build(
        _polar([1.0] * 40, wide=1.24, high=0.82), -0.78, 0.66, -0.15, (0, 0.38), (0.74, 0.36), 1.18
    ),
    "pear-shaped": _Build(_pear(), -0.98, 0.38, -0.34, (0, 0.48), (0.62, 0.46), 0.86),
    "bell-shaped": _Build(_bell(), -1.0, 0.5, -0.30, (0, 0.38), (0.52, 0.44), 0.86),
    "square": _Build(_square(), -0.9, 0.6, -0.26, (0, 0.40), (0.56, 0.42), 0.9),
    "pointy": _Build(_pointy(), -1.1, 0.22, 0.02, (0, 0.62), (0.52, 0.36), 0.8),
    "fluffy": _Build(
        _polar([1.02 + 0.09 * math.cos(10 * a) for a in _ROUND]),
        -0.98,
        0.55,
        -0.22,
        (0, 0.42),
        (0.56, 0.46),
        0.95,
    ),
}


def draw_creature(canvas: Canvas, creature: Creature, pose: Pose) -> None:
    """Draw `creature` around the origin of `canvas`, back to front."""
    build = _BUILDS[creature.body]
    colour, accent = COLOURS[creature.colour], COLOURS[creature.accent]
    edge = darker(colour, 0.5)
    if creature.wings:
        _wings(canvas, build, accent)
    if creature.tail:
        _tail(canvas, build, colour, edge)
    _feet(canvas, accent)
    if creature.crest in ("round ears", "pointed ears", "long ears"):
        _ears(canvas, build, creature.crest, colour, accent)
    canvas.shape(build.outline, colour, edge=edge)
    _shine(canvas, build, colour)
    _marking(canvas, build, creature)
    _arms(canvas, build, colour, edge, pose.arms)
    if creature.crest == "horns":
        _horns(canvas, build, accent)
    if creature.crest == "antennae":
        _antennae(canvas, build, edge, accent)
    _face(canvas, build, creature, pose)
    if creature.hat != "none":
        _hat(canvas, build, creature.hat, COLOURS[creature.hat_colour])


def _wings(canvas: Canvas, build: _Build, colour: Colour) -> None:
    edge = darker(colour, 0.45)
    for side in (-1, 1):
        x = side * build.waist
        tip = [(x * 0.7, -0.25), (x + side * 0.55, -0.85), (x + side * 0.78, -0.45)]
        low = [(x + side * 0.62, -0.12), (x + side * 0.66, 0.12), (x + side * 0.4, 0.3)]
        canvas.shape([*tip, *low, (x * 0.7, 0.35)], colour, edge=edge, width=0.08)


def _tail(canvas: Canvas, build: _Build, colour: Colour, edge: Colour) -> None:
    x = build.waist
    path = [(x * 0.6, 0.75), (x + 0.25, 0.78), (x + 0.48, 0.52), (x + 0.42, 0.18)]
    canvas.line(path, edge, width=0.34)
    canvas.line(path, colour, width=0.19)


def _feet(canvas: Canvas, colour: Colour) -> None:
    for side in (-1, 1):
        canvas.oval((side * 0.42, 1.03), (0.32, 0.2), colour, edge=darker(colour, 0.5), width=0.08)


def _ears(canvas: Canvas, build: _Build, kind: str, colour: Colour, inner: Colour) -> None:
    edge = darker(colour, 0.5)
    top, half = build.head_top, build.head_half
    for side in (-1, 1):
        if kind == "round ears":
            centre = (side * (half + 0.16), top + 0.1)
            canvas.oval(centre, (0.37, 0.37), colour, edge=edge)
            canvas.disc(centre, 0.19, inner)
        elif kind == "pointed ears":
            for size, fill, line in ((1.0, colour, edge), (0.5, inner, None)):
                points = [(-0.3, 0.5), (0.12, -0.45), (0.36, 0.5)]
                ear = [(side * (half + 0.02 + x * size), top + 0.06 + y * size) for x, y in points]
                canvas.shape(ear, fill, edge=line)
        else:
            centre, lean = (side * (half * 0.78 + 0.06), top - 0.32), side * 0.2
            canvas.oval(centre, (0.25, 0.66), colour, edge=edge, tilt=lean)
            canvas.oval(centre, (0.11, 0.46), inner, tilt=lean)


def _horns(canvas: Canvas, build: _Build, colour: Colour) -> None:
    for side in (-1, 1):
        root = side * build.head_half * 0.85
        points = [
            (root - side * 0.2, build.head_top + 0.12),
            (root + side * 0.1, build.head_top - 0.2),
            (root + side * 0.42, build.head_top - 0.5),
            (root + side * 0.38, build.head_top - 0.05),
            (root + side * 0.2, build.head_top + 0.26),
        ]
        canvas.shape(points, colour, edge=darker(colour, 0.5), width=0.08)


def _antennae(canvas: Canvas, build: _Build, stem: Colour, tip: Colour) -> None:
    for side in (-1, 1):
        root = (side * build.head_half * 0.5, build.head_top + 0.06)
        bend = (side * (build.head_half * 0.5 + 0.12), build.head_top - 0.3)
        end = (side * (build.head_half * 0.5 + 0.34), build.head_top - 0.5)
        canvas.line([root, bend, end], stem, width=0.11)
        canvas.oval(end, (0.2, 0.2), tip, edge=darker(tip, 0.5), width=0.07)


def _shine(canvas: Canvas, build: _Build, colour: Colour) -> None:
    x = -build.head_half * 0.62
    canvas.oval((x, build.head_top + 0.3), (0.2, 0.11), lighter(colour, 0.45), tilt=-0.6)


def _marking(canvas: Canvas, build: _Build, creature: Creature) -> None:
    colour = COLOURS[creature.marking_colour]
    (x, y), (wide, high) = build.belly, build.belly_radii
    if creature.marking == "belly":
        canvas.oval((x, y), (wide, high), colour)
    elif creature.marking == "spots":
        for across, down, radius in (
            (-0.95, -0.1, 0.16),
            (0.98, 0.0, 0.17),
            (-0.45, 0.55, 0.17),
            (0.5, 0.62, 0.15),
            (0.02, 0.05, 0.15),
        ):
            canvas.disc((x + across * wide, y + down * high), radius, colour)
    elif creature.marking == "stripes":
        for row in (-0.35, 0.25, 0.85):
            level = y + row * high
            reach = _half_width(build, level) - 0.08
            canvas.shape(
                [
                    (-reach, level - 0.08),
                    (reach, level - 0.08),
                    (reach, level + 0.08),
                    (-reach, level + 0.08),
                ],
                colour,
            )


def _half_width(build: _Build, level: float) -> float:
    near = [abs(x) for x, y in build.outline if abs(y - level) < 0.16]
    return min(near) if near else 0.3


def _arms(canvas: Canvas, build: _Build, colour: Colour, edge: Colour, lift: float) -> None:
    for side in (-1, 1):
        shoulder = (side * (build.waist - 0.14), 0.18)
        hand = (side * (build.waist + 0.24), 0.52 - 0.7 * lift)
        canvas.line([shoulder, hand], edge, width=0.36)
        canvas.line([shoulder, hand], colour, width=0.21)


def _eye_places(count: int) -> tuple[tuple[float, float, float], ...]:
    if count == 1:
        return ((0.0, 0.0, 0.42),)
    if count == 2:
        return ((-0.33, 0.0, 0.3), (0.33, 0.0, 0.3))
    return ((-0.42, 0.1, 0.23), (0.42, 0.1, 0.23), (0.0, -0.2, 0.25))


def _face(canvas: Canvas, build: _Build, creature: Creature, pose: Pose) -> None:
    squeeze = 0.82 if creature.body in ("tall", "pointy") else 1.0
    for x, y, radius in _eye_places(creature.eyes):
        centre = (x * squeeze, build.eye_height + y)
        size = radius * (0.9 if squeeze < 1 else 1.0)
        canvas.oval(centre, (size, size * 1.06), _WHITE, edge=_INK, width=0.075)
        pupil = (
            centre[0] + pose.look_x * size * 0.32,
            centre[1] + pose.look_y * size * 0.32,
        )
        canvas.disc(pupil, size * 0.55, _INK)
        canvas.disc((pupil[0] - size * 0.2, pupil[1] - size * 0.24), size * 0.2, _WHITE)
    blush = (250, 120, 130)
    level = build.eye_height + 0.4
    if creature.colour not in ("red", "pink"):
        for side in (-1, 1):
            canvas.oval((side * 0.52 * squeeze, level), (0.13, 0.08), blush)
    _mouth(canvas, creature.mouth, level)


def _mouth(canvas: Canvas, kind: str, level: float) -> None:
    curve = [(0.26 * math.sin(t), level - 0.12 + 0.2 * math.cos(t)) for t in _half_turn(1)]
    if kind == "open":
        canvas.oval((0, level + 0.08), (0.17, 0.19), (150, 40, 60), edge=_INK, width=0.06)
        canvas.oval((0, level + 0.17), (0.1, 0.07), (250, 120, 130))
    elif kind == "grin":
        canvas.shape(curve, _WHITE, edge=_INK, width=0.07)
    else:
        canvas.line(curve, _INK, width=0.09)
        if kind == "fangs":
            for side in (-1, 1):
                x = side * 0.14
                fang = [(x - 0.08, level + 0.03), (x + 0.08, level + 0.03), (x, level + 0.24)]
                canvas.shape(fang, _WHITE, edge=_INK, width=0.04)


def _hat(canvas: Canvas, build: _Build, kind: str, colour: Colour) -> None:
    edge, top = darker(colour, 0.5), build.head_top + 0.1
    trim = lighter(colour, 0.6) if sum(colour) < 560 else darker(colour, 0.25)
    if kind == "party hat":
        canvas.shape([(-0.38, top), (0, top - 0.9), (0.38, top)], colour, edge=edge)
        canvas.disc((0, top - 0.92), 0.15, trim)
        canvas.line([(-0.2, top - 0.28), (0.2, top - 0.28)], trim, width=0.1)
    elif kind == "top hat":
        square = [(-0.36, top), (-0.4, top - 0.66), (0.4, top - 0.66), (0.36, top)]
        canvas.shape(square, colour, edge=edge)
        canvas.box(-0.36, top - 0.22, 0.36, top - 0.06, trim)
        canvas.line([(-0.62, top), (0.62, top)], edge, width=0.24)
        canvas.line([(-0.6, top), (0.6, top)], colour, width=0.12)
    elif kind == "crown":
        spikes = [(-0.48, top), (-0.54, top - 0.52), (-0.24, top - 0.26), (0, top - 0.62)]
        rest = [(0.24, top - 0.26), (0.54, top - 0.52), (0.48, top)]
        canvas.shape([*spikes, *rest], colour, edge=edge)
        canvas.disc((0, top - 0.16), 0.1, trim)
    else:
        dome = [(x, min(y, top)) for x, y in oval_points((0, top), (0.6, 0.52))]
        canvas.shape(dome, colour, edge=edge)
        canvas.line([(-0.56, top - 0.02), (0.56, top - 0.02)], trim, width=0.2)
        canvas.oval((0, top - 0.56), (0.17, 0.17), trim)
