"""Draw the places where scenes happen. Every place differs a little from scene to scene."""

import math
from collections.abc import Callable, Mapping
from random import Random

from examples.tiny.canvas import Canvas, Colour, darker, lighter
from examples.tiny.subjects import COLOURS

PLACES: Mapping[str, str] = {
    "sky": "in the sky",
    "meadow": "in a meadow",
    "beach": "on the beach",
    "sea": "under the sea",
    "night": "at night",
    "space": "in space",
    "snow": "in the snow",
    "forest": "in a forest",
    "desert": "in the desert",
    "city": "in the city",
    "wall": "in front of a brick wall",
    "room": "in a room",
    "mountains": "in the mountains",
    "garden": "in a flower garden",
    "sunset": "at sunset",
    "stage": "on a stage",
    "plain": "on a plain {colour} background",
}
PLAIN_COLOURS = tuple(COLOURS)


def draw_place(canvas: Canvas, place: str, *, plain_colour: str, random: Random) -> None:
    """Cover the whole canvas with `place`; `random` decides its details."""
    if place == "plain":
        colour = lighter(COLOURS[plain_colour], 0.12)
        canvas.fade(lighter(colour, 0.12), darker(colour, 0.06))
    else:
        _DRAWINGS[place](canvas, random)


def _wobble(random: Random, colour: Colour, reach: int = 10) -> Colour:
    shift = random.randint(-reach, reach)
    red, green, blue = (min(255, max(0, part + shift)) for part in colour)
    return red, green, blue


def _cloud(canvas: Canvas, x: float, y: float, size: float, colour: Colour) -> None:
    for dx, dy, radius in ((-0.9, 0.1, 0.55), (0, -0.2, 0.8), (0.9, 0.1, 0.6)):
        canvas.disc((x + dx * size, y + dy * size), radius * size, colour)
    canvas.box(x - 0.9 * size, y + 0.1 * size, x + 0.9 * size, y + 0.66 * size, colour)


def _hill(canvas: Canvas, random: Random, level: float, height: float, colour: Colour) -> None:
    phase, count = random.random() * math.tau, random.uniform(0.6, 1.3)
    crest = [
        (i / 16, level - height * math.sin(phase + count * math.tau * i / 16)) for i in range(17)
    ]
    canvas.shape([(0, 1), *crest, (1, 1)], colour)


def _sky(canvas: Canvas, random: Random) -> None:
    canvas.fade(_wobble(random, (92, 176, 244)), _wobble(random, (206, 236, 255)))
    for _ in range(random.randint(3, 5)):
        x, y = random.random(), random.random()
        _cloud(canvas, x, y, random.uniform(0.06, 0.11), (255, 255, 255))


def _meadow(canvas: Canvas, random: Random) -> None:
    canvas.fade(_wobble(random, (128, 200, 248)), (216, 240, 250))
    _hill(canvas, random, 0.5, 0.06, (150, 208, 104))
    _hill(canvas, random, 0.64, 0.05, _wobble(random, (104, 184, 76)))
    for _ in range(9):
        x, y = random.random(), random.uniform(0.68, 0.98)
        canvas.line([(x, y), (x, y - 0.045)], (64, 140, 56), width=0.018)


def _beach(canvas: Canvas, random: Random) -> None:
    canvas.fade((120, 206, 250), (214, 242, 252), end=0.4)
    canvas.box(0, 0.6, 1, 1, (244, 216, 150))
    x = random.choice((0.14, 0.86))
    canvas.disc((x, 0.14), 0.1, (255, 226, 92))
    canvas.box(0, 0.36, 1, 0.64, _wobble(random, (40, 150, 214)))
    canvas.box(0, 0.57, 1, 0.63, (226, 244, 250))
    _hill(canvas, random, 0.64, 0.02, _wobble(random, (244, 216, 150)))
    for _ in range(5):
        canvas.disc((random.random(), random.uniform(0.72, 0.98)), 0.014, (214, 178, 112))


def _sea(canvas: Canvas, random: Random) -> None:
    canvas.fade(_wobble(random, (38, 152, 206)), (10, 56, 120))
    for _ in range(6):
        x, y, radius = random.random(), random.random() * 0.8, random.uniform(0.02, 0.045)
        canvas.disc((x, y), radius, (170, 226, 246))
        canvas.disc((x, y), radius * 0.6, (72, 164, 212))
    for _ in range(5):
        x = random.random()
        lean = random.uniform(-0.04, 0.04)
        path = [(x, 1.0), (x + lean, 0.9), (x - lean, 0.8), (x + lean, 0.68)]
        canvas.line(path, (36, 150, 96), width=0.04)


def _stars(canvas: Canvas, random: Random, count: int) -> None:
    for _ in range(count):
        radius = random.uniform(0.009, 0.02)
        canvas.disc((random.random(), random.random()), radius, (255, 250, 220))


def _night(canvas: Canvas, random: Random) -> None:
    canvas.fade((18, 22, 66), _wobble(random, (58, 62, 124)))
    _stars(canvas, random, 12)
    x, y = random.choice((0.16, 0.84)), random.uniform(0.12, 0.2)
    canvas.disc((x, y), 0.105, (250, 242, 196))
    canvas.disc((x + 0.05, y - 0.025), 0.09, (24, 28, 74))
    _hill(canvas, random, 0.8, 0.05, (22, 34, 52))


def _space(canvas: Canvas, random: Random) -> None:
    canvas.fade((8, 6, 22), (34, 14, 58))
    _stars(canvas, random, 22)
    x, y = random.choice(((0.15, 0.17), (0.85, 0.16), (0.86, 0.83), (0.14, 0.84)))
    planet = random.choice(((222, 124, 72), (112, 190, 222), (196, 132, 220)))
    canvas.disc((x, y), 0.11, planet)
    canvas.oval((x, y), (0.18, 0.035), lighter(planet, 0.5), tilt=-0.4)
    canvas.disc((x, y - 0.025), 0.075, planet)


def _snow(canvas: Canvas, random: Random) -> None:
    canvas.fade(_wobble(random, (168, 196, 222)), (222, 232, 242))
    for x in (random.uniform(0, 0.2), random.uniform(0.8, 1)):
        canvas.shape([(x - 0.13, 0.7), (x, 0.3), (x + 0.13, 0.7)], (62, 110, 96))
        canvas.shape([(x - 0.06, 0.44), (x, 0.29), (x + 0.06, 0.44)], (248, 250, 255))
    _hill(canvas, random, 0.68, 0.04, (244, 248, 255))
    for _ in range(16):
        canvas.disc((random.random(), random.random()), 0.016, (255, 255, 255))


def _forest(canvas: Canvas, random: Random) -> None:
    canvas.fade((44, 104, 62), (22, 66, 46))
    for index in range(5):
        x = index * 0.24 + random.uniform(-0.05, 0.05)
        wide = random.uniform(0.035, 0.06)
        canvas.box(x - wide, 0, x + wide, 0.86, _wobble(random, (92, 62, 40)))
    for index in range(7):
        x = index / 6
        canvas.disc((x, random.uniform(0.0, 0.08)), 0.13, _wobble(random, (40, 124, 58)))
    _hill(canvas, random, 0.8, 0.03, (50, 90, 42))


def _desert(canvas: Canvas, random: Random) -> None:
    canvas.fade((250, 196, 120), (255, 232, 178))
    canvas.disc((random.choice((0.18, 0.82)), 0.16), 0.1, (255, 246, 208))
    _hill(canvas, random, 0.56, 0.05, (226, 160, 84))
    _hill(canvas, random, 0.72, 0.05, _wobble(random, (208, 136, 66)))
    x = random.choice((0.1, 0.9))
    green = (70, 138, 72)
    canvas.line([(x, 0.8), (x, 0.4)], green, width=0.075)
    canvas.line([(x - 0.085, 0.48), (x - 0.085, 0.6), (x, 0.62)], green, width=0.045)
    canvas.line([(x + 0.085, 0.44), (x + 0.085, 0.54), (x, 0.57)], green, width=0.045)


def _city(canvas: Canvas, random: Random) -> None:
    canvas.fade((176, 206, 232), (232, 232, 226))
    left = -0.04
    while left < 1:
        wide, top = random.uniform(0.14, 0.22), random.uniform(0.08, 0.42)
        wall = _wobble(random, random.choice(((112, 122, 142), (144, 128, 126), (92, 108, 130))))
        canvas.box(left, top, left + wide, 0.84, wall)
        for row in range(4):
            for column in (0.3, 0.7):
                x, y = left + wide * column, top + 0.06 + row * 0.11
                canvas.box(x - 0.02, y, x + 0.02, y + 0.045, (252, 232, 150))
        left += wide + 0.015
    canvas.box(0, 0.82, 1, 1, (84, 86, 96))
    for x in (0.1, 0.45, 0.8):
        canvas.box(x, 0.9, x + 0.16, 0.925, (236, 232, 210))


def _wall(canvas: Canvas, random: Random) -> None:
    canvas.fade((208, 196, 184), (196, 184, 172))
    base = _wobble(random, (176, 82, 62))
    shift = random.random() * 0.12
    for row in range(9):
        top = row * 0.115 - 0.01
        left = -0.25 + shift + (0.125 if row % 2 else 0)
        while left < 1:
            brick = _wobble(random, base, 14)
            canvas.box(left, top, left + 0.225, top + 0.092, brick)
            left += 0.25


def _room(canvas: Canvas, random: Random) -> None:
    paper = random.choice(((242, 222, 186), (214, 226, 206), (232, 210, 220)))
    canvas.fade(paper, darker(paper, 0.05), end=0.74)
    for index in range(8):
        x = index * 0.14
        canvas.box(x, 0, x + 0.05, 0.74, darker(paper, 0.07))
    canvas.box(0, 0.72, 1, 0.75, (250, 246, 238))
    canvas.box(0, 0.75, 1, 1, _wobble(random, (166, 112, 70)))
    x = random.choice((0.16, 0.84))
    canvas.box(x - 0.13, 0.08, x + 0.13, 0.42, (250, 250, 250))
    canvas.box(x - 0.1, 0.11, x + 0.1, 0.39, (150, 208, 246))
    canvas.box(x - 0.013, 0.1, x + 0.013, 0.4, (250, 250, 250))
    canvas.box(x - 0.11, 0.237, x + 0.11, 0.263, (250, 250, 250))


def _mountains(canvas: Canvas, random: Random) -> None:
    canvas.fade((150, 186, 226), (236, 236, 240))
    for x in (random.uniform(0.05, 0.25), random.uniform(0.72, 0.95), random.uniform(0.4, 0.6)):
        top, half = random.uniform(0.08, 0.22), random.uniform(0.3, 0.4)
        slope = half / (0.82 - top)
        canvas.shape(
            [(x - half, 0.82), (x, top), (x + half, 0.82)], _wobble(random, (98, 100, 124))
        )
        cap = slope * 0.16
        canvas.shape([(x - cap, top + 0.16), (x, top), (x + cap, top + 0.16)], (250, 252, 255))
    _hill(canvas, random, 0.8, 0.03, (98, 126, 88))


def _garden(canvas: Canvas, random: Random) -> None:
    canvas.fade((190, 230, 160), (96, 170, 84))
    petals = ((250, 90, 110), (255, 206, 70), (250, 250, 250), (190, 110, 220), (255, 150, 60))
    for index in range(20):
        x = (index % 5) * 0.235 + random.uniform(-0.05, 0.09)
        y = (index // 5) * 0.28 + random.uniform(0.0, 0.12)
        colour = random.choice(petals)
        for dx, dy in ((-0.036, 0), (0.036, 0), (0, -0.036), (0, 0.036)):
            canvas.disc((x + dx, y + dy), 0.034, colour)
        canvas.disc((x, y), 0.026, (120, 80, 40) if colour == petals[1] else (255, 214, 80))


def _sunset(canvas: Canvas, random: Random) -> None:
    canvas.fade((112, 58, 130), (252, 112, 74), end=0.42)
    canvas.fade((252, 112, 74), (255, 206, 104), start=0.42, end=0.72)
    canvas.disc((random.choice((0.16, 0.84)), 0.66), 0.14, (255, 240, 170))
    canvas.box(0, 0.7, 1, 1, _wobble(random, (92, 52, 104)))
    for _ in range(6):
        x, y = random.random(), random.uniform(0.74, 0.97)
        canvas.box(x - 0.08, y, x + 0.08, y + 0.018, (246, 150, 100))


def _stage(canvas: Canvas, random: Random) -> None:
    canvas.fade((56, 20, 38), (92, 30, 48), end=0.78)
    canvas.shape([(0.5, -0.1), (0.08, 0.82), (0.92, 0.82)], (150, 84, 86))
    canvas.shape([(0.5, -0.1), (0.26, 0.82), (0.74, 0.82)], (196, 136, 116))
    canvas.box(0, 0.78, 1, 1, _wobble(random, (172, 112, 62)))
    canvas.oval((0.5, 0.88), (0.4, 0.08), (236, 194, 120))
    for x in (0.0, 0.07, 0.14):
        for side in (x, 1 - x):
            canvas.shape(
                [(side - 0.045, 0), (side + 0.045, 0), (side + 0.04, 0.82), (side - 0.04, 0.82)],
                (186, 28, 44) if x != 0.07 else (146, 18, 36),
            )


_DRAWINGS: Mapping[str, Callable[[Canvas, Random], None]] = {
    "sky": _sky,
    "meadow": _meadow,
    "beach": _beach,
    "sea": _sea,
    "night": _night,
    "space": _space,
    "snow": _snow,
    "forest": _forest,
    "desert": _desert,
    "city": _city,
    "wall": _wall,
    "room": _room,
    "mountains": _mountains,
    "garden": _garden,
    "sunset": _sunset,
    "stage": _stage,
}
