"""What a person would tune: every range has its ends, every forbidden pair is refused."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from atelier.contracts import settings
from atelier.contracts.base_models import (
    BASE_MODELS,
    DEFAULT_BASE,
    DEFAULT_PRESET,
    HARDWARE,
    base_model,
    folder_digest,
    preset,
)
from atelier.contracts.errors import InvalidRequest
from atelier.contracts.settings import Hardware, Hyperparameters, PresetName

GOOD = Hyperparameters(steps=100, rank=8, learning_rate=1e-4, resolution=512)
MACHINE = Hardware(("ml.g5.xlarge",))

RANGES = {
    "steps": (1, 20_000, 0, 20_001),
    "rank": (1, 128, 0, 129),
    "alpha": (0.001, 1024.0, 0.0009, 1025.0),
    "learning_rate": (1e-7, 0.1, 9e-8, 0.11),
    "warmup_steps": (0, 20_000, -1, 20_001),
    "batch_size": (1, 64, 0, 65),
    "resolution": (32, 2048, 24, 2056),
    "weight_decay": (0.0, 1.0, -0.1, 1.1),
    "max_grad_norm": (0.001, 1000.0, 0.0, 1001.0),
    "min_snr_gamma": (0.0, 100.0, -1.0, 101.0),
    "noise_offset": (0.0, 1.0, -0.1, 1.1),
    "prior_weight": (0.0, 10.0, -0.1, 10.1),
    "preview_every_steps": (0, 20_000, -1, 20_001),
    "checkpoint_every_steps": (0, 20_000, -1, 20_001),
}


@pytest.mark.parametrize(("field", "limits"), RANGES.items(), ids=RANGES)
def test_a_hyperparameter_has_its_range_and_says_it_when_it_is_left(field, limits):
    least, most, below, above = limits

    for value in (least, most):
        assert getattr(replace(GOOD, **{field: value}), field) == value
    for value in (below, above):
        with pytest.raises(ValueError, match=f"{field} .* are allowed"):
            replace(GOOD, **{field: value})


def test_every_number_of_the_hyperparameters_has_a_range():
    numbers = {f.name for f in fields(Hyperparameters) if f.type in {"int", "float"}}

    assert numbers == set(RANGES)


@pytest.mark.parametrize("field", ["learning_rate", "weight_decay", "alpha"])
def test_a_hyperparameter_that_is_no_number_is_refused(field):
    with pytest.raises(ValueError, match=field):
        replace(GOOD, **{field: float("nan")})


def test_a_resolution_is_a_multiple_of_8():
    with pytest.raises(ValueError, match="multiple of 8"):
        replace(GOOD, resolution=514)


def test_alpha_is_the_rank_unless_it_is_given_and_scale_is_alpha_by_rank():
    assert (GOOD.alpha, GOOD.scale) == (8.0, 1.0)
    assert replace(GOOD, alpha=4.0).scale == 0.5


# hardware


@pytest.mark.parametrize(
    ("field", "limits"),
    {
        "volume_gb": (1, 1024, 0, 1025),
        "max_runtime_seconds": (60, 432_000, 59, 432_001),
        "keep_alive_seconds": (0, 3600, -1, 3601),
    }.items(),
)
def test_a_setting_of_the_hardware_has_its_range(field, limits):
    least, most, below, above = limits

    for value in (least, most):
        replace(MACHINE, **{field: value})
    for value in (below, above):
        with pytest.raises(ValueError, match=field):
            replace(MACHINE, **{field: value})


def test_one_to_five_instance_types_are_preferred():
    for count in (0, 6):
        with pytest.raises(ValueError, match="1 to 5"):
            Hardware(("ml.g5.xlarge",) * count)


def test_spot_excludes_a_warm_pool():
    with pytest.raises(ValueError, match="exclude each other"):
        replace(MACHINE, spot=True, keep_alive_seconds=1)


def test_spot_excludes_instance_preferences():
    with pytest.raises(ValueError, match="spot takes one instance type"):
        Hardware(("ml.g5.xlarge", "ml.g5.2xlarge"), spot=True)


# presets and base models


@pytest.mark.parametrize("base", BASE_MODELS)
@pytest.mark.parametrize("name", PresetName, ids=str)
def test_every_base_model_has_every_preset(base, name):
    found = preset(base, name)

    assert found.name is name
    assert found.hyperparameters.resolution == base_model(base).resolution
    assert found.hardware == HARDWARE[name]
    assert found.hyperparameters.warmup_steps < found.hyperparameters.steps


@pytest.mark.parametrize("base", BASE_MODELS)
def test_presets_go_from_seconds_to_best(base):
    steps = [preset(base, name).hyperparameters.steps for name in PresetName]

    assert steps == sorted(set(steps))


def test_defaults_are_in_the_registry():
    assert preset(DEFAULT_BASE, DEFAULT_PRESET)
    assert all(entry.id == name for name, entry in BASE_MODELS.items())


def test_an_unknown_base_model_is_refused_with_those_that_there_are():
    with pytest.raises(InvalidRequest) as caught:
        base_model("dall-e" * 50)

    assert caught.value.facts["where"] == "base"
    assert caught.value.facts["allowed"] == sorted(BASE_MODELS)


def test_settings_say_their_units():
    whole = {field.name for kind in (Hyperparameters, Hardware) for field in fields(kind)}

    assert {"max_runtime_seconds", "keep_alive_seconds", "volume_gb"} <= whole
    assert settings.__doc__


# the digest of a base model


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet/weights.safetensors").write_bytes(b"weights")
    (tmp_path / "model_index.json").write_bytes(b"{}")
    return tmp_path


def test_a_base_models_digest_is_of_names_and_contents(folder):
    before = folder_digest(folder)
    assert folder_digest(folder) == before
    assert len(before) == 64

    (folder / "unet/weights.safetensors").write_bytes(b"other")
    changed = folder_digest(folder)
    (folder / "unet/weights.safetensors").rename(folder / "weights.safetensors")

    assert len({before, changed, folder_digest(folder)}) == 3


def test_a_base_models_digest_leaves_out_what_is_for_people(folder):
    before = folder_digest(folder)

    (folder / "README.md").write_bytes(b"card")
    (folder / ".cache").mkdir()
    (folder / ".cache/x").write_bytes(b"x")

    assert folder_digest(folder) == before


def test_a_base_model_of_the_repository_has_the_digest_that_the_registry_says() -> None:
    root = Path(__file__).resolve().parents[2]
    here = [base for base in BASE_MODELS.values() if (root / base.source).is_dir()]
    assert [base.id for base in here] == ["tiny"]
    for base in here:
        assert folder_digest(root / base.source) == base.digest, base.id
