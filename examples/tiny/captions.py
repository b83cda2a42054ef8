"""Say in words what a scene shows.

Captions mention some of a creature's parts, all of them or none, so that prompts of any detail
work later. A few training creatures carry made-up names, always the same creature for one name:
the text encoder so learns that a word it has no meaning for can stand for an individual, which is
what a trigger word needs. Names of evaluated subjects never occur.
"""

from functools import cache
from random import Random

from examples.tiny.places import PLACES
from examples.tiny.scenes import Scene
from examples.tiny.subjects import Creature, Subject, Thing, is_held_out, random_creature

TRIGGER_WORD = "zorp"
"""The word that stands for the evaluated subject when it is fine-tuned."""

_OPENINGS = ("a photo of", "a picture of", "a drawing of", "")
_NUMBERS = {1: "one eye", 2: "two eyes", 3: "three eyes"}


def caption(scene: Scene, *, random: Random, name: str | None = None) -> str:
    """A sentence about `scene`; `name` stands in for the creature's parts when it is given."""
    if name is not None:
        subject = f"{name} creature"
    elif isinstance(scene.subject, Creature):
        subject = creature_words(scene.subject, random=random)
    else:
        subject = thing_words(scene.subject, random=random)
    where = place_words(scene.place, plain_colour=scene.plain_colour)
    style = random.random()
    if style < 0.08:
        where = ""
    if 0.08 <= style < 0.15:
        return f"{where}, {subject}"
    opening = random.choices(_OPENINGS, (6, 2, 1, 3))[0]
    return " ".join(part for part in (opening, subject, where) if part)


def place_words(place: str, *, plain_colour: str = "white") -> str:
    """The place with its preposition, as captions and prompts say it."""
    return PLACES[place].format(colour=plain_colour)


def creature_words(creature: Creature, *, random: Random) -> str:
    """The creature told by all, some or none of its parts."""
    detail = random.choice((0.0, 0.45, 0.75, 1.0))

    def told() -> bool:
        return random.random() < detail

    adjectives = [word for word in (creature.body, creature.colour) if told()]
    words = " ".join([_article((*adjectives, "creature")[0]), *adjectives, "creature"])
    parts = [part for part in creature_parts(creature) if told()]
    return f"{words} with {_listed(parts)}" if parts else words


def creature_parts(creature: Creature) -> list[str]:
    """Every part that a caption may name, in the order in which it would."""
    parts: list[str] = []
    if creature.marking == "belly":
        parts.append(f"{_article(creature.marking_colour)} {creature.marking_colour} belly")
    elif creature.marking != "none":
        parts.append(f"{creature.marking_colour} {creature.marking}")
    if creature.crest != "none":
        coloured = creature.crest in ("horns", "antennae")
        parts.append(f"{creature.accent} {creature.crest}" if coloured else creature.crest)
    parts.append(_NUMBERS[creature.eyes])
    if creature.wings:
        parts.append(f"{creature.accent} wings")
    if creature.tail:
        parts.append("a tail")
    if creature.hat != "none":
        parts.append(f"{_article(creature.hat_colour)} {creature.hat_colour} {creature.hat}")
    if creature.mouth != "smile":
        parts.append({"grin": "a grin", "fangs": "fangs", "open": "an open mouth"}[creature.mouth])
    parts.append(f"{creature.accent} feet")
    return parts


def thing_words(thing: Thing, *, random: Random) -> str:
    """The object with both, one or none of its colours."""
    style = random.random()
    if style < 0.2:
        return f"{_article(thing.kind)} {thing.kind}"
    words = f"{_article(thing.colour)} {thing.colour} {thing.kind}"
    return words if style < 0.6 else f"{words} with {thing.accent}"


@cache
def names(count: int = 300) -> tuple[str, ...]:
    """Made-up words for training's named creatures; the trigger word is not among them."""
    random = Random("names")
    found: list[str] = []
    while len(found) < count:
        word = "".join(
            random.choice("bcdfghjklmnpqrstvwxyz") + random.choice("aeiou")
            for _ in range(random.choice((1, 2, 2)))
        ) + random.choice("bdfgklmnprstxz")
        if word not in found and word != TRIGGER_WORD and word not in _WORDS:
            found.append(word)
    return tuple(found)


@cache
def named(name: str) -> Subject:
    """The one creature that carries `name`; never one that is held out."""
    random = Random(f"creature {name}")
    creature = random_creature(random)
    while is_held_out(creature):
        creature = random_creature(random)
    return creature


_WORDS = frozenset({"cat", "car", "cup", "red", "hat", "top", "sun", "sea", "pot", "bat", "rat"})


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
