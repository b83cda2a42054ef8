"""Sampling: the same pictures as diffusers draws, in batches of strangers."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
)

from atelier.contracts.generation import Scheduler
from atelier.contracts.settings import Targets
from atelier.lora.adapter_file import read_adapter, write_adapter
from atelier.lora.bank import AdapterWeights, Bank
from atelier.lora.banked import bank_for
from atelier.lora.courses import course_of, ddim_course
from atelier.lora.network import Network, NoiseSchedule, Prediction
from atelier.lora.pictures import decode_square, encode_png
from atelier.lora.sampling import Drawing, Hands, advance, begin, draw, finish
from tests.lora.networks import network, save_pipeline
from tests.lora.test_bank import weights

LIBRARY = {
    Scheduler.DDIM: DDIMScheduler,
    Scheduler.EULER: EulerDiscreteScheduler,
    Scheduler.DPM: DPMSolverMultistepScheduler,
}
TINY = Path(__file__).parents[2] / "examples/tiny/model"


def strong_adapter(bank: Bank, rank: int, seed: int = 5) -> AdapterWeights:
    """Random, but with the scale of trained adapters, so that pictures really change."""
    found = weights(rank, seed=seed, modules=tuple(bank.shapes.values())).matrices
    sized = {n: (a * a[0].numel() ** -0.5, b * 0.05) for n, (a, b) in found.items()}
    return AdapterWeights(rank, 1.5 * rank, sized)


def by_diffusers(pipeline, drawing: Drawing, side: int) -> np.ndarray:
    pipeline.scheduler = LIBRARY[drawing.scheduler].from_config(
        pipeline.scheduler.config,
        **({"algorithm_type": "dpmsolver++"} if drawing.scheduler is Scheduler.DPM else {}),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(
        drawing.prompt,
        negative_prompt=drawing.negative_prompt,
        num_inference_steps=drawing.denoising_steps,
        guidance_scale=drawing.guidance,
        generator=torch.Generator("cpu").manual_seed(drawing.seed),
        width=side,
        height=side,
        output_type="np",
    ).images[0]


def difference(ours: torch.Tensor, theirs: np.ndarray) -> float:
    return float(np.abs(ours.numpy() / 255.0 - theirs).mean())


@pytest.mark.parametrize("folder", ["random", "tiny"])
@pytest.mark.parametrize("targets", Targets)
def test_our_sampler_with_a_slot_draws_what_diffusers_draws_with_the_adapter_file(
    folder, targets, base_folder, tmp_path
):
    path = base_folder if folder == "random" else TINY
    ours = network(path)
    bank = bank_for(ours, targets, slots=3, rank=4)
    body = write_adapter(strong_adapter(bank, rank=3), dtype=torch.float32)
    bank.load(2, read_adapter(body, bank.shapes, max_rank=4))
    drawing = Drawing("a photo of zorp creature", 2, seed=7, denoising_steps=6)

    pipeline = StableDiffusionPipeline.from_pretrained(path, dtype=torch.float32)
    (tmp_path / "adapter.safetensors").write_bytes(body)
    pipeline.load_lora_weights(tmp_path, weight_name="adapter.safetensors")
    theirs = by_diffusers(pipeline, drawing, ours.resolution)

    [with_slot] = draw(ours, bank, [drawing])
    [without] = draw(ours, bank, [Drawing(drawing.prompt, bank.empty, seed=7, denoising_steps=6)])
    assert difference(with_slot, theirs) <= 1 / 255
    assert difference(without, theirs) > 2 / 255


# numpy deprecates how diffusers' own schedulers call it.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("scheduler", Scheduler)
@pytest.mark.parametrize("guidance", [1.0, 6.0])
@pytest.mark.parametrize("prediction", Prediction)
def test_every_course_draws_what_diffusers_draws(scheduler, guidance, prediction, tmp_path):
    path = save_pipeline(tmp_path, prediction=prediction)
    drawing = Drawing(
        "zorp",
        0,
        negative_prompt="grey",
        seed=3,
        denoising_steps=7,
        guidance=guidance,
        scheduler=scheduler,
    )
    [ours] = draw(network(path), None, [drawing])
    pipeline = StableDiffusionPipeline.from_pretrained(path, dtype=torch.float32)
    assert difference(ours, by_diffusers(pipeline, drawing, 16)) <= 0.5 / 255


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("steps", [1, 2, 7, 25, 100])
@pytest.mark.parametrize("prediction", Prediction)
def test_ddim_steps_equal_the_librarys(spacing, steps, prediction):
    theirs = DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        prediction_type=prediction,
        timestep_spacing=spacing,
        steps_offset=1 if spacing == "leading" else 0,
        set_alpha_to_one=False,
    )
    theirs.set_timesteps(steps)
    schedule = NoiseSchedule(theirs.alphas_cumprod.double(), prediction, dict(theirs.config))
    ours = ddim_course(schedule, steps)
    assert ours.timesteps == [float(t) for t in theirs.timesteps]
    z, p = torch.randn(2, 4, 3, 3)
    for index, moment in enumerate(theirs.timesteps):
        expected = theirs.step(p, int(moment), z).prev_sample
        assert torch.allclose(ours.step(index, z, p), expected, atol=2e-5, rtol=1e-4)


# numpy deprecates how diffusers' own schedulers call it.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("scheduler", [Scheduler.EULER, Scheduler.DPM])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("steps", [2, 7, 25])
@pytest.mark.parametrize("prediction", Prediction)
def test_euler_and_dpm_steps_equal_the_librarys(scheduler, spacing, steps, prediction):
    theirs = LIBRARY[scheduler](
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type=prediction,
        timestep_spacing=spacing,
        steps_offset=1 if spacing == "leading" else 0,
    )
    theirs.set_timesteps(steps)
    schedule = NoiseSchedule(theirs.alphas_cumprod.double(), prediction, dict(theirs.config))
    ours = course_of(scheduler, schedule, steps)
    assert ours.timesteps == [float(t) for t in theirs.timesteps]
    assert ours.start_sigma == pytest.approx(float(theirs.init_noise_sigma), rel=1e-5)
    z = expected = torch.randn(4, 3, 3) * ours.start_sigma
    for index, moment in enumerate(theirs.timesteps):
        seen = theirs.scale_model_input(expected, moment)
        assert torch.allclose(ours.scaled(index, z), seen, atol=1e-4, rtol=1e-3)
        z = ours.step(index, z, torch.sin(seen))
        expected = theirs.step(torch.sin(seen), moment, expected).prev_sample
    assert torch.allclose(z, expected, atol=1e-3, rtol=1e-3)


def test_an_unknown_spacing_is_refused():
    schedule = NoiseSchedule(
        torch.linspace(0.9, 0.1, 100).double(), Prediction.EPSILON, {"timestep_spacing": "odd"}
    )
    with pytest.raises(ValueError, match="'odd'"):
        ddim_course(schedule, 4)


def test_more_denoising_steps_than_timesteps_are_refused(base):
    with pytest.raises(ValueError, match="at most 1000"):
        begin(base, [Drawing("zorp", 0, denoising_steps=1001)])


@pytest.fixture
def three(base) -> tuple[Network, Bank]:
    bank = bank_for(base, Targets.ALL, slots=3, rank=3)
    for slot in range(3):
        bank.load(slot, strong_adapter(bank, rank=1 + slot, seed=slot))
    return base, bank


STRANGERS = (
    Drawing("one", 0, seed=1, denoising_steps=5),
    Drawing("two", 1, seed=2, denoising_steps=3, guidance=1.0),
    Drawing("three", 2, factor=0.5, seed=3, denoising_steps=6, scheduler=Scheduler.EULER),
    Drawing("four", 3, seed=4, denoising_steps=4, negative_prompt="dark", guidance=9.0),
    Drawing("five", 1, seed=5, denoising_steps=4, width=24, height=16),
    Drawing("six", 0, seed=6, denoising_steps=5, scheduler=Scheduler.DPM),
)


def test_strangers_in_one_batch_get_the_pictures_they_get_alone(three):
    together = draw(*three, STRANGERS)
    for drawing, picture in zip(STRANGERS, together, strict=True):
        [alone] = draw(*three, [drawing])
        assert (picture.int() - alone.int()).abs().max() <= 1
    assert together[4].shape == (16, 24, 3)


@pytest.mark.parametrize("count", [2, 3, 20])
def test_hands_that_share_the_rows_draw_the_same_pictures(three, count):
    together = draw(*three, STRANGERS)
    with ThreadPoolExecutor(count) as pool:
        shared = draw(*three, STRANGERS, hands=Hands(pool, count))
    for one, other in zip(together, shared, strict=True):
        assert (one.int() - other.int()).abs().max() <= 1


def test_a_row_that_joins_later_gets_the_picture_it_gets_alone(three):
    base, bank = three
    early, late = begin(base, STRANGERS[:1]), begin(base, STRANGERS[1:2])
    advance(base, bank, early)
    advance(base, bank, early + late)
    while rows := [row for row in early + late if row.left]:
        advance(base, bank, rows)
    [alone] = draw(base, bank, STRANGERS[1:2])
    assert (finish(base, late)[0].int() - alone.int()).abs().max() <= 1


def test_a_finished_row_takes_no_further_step(three):
    rows = begin(three[0], [Drawing("one", 0, denoising_steps=1)])
    advance(*three, rows)
    with pytest.raises(ValueError, match="finished"):
        advance(*three, rows)


def test_factor_zero_draws_the_base_models_picture(three):
    base, bank = three
    drawings = [Drawing("one", 1, factor=0.0, seed=4), Drawing("one", bank.empty, seed=4)]
    first, second = draw(base, bank, drawings)
    assert torch.equal(first, second)


def test_whatever_a_step_callback_raises_ends_the_drawing(three):
    made = []

    def stop(rows: int) -> None:
        made.append(rows)
        if len(made) == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        draw(*three, STRANGERS, each_step=stop)
    assert made == [6, 6, 6]


def test_a_side_that_is_no_multiple_of_a_latent_is_refused(base):
    with pytest.raises(ValueError, match="multiples of 2"):
        begin(base, [Drawing("one", 0, width=17)])


def test_pictures_survive_png():
    picture = (torch.arange(16 * 16 * 3) % 200).to(torch.uint8).view(16, 16, 3)
    back = ((decode_square(encode_png(picture), 16) + 1) * 127.5).round().permute(1, 2, 0)
    assert torch.equal(back.to(torch.uint8), picture)


def test_a_photo_is_cut_to_its_centre_square_and_resized():
    wide = torch.zeros(10, 30, 3, dtype=torch.uint8)
    wide[:, 10:20] = 255
    assert decode_square(encode_png(wide), 20).min() == 1.0
