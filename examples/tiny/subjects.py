"""What can be in a picture: creatures and things, as frozen attributes.

A creature is put together from parts, so that a model which has seen very many of them knows the
parts and no individual. `is_held_out` names the combinations that are never drawn for training;
`MASCOT` and `UNSEEN` are the individuals that fine-tuning is measured on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from random import Random

from examples.tiny.canvas import Colour

COLOURS: Mapping[str, Colour] = {
    "red": (222, 58, 52),
    "orange": (245, 138, 36),
    "yellow": (250, 207, 52),
    "green": (70, 170, 78),
    "teal": (38, 184, 172),
    "blue": (58, 108, 222),
    "purple": (138, 78, 202),
    "pink": (248, 128, 184),
    "brown": (146, 92, 54),
    "white": (246, 243, 236),
    "gray": (140, 146, 156),
    "black": (58, 54, 66),
}
BODIES = ("round", "tall", "wide", "pear-shaped", "bell-shaped", "square", "pointy", "fluffy")
MARKINGS = ("none", "belly", "spots", "stripes")
EYES = (1, 2, 3)
CRESTS = ("none", "round ears", "pointed ears", "long ears", "horns", "antennae")
HATS = ("none", "party hat", "top hat", "crown", "beanie")
MOUTHS = ("smile", "grin", "fangs", "open")
THINGS = (
    "balloon",
    "fish",
    "house",
    "rocket",
    "mushroom",
    "flower",
    "boat",
    "star",
    "heart",
    "tree",
    "car",
    "cup",
    "cake",
    "umbrella",
)


@dataclass(frozen=True, slots=True)
class Creature:
    """One individual, told by its parts. Hats sit on heads without ears, horns or antennae too."""

    body: str
    colour: str
    marking: str
    marking_colour: str
    eyes: int
    crest: str
    accent: str
    wings: bool
    tail: bool
    hat: str
    hat_colour: str
    mouth: str


@dataclass(frozen=True, slots=True)
class Thing:
    """An object in two colours."""

    kind: str
    colour: str
    accent: str


Subject = Creature | Thing


def random_creature(random: Random) -> Creature:
    """Any creature at all, held out or not."""
    colour = random.choice(tuple(COLOURS))
    others = [name for name in COLOURS if name != colour]
    marking = random.choices(MARKINGS, (3, 4, 2, 2))[0]
    hat = random.choices(HATS, (8, 1, 1, 1, 1))[0]
    return Creature(
        body=random.choice(BODIES),
        colour=colour,
        marking=marking,
        marking_colour=random.choice(others) if marking != "none" else colour,
        eyes=random.choices(EYES, (3, 6, 2))[0],
        crest=random.choice(CRESTS),
        accent=random.choice(others),
        wings=random.random() < 0.3,
        tail=random.random() < 0.35,
        hat=hat,
        hat_colour=random.choice(others) if hat != "none" else colour,
        mouth=random.choice(MOUTHS),
    )


def random_thing(random: Random) -> Thing:
    """Any object."""
    colour, accent = random.sample(tuple(COLOURS), 2)
    return Thing(random.choice(THINGS), colour, accent)


MASCOT = Creature(
    body="pear-shaped",
    colour="teal",
    marking="belly",
    marking_colour="yellow",
    eyes=2,
    crest="antennae",
    accent="orange",
    wings=True,
    tail=False,
    hat="none",
    hat_colour="teal",
    mouth="fangs",
)


@cache
def unseen(count: int = 20) -> tuple[Creature, ...]:
    """The individuals for retrieval: no two, and none with the mascot, share a signature."""
    random = Random("unseen subjects")
    chosen: list[Creature] = []
    taken = {signature(MASCOT)}
    while len(chosen) < count:
        creature = random_creature(random)
        if signature(creature) not in taken and creature.marking != "none":
            taken.add(signature(creature))
            chosen.append(creature)
    return tuple(chosen)


def signature(creature: Creature) -> tuple[str, str, str]:
    """The three parts that make an individual recognisable at a glance."""
    return creature.body, creature.colour, creature.crest


@cache
def held_out_signatures() -> frozenset[tuple[str, str, str]]:
    """Signatures that no training picture shows."""
    return frozenset(signature(creature) for creature in (MASCOT, *unseen()))


def is_held_out(creature: Creature) -> bool:
    """Whether the creature shares body, colour and crest with one kept for evaluation."""
    return signature(creature) in held_out_signatures()


def evaluated_subjects() -> dict[str, Creature]:
    """The mascot and the unseen subjects, by name."""
    return {"mascot": MASCOT} | {f"unseen-{i:02d}": each for i, each in enumerate(unseen(), 1)}
