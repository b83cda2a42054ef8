"""The committed base model loads as any pipeline folder does and is steered by prompts."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from safetensors.torch import load_file

from examples.tiny.dataset import render_chunk
from examples.tiny.fit_vae import measure_psnr, normalise_latents
from examples.tiny.fitting import Budget, learning_rate, to_unit
from examples.tiny.judge import Judge
from examples.tiny.networks import MINUTE, MODEL, build_vae, train_tokenizer
from examples.tiny.train import PRESETS, train

MEASURED = Path(MODEL).parent / "measured.json"
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def pipeline():
    torch.set_num_threads(1)
    loaded = StableDiffusionPipeline.from_pretrained(MODEL, dtype=torch.float32)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def test_the_model_fits_into_eight_megabytes_of_finite_half_precision():
    files = [path for path in MODEL.rglob("*") if path.is_file()]

    assert sum(path.stat().st_size for path in files) <= 8 * MEGABYTE
    for path in MODEL.rglob("*.safetensors"):
        for tensor in load_file(path).values():
            assert not tensor.is_floating_point() or tensor.dtype == torch.float16
            assert tensor.isfinite().all()


def test_the_model_folder_tells_nothing_of_the_machine_that_made_it():
    for path in MODEL.rglob("*.json"):
        assert "_name_or_path" not in json.loads(path.read_text())


def test_the_vae_gives_back_drawings_it_has_never_seen(pipeline):
    drawings = torch.from_numpy(render_chunk(9_000_000, 16).images)

    assert measure_psnr(pipeline.vae, drawings) > 29


def test_latents_have_the_scale_that_the_noise_schedule_expects(pipeline):
    drawings = to_unit(torch.from_numpy(render_chunk(9_000_000, 16).images))

    with torch.no_grad():
        latents = pipeline.vae.encode(drawings).latent_dist.mean
    latents *= pipeline.vae.config.scaling_factor

    assert latents.shape == (16, 8, 16, 16)
    assert 0.9 < latents.std() < 1.1


# diffusers' DPM++ converts a tensor in a way that NumPy 2 deprecates.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("scheduler", ["DDIM", "DPM++"])
def test_prompts_decide_who_is_where(pipeline, scheduler):
    given = pipeline.scheduler
    if scheduler == "DPM++":
        pipeline.scheduler = DPMSolverMultistepScheduler.from_config(given.config)

    images = pipeline(
        [
            "a photo of a round red creature with one eye in the snow",
            "a photo of a fluffy blue creature with three eyes in space",
            "a photo of a yellow fish under the sea",
        ],
        num_inference_steps=20,
        guidance_scale=2.5,
        generator=[torch.Generator().manual_seed(seed) for seed in range(3)],
    ).images
    pipeline.scheduler = given

    judge = Judge.load()
    assert judge.background_of(images) == ["snow", "space", "sea"]
    opinions = judge.opinions(images)
    assert opinions["colour"].argmax(1).tolist() == [0, 5, 2]
    assert opinions["kind"].argmax(1).tolist()[:2] == [0, 0]
    assert opinions["eyes"].argmax(1).tolist()[:2] == [0, 2]


def test_any_text_can_be_told_to_the_tokenizer(pipeline):
    text = "Größe 日本 zorp, pear-shaped!"

    tokens = pipeline.tokenizer(text).input_ids

    decoded = pipeline.tokenizer.decode(tokens, skip_special_tokens=True)
    assert decoded.replace(" ", "") == text.lower().replace(" ", "")


def test_a_trained_tokenizer_makes_frequent_words_one_token():
    tokenizer = train_tokenizer(["a red creature"] * 9 + ["a teal creature"], merges=20)

    assert tokenizer.tokenize("red creature") == ["red</w>", "creature</w>"]
    assert len(tokenizer.tokenize("zorp")) > 1


def test_normalised_latents_decode_to_the_same_pictures():
    torch.manual_seed(0)
    vae = build_vae(MINUTE).eval()
    images = torch.from_numpy(render_chunk(0, 8).images)
    with torch.no_grad():
        before = vae(to_unit(images)).sample
        normalise_latents(vae, images)
        after = vae(to_unit(images)).sample
        latents = vae.encode(to_unit(images)).latent_dist.mean

    assert torch.allclose(before, after, atol=1e-4)
    assert torch.allclose(latents.mean(dim=(0, 2, 3)), torch.zeros(8), atol=1e-3)
    assert torch.allclose(latents.std(dim=(0, 2, 3)), torch.ones(8), atol=1e-2)


def test_a_budget_ends_by_steps_or_by_seconds_and_the_learning_rate_falls_with_it():
    clock = iter([0.0, 30.0])
    budget = Budget(steps=100, seconds=60.0, now=lambda: next(clock), started=0.0)

    assert budget.spent(25) == 0.25
    assert budget.spent(25) == 0.5
    rates = [learning_rate(1.0, step=1000, spent=share) for share in (0.0, 0.5, 0.8, 1.0)]
    assert rates[0] == rates[1] == 1.0
    assert 1.0 > rates[2] > rates[3] > 0.0


def test_the_training_program_makes_a_pipeline_folder_from_nothing_and_goes_on_from_it(tmp_path):
    lines = []

    made = train(
        PRESETS["minute"], run=tmp_path / "first", workers=1, seconds=(60, 60), report=lines.append
    )
    again = train(
        PRESETS["minute"],
        run=tmp_path / "second",
        workers=1,
        seconds=(60, 60),
        report=lines.append,
        go_on_from=made,
    )

    pipeline = StableDiffusionPipeline.from_pretrained(again)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline("a creature", num_inference_steps=2).images[0].size == (64, 64)
    assert any("held-out loss" in line for line in lines)
    assert (tmp_path / "first" / "reconstructions.png").exists()


def test_the_measured_quality_is_as_good_as_the_model_card_promises():
    measured = json.loads(MEASURED.read_text())

    assert measured["vae_psnr_db"] > 30
    assert measured["place_accuracy"] > 0.95
    assert measured["described_parts_shown"] > 0.85
