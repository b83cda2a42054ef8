"""The chance in one step of one task: a function of its seed and the step's number, nothing else.

No generator's state lives from step to step. So a task draws the same in any slot beside any
neighbours, and a resumed run goes on exactly as an uninterrupted one would.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Draws:
    """What chance decides for the R rows of one task in one step; all on the CPU.

    Attributes:
        photos_R: which photo.
        flips_R: whether mirrored.
        timesteps_R: int64.
        noise_RCHW: float32, standard normal plus the noise offset.
    """

    photos_R: Tensor  # noqa: N815 - shape suffix
    flips_R: Tensor  # noqa: N815 - shape suffix
    timesteps_R: Tensor  # noqa: N815 - shape suffix
    noise_RCHW: Tensor  # noqa: N815 - shape suffix


def draw_step(
    seed: int,
    step: int,
    *,
    rows: int,
    photos: int,
    latent: tuple[int, int, int],
    timesteps: int,
    noise_offset: float,
    flip: bool,
) -> Draws:
    """Draw step number `step`, counted from 0.

    Photos come in a new order every epoch, none twice before all have come once. Timesteps are
    stratified: the schedule is cut into R equal parts, each row draws from one of them, so that no
    step sees only noisy or only clean rows.

    Args:
        seed: the task's.
        step: which step.
        rows: R.
        photos: number of instance images.
        latent: (C, H, W).
        timesteps: of the noise schedule.
        noise_offset: deviation of one more normal number per row and channel, added to its noise.
        flip: whether rows are mirrored at random.
    """
    places = range(step * rows, (step + 1) * rows)
    order = {epoch: _order(seed, epoch, photos) for epoch in {p // photos for p in places}}
    generator = _generator(seed, "step", step)
    parts_R = torch.randperm(rows, generator=generator)
    within_R = torch.rand(rows, generator=generator, dtype=torch.float64)
    timesteps_R = ((parts_R + within_R) / rows * timesteps).long().clamp(max=timesteps - 1)
    flips_R = torch.rand(rows, generator=generator) < (0.5 if flip else 0.0)
    noise_RCHW = torch.randn((rows, *latent), generator=generator)
    if noise_offset:
        noise_RCHW += noise_offset * torch.randn((rows, latent[0], 1, 1), generator=generator)
    photos_R = torch.tensor([order[p // photos][p % photos] for p in places])
    return Draws(photos_R, flips_R, timesteps_R, noise_RCHW)


def derived_seed(seed: int, *purpose: str | int) -> int:
    """Return the seed of one purpose of a task: 63 bits, independent of all others."""
    text = "/".join(("atelier", str(seed), *map(str, purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def _order(seed: int, epoch: int, photos: int) -> list[int]:
    order: list[int] = torch.randperm(photos, generator=_generator(seed, "order", epoch)).tolist()
    return order


def _generator(seed: int, *purpose: str | int) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(derived_seed(seed, *purpose))
