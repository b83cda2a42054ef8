"""The study behind the thresholds: what must pass passes, what was spoiled is found.

Every number in `Thresholds` stands between two rows of this file.
"""

from __future__ import annotations

import pytest
from PIL import Image

from atelier.photos.decoding import Refusal
from atelier.photos.judging import THRESHOLDS, judge
from atelier.photos.likeness import difference, likeness
from atelier.photos.measures import measure
from atelier.photos.report import Note, Reason
from examples.tiny.scenes import photos_of, render
from examples.tiny.subjects import evaluated_subjects
from tests.photos.pictures import (
    blurred,
    cropped,
    drawn_world,
    flat_subjects,
    hazy,
    jpeg,
    lit,
    mascot,
    moved,
)


def world() -> list[Image.Image]:
    return [*mascot(), *(photo for photos in drawn_world().values() for photo in photos)]


def reason(image: Image.Image) -> Reason | None:
    found = judge(measure(image))
    return found.reason if isinstance(found, Refusal) else None


def notes(image: Image.Image) -> set[str]:
    found = judge(measure(image))
    assert not isinstance(found, Refusal), found
    return set(found)


def same(one: Image.Image, other: Image.Image) -> bool:
    return THRESHOLDS.same(difference(likeness(one), likeness(other)))


# what must pass


def test_no_photo_of_the_mascot_or_of_the_drawn_world_is_refused_or_noted():
    for image in world():
        assert judge(measure(image)) == {}


@pytest.mark.parametrize("pixels", [64, 96, 128, 512, 1024])
def test_sharp_photos_of_any_size_pass_without_a_note(pixels):
    for scene in photos_of(evaluated_subjects()["mascot"])[:5]:
        assert judge(measure(render(scene, pixels=pixels))) == {}


@pytest.mark.parametrize("quality", [90, 50, 20])
def test_compression_alone_refuses_nothing(quality):
    assert {reason(jpeg(image, quality)) for image in world()} == {None}


@pytest.mark.parametrize("name", flat_subjects())
def test_what_is_flat_on_purpose_passes(name):
    # A page of fine print is white; a note may say so.
    assert notes(flat_subjects()[name]) <= {Note.BRIGHT}


def test_a_sharp_subject_before_a_blurred_background_passes():
    for image in mascot():
        photo = blurred(image, 0.05)
        photo.paste(image.crop((170, 170, 340, 340)), (170, 170))
        assert judge(measure(photo)) == {}


def test_noise_and_texture_pass():
    assert reason(Image.effect_noise((512, 512), 60).convert("RGB")) is None


# blur


@pytest.mark.parametrize("share", [0.02, 0.03, 0.05])
def test_a_blur_of_two_percent_of_the_picture_is_refused(share):
    assert {reason(blurred(image, share)) for image in world()} == {Reason.BLURRED}


@pytest.mark.parametrize("share", [0.001, 0.002, 0.003])
def test_a_slight_blur_passes_without_a_note(share):
    for image in world():
        assert judge(measure(blurred(image, share))) == {}


def test_a_blur_of_eight_thousandths_is_noted_and_not_refused():
    spoiled = [blurred(image, 0.008) for image in world()]
    assert {reason(image) for image in spoiled} == {None}
    assert all(Note.SOFT in notes(image) for image in spoiled)


def test_a_preview_blown_up_is_soft():
    for image in mascot():
        preview = image.resize((64, 64)).resize((512, 512), Image.Resampling.BICUBIC)
        assert Note.SOFT in notes(preview)


def test_a_photo_dragged_in_one_direction_is_noted_as_shaken():
    for image in mascot():
        assert Note.SHAKEN in notes(moved(image, 0.05))


def test_a_picture_without_any_edge_is_blurred():
    assert reason(Image.radial_gradient("L").resize((600, 600)).convert("RGB")) is Reason.BLURRED


# light


@pytest.mark.parametrize("factor", [0.15, 0.1, 0.05])
def test_a_seventh_of_the_light_is_too_dark(factor):
    assert {reason(lit(image, factor)) for image in world()} == {Reason.TOO_DARK}


def test_two_fifths_of_the_light_is_noted():
    assert all(notes(lit(image, 0.4)) == {Note.DARK} for image in world())


def test_a_picture_that_is_white_all_over_is_burnt_out():
    for image in world():
        assert reason(lit(hazy(image, 0.85), 1.1)) in {Reason.TOO_BRIGHT, Reason.TOO_FLAT}


def test_a_veil_over_three_quarters_of_the_contrast_is_noted_and_nineteen_twentieths_refused():
    for image in world():
        assert Note.PALE in notes(hazy(image, 0.75))
        assert reason(hazy(image, 0.95)) is Reason.TOO_FLAT


@pytest.mark.parametrize("colour", ["black", "white", "grey", "red"])
def test_a_picture_of_one_colour_shows_nothing(colour):
    assert reason(Image.new("RGB", (256, 256), colour)) is not None


# near-duplicates

COPIES = {
    "JPEG at quality 90": lambda image: jpeg(image, 90),
    "JPEG at quality 30": lambda image: jpeg(image, 30),
    "JPEG at quality 10": lambda image: jpeg(image, 10),
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "100 pixels wide at quality 50": lambda image: jpeg(image.resize((100, 100)), 50),
    "6 tenths of the light": lambda image: lit(image, 0.6),
    "a tenth more light": lambda image: lit(image, 1.1),
    "less contrast": lambda image: hazy(image, 0.3),
    "without a border of half a percent": lambda image: cropped(image, 0.01),
    "a little blurred": lambda image: blurred(image, 0.004),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "mirrored and compressed": lambda image: jpeg(
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), 40
    ),
}


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_is_the_same_photo(name):
    for image in world():
        assert same(image, COPIES[name](image))


def test_photos_of_one_subject_in_different_places_are_different():
    for photos in (mascot(), *drawn_world().values()):
        for index, image in enumerate(photos):
            assert not any(same(image, other) for other in photos[:index])


def test_a_subject_that_moved_before_the_same_background_is_another_photo():
    for image in mascot():
        burst = image.copy()
        burst.paste(image.crop((150, 100, 360, 420)), (180, 110))
        assert not same(image, burst)


def test_a_photo_framed_anew_is_another_photo():
    for image in mascot():
        assert not same(image, cropped(image, 0.2))
        assert not same(image, image.crop((0, 0, 512, 400)))
