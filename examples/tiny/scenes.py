"""Scenes: a subject in a place, drawn from data that a seed decides."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from PIL import Image

from examples.tiny.canvas import Canvas, Frame
from examples.tiny.creatures import Pose, draw_creature
from examples.tiny.places import PLACES, PLAIN_COLOURS, draw_place
from examples.tiny.subjects import (
    Creature,
    Subject,
    is_held_out,
    random_creature,
    random_thing,
)
from examples.tiny.things import draw_thing

PIXELS = 64
PHOTO_PIXELS = 512
CREATURE_SHARE = 0.75
PHOTO_PLACES = (
    "meadow",
    "beach",
    "night",
    "snow",
    "city",
    "room",
    "desert",
    "garden",
    "wall",
    "plain",
)
"""Where instance images are taken."""
NEW_PLACES = ("sky", "sea", "space", "forest", "mountains", "sunset", "stage")
"""Where no instance image is taken: what prompts ask for afterwards."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that decides one picture, down to the last pixel.

    Attributes:
        subject: Who or what is in it.
        place: A key of `PLACES`.
        plain_colour: The colour of the place `plain`.
        frame: Where the subject stands and how large it is.
        pose: How a creature holds itself.
        details: Decides the place's clouds, stars, bricks.
    """

    subject: Subject
    place: str
    plain_colour: str
    frame: Frame
    pose: Pose
    details: int


def random_scene(random: Random, *, subject: Subject, place: str | None = None) -> Scene:
    """`subject` somewhere, in some pose; in `place` if that is given."""
    scale = random.uniform(0.23, 0.29)
    height = 0.56 if isinstance(subject, Creature) else 0.5
    return Scene(
        subject=subject,
        place=random.choice(tuple(PLACES)) if place is None else place,
        plain_colour=random.choice(PLAIN_COLOURS),
        frame=Frame(
            x=random.uniform(0.42, 0.58),
            y=height + random.uniform(-0.04, 0.06),
            scale=scale,
            tilt=random.gauss(0.0, 0.09),
            mirrored=random.random() < 0.5,
        ),
        pose=Pose(random.uniform(-1, 1), random.uniform(-0.7, 0.7), random.random()),
        details=random.getrandbits(32),
    )


def training_subject(random: Random) -> Subject:
    """A creature or a thing; never one that is held out for evaluation."""
    if random.random() >= CREATURE_SHARE:
        return random_thing(random)
    creature = random_creature(random)
    while is_held_out(creature):
        creature = random_creature(random)
    return creature


def render(scene: Scene, *, pixels: int = PIXELS) -> Image.Image:
    """The picture, `pixels` wide and high, RGB, anti-aliased; the same for the same scene."""
    canvas = Canvas(pixels)
    random = Random(scene.details)
    draw_place(canvas, scene.place, plain_colour=scene.plain_colour, random=random)
    own = canvas.in_frame(scene.frame)
    if isinstance(scene.subject, Creature):
        draw_creature(own, scene.subject, scene.pose)
    else:
        draw_thing(own, scene.subject)
    return canvas.finished()


def scenes_of(subject: Subject, *, places: Sequence[str], seed: int) -> list[Scene]:
    """`subject` once in each of `places`, each time in another pose and size."""
    random = Random(f"{seed} {subject}")
    return [random_scene(random, subject=subject, place=place) for place in places]


def photos_of(subject: Subject, *, seed: int = 1) -> list[Scene]:
    """The ten instance images of `subject`, one in each of `PHOTO_PLACES`."""
    return scenes_of(subject, places=PHOTO_PLACES, seed=seed)
