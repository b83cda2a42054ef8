"""What the judge says of images drawn by a personal model: the three numbers of the README."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from examples.tiny.judge import Judge, copies
from examples.tiny.scenes import PHOTO_PLACES, render, scenes_of
from examples.tiny.subjects import MASCOT, unseen

SUBJECT = "the mascot"
OTHERS = 20
GALLERY_SEED = 77
"""Galleries are drawings that no training has seen, the mascot's own included."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judge's opinion of some images.

    Attributes:
        images: how many were judged.
        subjects: among how many subjects the right one had to be found.
        retrieval: share of images whose nearest subject is the mascot.
        prompt_following: share of images that show the place that was asked for.
        copies: number of images that are near-duplicates of an instance image.
    """

    images: int
    subjects: int
    retrieval: float
    prompt_following: float
    copies: int


def judge(
    drawn: Mapping[str, Sequence[Image.Image]], instance_images: Sequence[Image.Image]
) -> Verdict:
    """Judge images of the mascot, by the place that each was asked for.

    Args:
        drawn: place (a key of `examples.tiny.places.PLACES`) → images asked for there.
        instance_images: the photos that were trained on.
    """
    images = [image for some in drawn.values() for image in some]
    asked = [place for place, some in drawn.items() for _ in some]
    subjects = {SUBJECT: MASCOT, **{f"unseen {n}": s for n, s in enumerate(unseen(OTHERS), 1)}}
    galleries = {
        name: [
            render(scene) for scene in scenes_of(subject, places=PHOTO_PLACES, seed=GALLERY_SEED)
        ]
        for name, subject in subjects.items()
    }
    opinion = Judge.load()
    found, seen = opinion.retrieve(images, galleries), opinion.background_of(images)
    return Verdict(
        images=len(images),
        subjects=len(subjects),
        retrieval=found.count(SUBJECT) / len(images),
        prompt_following=sum(s == a for s, a in zip(seen, asked, strict=True)) / len(images),
        copies=sum(nearest.is_copy for nearest in copies(images, instance_images)),
    )
