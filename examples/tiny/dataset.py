"""Training examples rendered ahead on all cores into plain arrays on disk.

    python -m examples.tiny.dataset --to build/tiny/data --count 1000000 --workers 16

An example is decided by its index alone, so that any part of the data can be drawn again.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from examples.tiny.captions import caption, named, names
from examples.tiny.places import PLACES
from examples.tiny.scenes import Scene, random_scene, render, training_subject
from examples.tiny.subjects import (
    BODIES,
    COLOURS,
    CRESTS,
    EYES,
    HATS,
    MARKINGS,
    MOUTHS,
    THINGS,
    Creature,
    Subject,
)

NAMED_SHARE = 0.1
CHUNK = 1000

ATTRIBUTES: dict[str, tuple[str | int | bool, ...]] = {
    "kind": ("creature", *THINGS),
    "place": tuple(PLACES),
    "colour": tuple(COLOURS),
    "accent": tuple(COLOURS),
    "body": BODIES,
    "marking": MARKINGS,
    "marking_colour": tuple(COLOURS),
    "eyes": EYES,
    "crest": CRESTS,
    "wings": (False, True),
    "tail": (False, True),
    "hat": HATS,
    "hat_colour": tuple(COLOURS),
    "mouth": MOUTHS,
}
"""What the judge learns to see: name → the values that it tells apart."""

UNSEEABLE = -1
"""The label of an attribute that the picture does not show."""


@dataclass(frozen=True, slots=True)
class Example:
    """A scene with what is said about it."""

    scene: Scene
    caption: str


def example(index: int) -> Example:
    """Training example number `index`."""
    random = Random(f"example {index}")
    if random.random() < NAMED_SHARE:
        name = random.choice(names())
        scene = random_scene(random, subject=named(name))
        return Example(scene, caption(scene, random=random, name=name))
    scene = random_scene(random, subject=training_subject(random))
    return Example(scene, caption(scene, random=random))


def labels(scene: Scene) -> list[int]:
    """The scene's value of every one of `ATTRIBUTES`, as its place in the list of values."""
    seen = {"place": scene.place} | seen_parts(scene.subject)
    return [
        values.index(seen[name]) if name in seen else UNSEEABLE
        for name, values in ATTRIBUTES.items()
    ]


def seen_parts(subject: Subject) -> dict[str, str | int | bool]:
    """What a picture of `subject` shows of it, by the names of `ATTRIBUTES`."""
    if not isinstance(subject, Creature):
        return {"kind": subject.kind, "colour": subject.colour, "accent": subject.accent}
    seen: dict[str, str | int | bool] = {"kind": "creature"} | asdict(subject)
    if subject.marking == "none":
        del seen["marking_colour"]
    if subject.hat == "none":
        del seen["hat_colour"]
    return seen


@dataclass(frozen=True, slots=True)
class Chunk:
    """Neighbouring examples as arrays: images [n, 64, 64, 3] uint8, labels [n, attributes] int8."""

    first: int
    images: NDArray[np.uint8]
    labels: NDArray[np.int8]
    captions: Sequence[str]


def render_chunk(first: int, count: int = CHUNK) -> Chunk:
    """Examples `first` to `first + count`."""
    examples = [example(index) for index in range(first, first + count)]
    return Chunk(
        first=first,
        images=np.stack([np.asarray(render(each.scene)) for each in examples]),
        labels=np.array([labels(each.scene) for each in examples], dtype=np.int8),
        captions=[each.caption for each in examples],
    )


def _render_to_file(task: tuple[str, int, int]) -> int:
    folder, first, count = task
    chunk = render_chunk(first, count)
    path = Path(folder) / f"{first:09d}.npz"
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez(file, images=chunk.images, labels=chunk.labels, captions=np.array(chunk.captions))
    part.rename(path)
    return first


def render_ahead(folder: Path, *, count: int, workers: int, start: int = 0) -> Iterator[int]:
    """Render examples `start` to `start + count` into chunk files below `folder`.

    Yields each finished chunk's first index.

    Chunks that exist already are kept, so that a run can be resumed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tasks = [
        (str(folder), first, min(CHUNK, start + count - first))
        for first in range(start, start + count, CHUNK)
        if not (folder / f"{first:09d}.npz").exists()
    ]
    if workers <= 1:
        yield from map(_render_to_file, tasks)
        return
    with get_context("spawn").Pool(workers) as pool:
        yield from pool.imap_unordered(_render_to_file, tasks)


def load(folder: Path, *, count: int, start: int = 0) -> Chunk:
    """Examples `start` to `start + count` from `folder`, where they have been rendered."""
    paths = [folder / f"{first:09d}.npz" for first in range(start, start + count, CHUNK)]
    parts = []
    captions: list[str] = []
    all_labels = []
    for path in paths:
        with np.load(path) as arrays:
            parts.append(arrays["images"])
            all_labels.append(arrays["labels"])
            captions.extend(arrays["captions"].tolist())
    return Chunk(start, np.concatenate(parts), np.concatenate(all_labels), captions)


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and render."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--to", type=Path, required=True, help="folder for the chunk files")
    parser.add_argument("--start", type=int, default=0, help="the first example's number")
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args(argv)
    for _ in render_ahead(given.to, start=given.start, count=given.count, workers=given.workers):
        pass


if __name__ == "__main__":
    main()
