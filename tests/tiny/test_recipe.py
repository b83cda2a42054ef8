"""The recipe's experiment runs end to end and reports what the judge saw."""

import pytest

from examples.tiny.networks import MODEL
from examples.tiny.recipe import Recipe, instance_captions, try_recipe
from examples.tiny.subjects import MASCOT


def test_bare_captions_tell_the_trigger_word_alone():
    assert set(instance_captions(MASCOT, scheme="bare")) == {"a photo of zorp creature"}
    assert "a photo of zorp creature on the beach" in instance_captions(MASCOT, scheme="place")


@pytest.mark.parametrize("prior", [0.0, 1.0])
def test_an_outcome_tells_recognition_places_copies_and_time(tmp_path, prior):
    recipe = Recipe(steps=2, denoising_steps=2, rank=2, prior=prior, class_images=1)

    outcome = try_recipe("mascot", recipe=recipe, seeds=1, model=MODEL, sheets=tmp_path)

    assert 0 <= outcome.retrieval <= 1
    assert 0 <= outcome.following <= 1
    assert outcome.copies == 0
    assert outcome.seconds > 0
    assert (tmp_path / "mascot.png").exists()
