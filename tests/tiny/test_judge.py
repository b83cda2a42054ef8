"""The judge recognises drawings that it never saw and tells a copy from another scene."""

import io
import json

import pytest
import torch
from PIL import Image, ImageEnhance

from examples.tiny.dataset import ATTRIBUTES, render_chunk
from examples.tiny.fit_judge import fit_judge
from examples.tiny.fitting import Budget
from examples.tiny.judge import COPY_DISTANCE, WEIGHTS, Judge, JudgeNetwork, copies
from examples.tiny.places import PLACES
from examples.tiny.recipe import galleries, instance_images
from examples.tiny.scenes import NEW_PLACES, PHOTO_PLACES, render, scenes_of
from examples.tiny.subjects import MASCOT, evaluated_subjects


@pytest.fixture(scope="module")
def judge():
    torch.set_num_threads(1)
    return Judge.load()


@pytest.fixture(scope="module")
def photos():
    return instance_images(MASCOT)


def test_every_unseen_subject_is_recognised_among_all(judge):
    subjects = evaluated_subjects()
    pictures = [
        render(scenes_of(subject, places=["space"], seed=3)[0]) for subject in subjects.values()
    ]

    assert judge.retrieve(pictures, galleries()) == list(subjects)


def test_every_place_is_recognised(judge):
    pictures = [render(scene) for scene in scenes_of(MASCOT, places=tuple(PLACES), seed=3)]

    assert judge.background_of(pictures) == list(PLACES)


def test_likeness_is_the_share_of_a_subjects_parts_that_are_seen(judge):
    subjects = evaluated_subjects()
    picture = render(scenes_of(MASCOT, places=["sky"], seed=3)[0])

    assert judge.likeness([picture], MASCOT) == [1.0]
    assert judge.likeness([picture], subjects["unseen-04"])[0] < 0.6


def test_the_judge_takes_pictures_of_any_size(judge):
    scene = scenes_of(MASCOT, places=["sunset"], seed=3)[0]

    assert judge.background_of([render(scene, pixels=200)]) == ["sunset"]


def reencoded(image):
    body = io.BytesIO()
    image.save(body, "JPEG", quality=40)
    return Image.open(body).convert("RGB")


@pytest.mark.parametrize(
    "change",
    [
        reencoded,
        lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        lambda image: ImageEnhance.Brightness(image).enhance(1.08),
        lambda image: image.resize((200, 200), Image.Resampling.BICUBIC),
    ],
    ids=["re-encoded", "mirrored", "brighter", "enlarged"],
)
def test_a_photo_hardly_changed_is_a_copy(photos, change):
    nearest = copies([change(photo) for photo in photos], photos)

    assert all(each.is_copy for each in nearest)
    assert [each.index for each in nearest] == list(range(len(photos)))


def test_the_same_subject_elsewhere_is_no_copy(photos):
    pictures = [render(scene) for scene in scenes_of(MASCOT, places=NEW_PLACES, seed=4)]

    assert min(each.distance for each in copies(pictures, photos)) > COPY_DISTANCE


def test_the_same_subject_posing_anew_in_the_same_places_is_no_copy(photos):
    pictures = [render(scene) for scene in scenes_of(MASCOT, places=PHOTO_PLACES, seed=4)]

    assert not any(each.is_copy for each in copies(pictures, photos))


def test_the_committed_judge_is_accurate_in_every_attribute():
    accuracy = json.loads((WEIGHTS.parent / "accuracy.json").read_text())

    assert set(accuracy) == set(ATTRIBUTES)
    assert min(accuracy.values()) > 0.99
    assert WEIGHTS.stat().st_size < 2_000_000


def test_the_judges_training_program_learns_from_drawings():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    chunk = render_chunk(0, 64)
    lines = []

    accuracy = fit_judge(
        JudgeNetwork(),
        torch.from_numpy(chunk.images),
        torch.from_numpy(chunk.labels).long(),
        budget=Budget(steps=2, seconds=60, now=lambda: 0.0, started=0.0),
        batch=8,
        report=lines.append,
    )

    assert set(accuracy) == set(ATTRIBUTES)
    assert lines
