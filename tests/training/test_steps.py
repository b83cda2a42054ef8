"""One step: chance from the seed alone, losses per slot, AdamW as torch and PEFT do it."""

from dataclasses import replace

import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atelier.contracts.settings import Hyperparameters, Schedule, Targets
from atelier.lora.banked import bank_for
from atelier.lora.families import load_network
from atelier.lora.network import Conditioning, NoiseSchedule, Prediction
from tests.lora.networks import save_pipeline
from training_image.crew import Crew
from training_image.draws import derived_seed, draw_step
from training_image.objective import SlotRows, slot_losses, snr_weights, split_rows
from training_image.optimiser import SlotOptimiser, learning_rate, stride_of

TUNED = Hyperparameters(
    steps=10, rank=3, alpha=6, learning_rate=1e-3, resolution=32, warmup_steps=2, max_grad_norm=0.05
)


def drawn(seed=1, step=0, **changes):
    given = {
        "rows": 4,
        "photos": 5,
        "latent": (2, 3, 3),
        "timesteps": 1000,
        "noise_offset": 0.0,
        "flip": False,
    }
    return draw_step(seed, step, **{**given, **changes})


# Chance


@given(st.integers(0, 2**62), st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_a_step_draws_the_same_whenever_it_is_drawn(seed, step):
    first, again = drawn(seed, step, flip=True), drawn(seed, step, flip=True)
    assert torch.equal(first.noise_RCHW, again.noise_RCHW)
    assert torch.equal(first.timesteps_R, again.timesteps_R)
    assert torch.equal(first.photos_R, again.photos_R)
    assert torch.equal(first.flips_R, again.flips_R)


def test_other_steps_and_other_seeds_draw_other_noise():
    first = drawn().noise_RCHW
    assert not torch.equal(first, drawn(step=1).noise_RCHW)
    assert not torch.equal(first, drawn(seed=2).noise_RCHW)


@given(st.integers(1, 7), st.integers(1, 9))
@settings(max_examples=20, deadline=None)
def test_every_photo_comes_once_before_any_comes_again(rows, photos):
    seen = [
        int(photo)
        for step in range(3 * photos)
        for photo in drawn(step=step, rows=rows, photos=photos).photos_R
    ]
    for epoch in range(len(seen) // photos):
        assert sorted(seen[epoch * photos : (epoch + 1) * photos]) == list(range(photos))


@given(st.integers(1, 16), st.integers(0, 50))
@settings(max_examples=30, deadline=None)
def test_timesteps_are_one_from_each_equal_part_of_the_schedule(rows, step):
    timesteps = sorted(drawn(step=step, rows=rows).timesteps_R.tolist())
    for part, moment in enumerate(timesteps):
        assert part * 1000 // rows <= moment <= (part + 1) * 1000 / rows


def test_rows_are_mirrored_only_where_asked():
    assert not any(drawn(step=step).flips_R.any() for step in range(20))
    flips = torch.cat([drawn(step=step, flip=True).flips_R for step in range(50)])
    assert 60 < flips.sum() < 140


def test_a_noise_offset_moves_whole_channels():
    plain, moved = drawn(), drawn(noise_offset=0.5)
    shift = moved.noise_RCHW - plain.noise_RCHW
    assert torch.allclose(shift, shift[:, :, :1, :1].expand_as(shift), atol=1e-5)
    assert shift.abs().max() > 0.05


def test_seeds_of_different_purposes_differ():
    seeds = {derived_seed(1), derived_seed(1, "a"), derived_seed(1, "b"), derived_seed(2, "a")}
    assert len(seeds) == 4
    assert all(0 <= seed < 2**63 for seed in seeds)


# Learning rate


def test_the_learning_rate_warms_up_then_falls_along_a_cosine():
    rates = [learning_rate(TUNED, step) for step in range(10)]
    assert rates[:3] == pytest.approx([1e-3 / 3, 2e-3 / 3, 1e-3])
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert 0 < rates[-1] < 1e-4


def test_a_constant_learning_rate_stays():
    constant = replace(TUNED, schedule=Schedule.CONSTANT)
    assert {learning_rate(constant, step) for step in range(2, 10)} == {1e-3}


# Loss


@pytest.mark.parametrize(("prediction", "divisor"), [(Prediction.EPSILON, 0), (Prediction.V, 1)])
def test_min_snr_weights_are_the_papers(prediction, divisor):
    kept = torch.linspace(0.999, 0.001, 100).double()
    schedule = NoiseSchedule(kept, prediction, {})
    moments = torch.arange(100)
    snr = kept / (1 - kept)
    expected = torch.minimum(snr, torch.tensor(5.0)) / (snr + divisor)
    assert torch.allclose(snr_weights(schedule, moments, 5.0), expected)
    assert torch.equal(snr_weights(schedule, moments, 0), torch.ones(100).double())


def rows_of(network, slot, seed, rows=3, gamma=5.0):
    random = torch.Generator().manual_seed(seed)
    draws = drawn(seed, rows=rows, latent=(4, 8, 8))
    return SlotRows(
        slot,
        torch.randn(draws.noise_RCHW.shape, generator=random).to(network.dtype),
        draws.noise_RCHW,
        draws.timesteps_R,
        network.encode_prompts(["zorp"] * rows),
        gamma,
        rows,
    )


@pytest.mark.parametrize("prediction", Prediction)
def test_a_slots_loss_is_the_mean_over_its_own_rows(prediction, tmp_path):
    network = load_network(save_pipeline(tmp_path, prediction=prediction))
    bank = bank_for(network, Targets.ALL, slots=2, rank=3)
    groups = [rows_of(network, 0, 1, rows=3), rows_of(network, 1, 2, rows=2, gamma=0)]
    together = slot_losses(network, bank, groups)
    for group, found in zip(groups, together, strict=True):
        kept = network.schedule.alphas_cumprod[group.timesteps_R].float()[:, None, None, None]
        noisy = kept.sqrt() * group.latents_RCHW + (1 - kept).sqrt() * group.noise_RCHW
        target = group.noise_RCHW
        if prediction is Prediction.V:
            target = kept.sqrt() * group.noise_RCHW - (1 - kept).sqrt() * group.latents_RCHW
        with torch.no_grad(), bank.rows(bank.bind([group.slot] * len(noisy))):
            predicted = network.denoise(noisy, group.timesteps_R, group.captions)
        weights = snr_weights(network.schedule, group.timesteps_R, group.min_snr_gamma).float()
        expected = (weights * (predicted - target).square().mean(dim=(1, 2, 3))).mean()
        assert float(found) == pytest.approx(float(expected), rel=1e-5)


def test_groups_of_one_slot_add_up_by_their_weights(base_folder):
    network = load_network(base_folder)
    bank = bank_for(network, Targets.ALL, slots=1, rank=3)
    photos, others = rows_of(network, 0, 1), replace(rows_of(network, 0, 2), weight=0.25)
    lone = [float(slot_losses(network, bank, [group])) for group in (photos, others)]
    plain = float(slot_losses(network, bank, [replace(others, weight=1.0)]))
    assert lone[1] == pytest.approx(0.25 * plain)
    crew = Crew(network, bank, SlotOptimiser(bank), workers=1)
    assert crew.losses([photos, others]) == pytest.approx([sum(lone)])


# Optimiser


def test_ten_steps_equal_peft_and_torchs_adamw(base_folder):
    ours, theirs = load_network(base_folder), load_network(base_folder)
    bank = bank_for(ours, Targets.ALL, slots=1, rank=3)
    modules = list(bank.shapes)
    bank.initialise(0, rank=3, alpha=6, modules=modules, seed=5)
    config = peft.LoraConfig(r=3, lora_alpha=6, target_modules=modules)
    wrapped = peft.inject_adapter_in_model(config, theirs.denoiser)
    parameters = [p for p in wrapped.parameters() if p.requires_grad]
    with torch.no_grad():
        for name in modules:
            layer = wrapped.get_submodule(name)
            layer.lora_A["default"].weight.copy_(bank.A[name][0])
            layer.lora_B["default"].weight.zero_()
    adamw = torch.optim.AdamW(parameters, weight_decay=TUNED.weight_decay)
    optimiser = SlotOptimiser(bank)
    crew = Crew(ours, bank, optimiser, workers=1)
    for step in range(10):
        group = rows_of(ours, 0, step)
        crew.losses([group])
        optimiser.stride([stride_of(0, step, TUNED)])

        kept = ours.schedule.alphas_cumprod[group.timesteps_R].float()[:, None, None, None]
        noisy = kept.sqrt() * group.latents_RCHW + (1 - kept).sqrt() * group.noise_RCHW
        predicted = theirs.denoise(noisy, group.timesteps_R, group.captions)
        errors = (predicted - group.noise_RCHW).square().mean(dim=(1, 2, 3))
        weights = snr_weights(ours.schedule, group.timesteps_R, 5.0).float()
        adamw.zero_grad()
        (weights * errors).mean().backward()
        torch.nn.utils.clip_grad_norm_(parameters, TUNED.max_grad_norm)
        for settings_ in adamw.param_groups:
            settings_["lr"] = learning_rate(TUNED, step)
        adamw.step()
    for name in modules:
        layer = wrapped.get_submodule(name)
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        assert torch.allclose(bank.A[name][0], a, atol=1e-6)
        assert torch.allclose(bank.B[name][0], b.view_as(bank.B[name][0]), atol=1e-6)


def trained(network, bank, optimiser, tasks, *, steps=12, workers=1):
    """Train (slot, seed, rows, first step) for some steps, ragged; the bank has the result."""
    crew = Crew(network, bank, optimiser, workers=workers)
    for moment in range(steps):
        here = [task for task in tasks if moment >= task[3]]
        if not here:
            continue
        groups = [rows_of(network, slot, 100 * seed + moment, rows) for slot, seed, rows, _ in here]
        crew.losses(groups)
        optimiser.stride([stride_of(slot, moment - first, TUNED) for slot, _, _, first in here])


def double_bank(base_folder, tasks, slots=4):
    network = load_network(base_folder, dtype=torch.float64)
    bank = bank_for(network, Targets.ALL, slots=slots, rank=3)
    optimiser = SlotOptimiser(bank)
    for slot, seed, _, _ in tasks:
        bank.initialise(slot, rank=3, alpha=6, modules=list(bank.shapes), seed=seed)
    return network, bank, optimiser


ROUNDING = 1e-10
"""In double precision. Where a gradient is nothing but rounding, AdamW divides it by 1e-8 only."""
PACKED = ((2, 1, 3, 0), (0, 2, 1, 3), (3, 3, 2, 0), (1, 4, 3, 6))


def test_packed_equals_alone_in_double_precision(base_folder):
    network, bank, optimiser = double_bank(base_folder, PACKED)
    trained(network, bank, optimiser, PACKED)
    for task in PACKED:
        alone_network, alone, alone_optimiser = double_bank(base_folder, [task])
        trained(alone_network, alone, alone_optimiser, [task])
        packed_P, alone_P = bank.storage_SP[task[0]], alone.storage_SP[task[0]]
        assert (packed_P - alone_P).norm() < ROUNDING * alone_P.norm()


@pytest.mark.parametrize("workers", [2, 3])
def test_a_crew_of_any_size_learns_the_same(base_folder, workers):
    network, bank, optimiser = double_bank(base_folder, PACKED)
    trained(network, bank, optimiser, PACKED)
    other_network, other, other_optimiser = double_bank(base_folder, PACKED)
    trained(other_network, other, other_optimiser, PACKED, workers=workers)
    assert (bank.storage_SP - other.storage_SP).norm() < ROUNDING * bank.storage_SP.norm()


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(1, 7))
@settings(max_examples=40, deadline=None)
def test_a_split_batch_has_all_rows_in_order_in_few_parts(counts, parts):
    noise = torch.arange(sum(counts))[:, None, None, None]
    texts = Conditioning(torch.arange(sum(counts)).view(-1, 1, 1))
    groups = [
        SlotRows(slot, own, own, own.flatten(), texts.rows(own.flatten().tolist()), 0.0, len(own))
        for slot, own in enumerate(noise.split(counts))
    ]
    cut = split_rows(groups, parts)
    assert 1 <= len(cut) <= parts
    flat = [group for part in cut for group in part]
    assert torch.cat([group.timesteps_R for group in flat]).tolist() == list(range(sum(counts)))
    assert [int(t) for group in flat for t in group.captions.tokens_NTD.flatten()] == [
        *range(sum(counts))
    ]
    assert all(group.of_rows == counts[group.slot] for group in flat)


def test_a_neighbours_nan_changes_not_one_bit(base_folder):
    network, bank, optimiser = double_bank(base_folder, PACKED)
    trained(network, bank, optimiser, PACKED)
    clean = bank.storage_SP.clone()
    network, bank, optimiser = double_bank(base_folder, PACKED)
    bank.storage_SP[2] = float("nan")
    trained(network, bank, optimiser, PACKED)
    assert bank.storage_SP[2].isnan().all()
    others = [0, 1, 3, 4]
    assert torch.equal(bank.storage_SP[others], clean[others])


def test_the_empty_slot_stays_empty(base_folder):
    network, bank, optimiser = double_bank(base_folder, PACKED)
    trained(network, bank, optimiser, PACKED, steps=2)
    assert not bank.storage_SP[bank.empty].any()


def test_padding_of_a_smaller_rank_and_of_absent_layers_stays_zero(base_folder):
    network = load_network(base_folder)
    bank = bank_for(network, Targets.ALL, slots=1, rank=4)
    optimiser = SlotOptimiser(bank)
    few = network.target_modules(Targets.ATTENTION)
    bank.initialise(0, rank=2, alpha=2, modules=few, seed=1)
    trained(network, bank, optimiser, [(0, 1, 2, 0)], steps=4)
    for name in bank.shapes:
        own = name in few
        assert bool(bank.B[name][0, :, :2].any()) == own
        assert not bank.A[name][0, 2:].any()
        assert not bank.B[name][0, :, 2:].any()
