"""The drawn world: the same seed draws the same picture, and evaluated subjects stay unseen."""

from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image

from examples.tiny.captions import TRIGGER_WORD, caption, creature_parts, named, names, place_words
from examples.tiny.dataset import ATTRIBUTES, UNSEEABLE, example, labels, load, render_ahead
from examples.tiny.photos import draw_photos
from examples.tiny.places import PLACES
from examples.tiny.scenes import (
    NEW_PLACES,
    PHOTO_PLACES,
    photos_of,
    random_scene,
    render,
    scenes_of,
)
from examples.tiny.subjects import (
    MASCOT,
    Creature,
    Thing,
    evaluated_subjects,
    held_out_signatures,
    is_held_out,
    signature,
)

MASCOT_FOLDER = Path(__file__).parents[2] / "examples" / "mascot"


def test_a_seed_decides_a_scene_to_the_last_pixel():
    first, again = example(7), example(7)

    assert first == again
    assert render(first.scene).tobytes() == render(again.scene).tobytes()
    assert example(8) != first


def test_a_picture_is_64_pixels_of_rgb_and_larger_on_request():
    scene = example(3).scene

    assert (render(scene).size, render(scene).mode) == ((64, 64), "RGB")
    assert render(scene, pixels=200).size == (200, 200)


def test_a_large_picture_shows_what_the_small_one_shows():
    scene = scenes_of(MASCOT, places=["room"], seed=1)[0]

    reduced = render(scene, pixels=512).resize((64, 64), Image.Resampling.BOX)

    difference = np.asarray(reduced, dtype=float) - np.asarray(render(scene), dtype=float)
    assert np.abs(difference).mean() < 6


@pytest.mark.parametrize("place", PLACES)
def test_a_place_covers_the_whole_picture(place):
    """Nothing of the empty canvas, which is black, shines through: neither space nor night is."""
    scene = scenes_of(MASCOT, places=[place], seed=5)[0]

    pixels = np.asarray(render(scene))

    assert (pixels.sum(axis=2) == 0).sum() == 0


def test_training_never_shows_an_evaluated_subject():
    shown = [example(index).scene.subject for index in range(4000)]

    creatures = [each for each in shown if isinstance(each, Creature)]
    assert len(creatures) > 2500
    assert not held_out_signatures() & {signature(each) for each in creatures}


def test_named_training_creatures_are_neither_held_out_nor_called_by_the_trigger_word():
    assert TRIGGER_WORD not in names()
    assert len(set(names())) == len(names())
    assert not any(is_held_out(named(name)) for name in names())


def test_a_creature_that_shares_body_colour_and_crest_with_an_evaluated_one_is_held_out():
    assert is_held_out(replace(MASCOT, eyes=3, wings=False, hat="crown"))
    assert not is_held_out(replace(MASCOT, colour="red", crest="none", body="square"))


def test_evaluated_subjects_differ_from_each_other_in_what_one_sees_first():
    signatures = [signature(subject) for subject in evaluated_subjects().values()]

    assert len(signatures) == len(set(signatures)) == 21


def test_a_caption_tells_only_what_is_drawn():
    for index in range(600):
        made = example(index)
        subject, place = made.scene.subject, made.scene.place
        where = place_words(place, plain_colour=made.scene.plain_colour)
        others = [place_words(each) for each in PLACES if each not in (place, "plain")]
        assert not any(made.caption.endswith(each) for each in others)
        rest = made.caption.replace(where, "")
        if isinstance(subject, Thing):
            assert subject.kind in rest
        else:
            assert "creature" in rest
            told = rest.partition(" with ")[2].replace(" and ", ", ").strip(" ,")
            parts = creature_parts(subject)
            assert all(part in parts for part in told.split(", ") if part)


def test_captions_name_every_part_sometimes_and_none_sometimes():
    scene = photos_of(MASCOT)[0]

    captions = {caption(scene, random=Random(seed)) for seed in range(300)}

    full = (
        "a pear-shaped teal creature with a yellow belly, orange antennae, two eyes, orange wings"
    )
    assert any(full in each for each in captions)
    assert "a photo of a creature in a meadow" in captions


def test_photos_show_the_subject_in_ten_places_and_leave_the_new_ones_out():
    scenes = photos_of(MASCOT)

    assert [scene.place for scene in scenes] == list(PHOTO_PLACES)
    assert len(set(PHOTO_PLACES)) == 10
    assert set(PHOTO_PLACES) | set(NEW_PLACES) == set(PLACES)
    assert not set(PHOTO_PLACES) & set(NEW_PLACES)
    assert len({scene.frame.scale for scene in scenes}) == 10


def test_the_committed_photos_of_the_mascot_are_what_the_program_draws(tmp_path):
    drawn = draw_photos("mascot", folder=tmp_path)

    assert len(drawn) == 10
    for path in drawn:
        committed = Image.open(MASCOT_FOLDER / path.name)
        assert committed.size == (512, 512)
        difference = np.asarray(committed, dtype=int) - np.asarray(Image.open(path), dtype=int)
        assert np.abs(difference).mean() < 0.5
    captions = MASCOT_FOLDER / "captions.json"
    assert captions.read_text() == (tmp_path / "captions.json").read_text()


def test_labels_say_what_a_scene_shows_and_what_cannot_be_seen():
    scene = scenes_of(MASCOT, places=["beach"], seed=1)[0]

    told = dict(zip(ATTRIBUTES, labels(scene), strict=True))

    assert ATTRIBUTES["place"][told["place"]] == "beach"
    assert ATTRIBUTES["colour"][told["colour"]] == "teal"
    assert ATTRIBUTES["eyes"][told["eyes"]] == 2
    assert told["hat_colour"] == UNSEEABLE
    house = random_scene(Random(1), subject=Thing("house", "red", "blue"))
    assert dict(zip(ATTRIBUTES, labels(house), strict=True))["body"] == UNSEEABLE


def test_rendering_ahead_keeps_what_is_there_and_loads_in_order(tmp_path):
    assert list(render_ahead(tmp_path, count=6, workers=1)) == [0]
    assert list(render_ahead(tmp_path, count=6, workers=1)) == []

    data = load(tmp_path, count=6)

    assert data.images.shape == (6, 64, 64, 3)
    assert list(data.captions) == [example(index).caption for index in range(6)]
    assert np.array_equal(data.images[4], np.asarray(render(example(4).scene)))
