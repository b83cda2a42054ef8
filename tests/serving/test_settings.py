"""The environment becomes settings, or says what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from atelier.contracts.base_models import BASE_MODELS
from atelier.contracts.errors import InvalidRequest
from atelier.contracts.settings import Targets
from serving_image.settings import MEBIBYTE, ServeSettings, from_environment


def test_an_empty_environment_is_the_default_settings() -> None:
    assert from_environment({}) == ServeSettings()


def test_every_variable_is_read() -> None:
    found = from_environment(
        {
            "ATELIER_BASE": "sd15",
            "ATELIER_BASE_MODELS": "/models",
            "ATELIER_OBJECTS": "s3://bucket",
            "SAGEMAKER_BIND_TO_PORT": "9000",
            "ATELIER_SERVE_HOST": "0.0.0.0",  # noqa: S104 - what an image sets
            "ATELIER_SERVE_DEVICE": "cuda",
            "ATELIER_SERVE_THREADS": "4",
            "ATELIER_SERVE_SLOTS": "32",
            "ATELIER_SERVE_RANK": "64",
            "ATELIER_SERVE_TARGETS": "attention+feed-forward",
            "ATELIER_SERVE_ROWS": "32",
            "ATELIER_SERVE_QUEUE_ROWS": "128",
            "ATELIER_SERVE_HOST_MEBIBYTES": "512",
        }
    )
    assert found == ServeSettings(
        base="sd15",
        base_models=Path("/models"),
        host="0.0.0.0",  # noqa: S104 - as above
        port=9000,
        device="cuda",
        threads=4,
        slots=32,
        rank=64,
        targets=Targets.ATTENTION_FEED_FORWARD,
        most_rows=32,
        queue_rows=128,
        host_bytes=512 * MEBIBYTE,
        artifacts="s3://bucket/artifacts/",
    )
    assert found.base_folder == Path("/models/sd15")


@pytest.mark.parametrize("base", sorted(BASE_MODELS))
def test_a_bank_takes_whatever_the_presets_of_its_base_train(base: str) -> None:
    found = from_environment({"ATELIER_BASE": base})
    widest_last = list(Targets)
    for preset in BASE_MODELS[base].presets.values():
        assert preset.rank <= found.rank
        assert widest_last.index(preset.targets) <= widest_last.index(found.targets)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ATELIER_SERVE_SLOTS", "0"),
        ("ATELIER_SERVE_SLOTS", "-1"),
        ("ATELIER_SERVE_SLOTS", "many"),
        ("ATELIER_SERVE_ROWS", "1e3"),
        ("SAGEMAKER_BIND_TO_PORT", "70000"),
        ("ATELIER_SERVE_RANK", "999999999999"),
        ("ATELIER_SERVE_TARGETS", "everything"),
    ],
)
def test_a_variable_that_does_not_read_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError):
        from_environment({name: value})


def test_an_unknown_base_model_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        from_environment({"ATELIER_BASE": "none"})
