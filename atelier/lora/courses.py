"""Denoising courses: the timesteps one image goes through, and the step from each to the next.

All three are our own and a few multiply-adds per row, so that every row of a batch keeps its own
place; tests hold them against diffusers' schedulers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from atelier.contracts.generation import Scheduler
from atelier.lora.network import NoiseSchedule, Prediction


class Course(Protocol):
    """The way of one image from noise to latent."""

    @property
    def timesteps(self) -> Sequence[float]:
        """One per denoising step, in order."""
        ...

    @property
    def start_sigma(self) -> float:
        """The standard deviation of the noise that the image starts from."""
        ...

    def scaled(self, index: int, latent_CHW: Tensor) -> Tensor:
        """Return what the denoiser sees at denoising step `index`."""
        ...

    def step(self, index: int, latent_CHW: Tensor, prediction_CHW: Tensor) -> Tensor:
        """Return the latent after denoising step `index`; steps are made in order."""
        ...


@dataclass(frozen=True, slots=True)
class DdimCourse:
    """DDIM with η = 0 (Song et al., arXiv 2010.02502, formula 12): `z' = keep · z + add · p`.

    With ε prediction `z_0 = (z - √(1-ā) p) / √ā` and `z' = √ā' z_0 + √(1-ā') p`; with v prediction
    `z_0 = √ā z - √(1-ā) p` and `ε = √ā p + √(1-ā) z`. Both are linear in z and p.

    Attributes:
        timesteps: see `Course`.
        factors: (keep, add) of every denoising step.
        start_sigma: 1.
    """

    timesteps: Sequence[float]
    factors: Sequence[tuple[float, float]]
    start_sigma: float = 1.0

    def scaled(self, index: int, latent_CHW: Tensor) -> Tensor:
        """Return the latent as it is."""
        del index
        return latent_CHW

    def step(self, index: int, latent_CHW: Tensor, prediction_CHW: Tensor) -> Tensor:
        """Return `keep · z + add · p`."""
        keep, add = self.factors[index]
        return keep * latent_CHW + add * prediction_CHW


@dataclass(frozen=True, slots=True)
class EulerCourse:
    """Euler steps on the probability-flow equation (Karras et al., arXiv 2206.00364, algorithm 1).

    In x = z / √ā the noise has the deviation σ = √((1-ā)/ā): `x' = x + (σ' - σ) (x - x_0) / σ`.
    With ε prediction `x_0 = x - σ p`; with v prediction `x_0 = x / (σ²+1) - σ p / √(σ²+1)`.

    Attributes:
        timesteps, start_sigma: see `Course`.
        sigmas: one per denoising step, and the last one, 0.
        prediction: what the denoiser predicts.
    """

    timesteps: Sequence[float]
    sigmas: Sequence[float]
    start_sigma: float
    prediction: Prediction

    def scaled(self, index: int, latent_CHW: Tensor) -> Tensor:
        """Return `x / √(σ²+1)`, which is z."""
        return latent_CHW / (self.sigmas[index] ** 2 + 1) ** 0.5

    def step(self, index: int, latent_CHW: Tensor, prediction_CHW: Tensor) -> Tensor:
        """Return x'."""
        sigma, after = self.sigmas[index], self.sigmas[index + 1]
        slope = prediction_CHW
        if self.prediction is Prediction.V:
            clean = latent_CHW / (sigma**2 + 1) - prediction_CHW * (sigma / (sigma**2 + 1) ** 0.5)
            slope = (latent_CHW - clean) / sigma
        return latent_CHW + (after - sigma) * slope


@dataclass(slots=True)
class DpmCourse:
    """DPM-Solver++ (2M), the multistep solver of second order (Lu et al., arXiv 2211.01095).

    With σ as above, α = 1/√(σ²+1), λ = -log σ, h = λ' - λ and the last step's clean estimate x_1:

        D  = x_0                                 in the first and the last denoising step
        D  = x_0 + (h / 2 h_before) (x_0 - x_1)  in between
        z' = (α'σ' / ασ) z + α' (1 - e^-h) D

    Attributes:
        timesteps: see `Course`.
        sigmas: one per denoising step, and the last one, 0.
        prediction: what the denoiser predicts.
        start_sigma: 1.
    """

    timesteps: Sequence[float]
    sigmas: Sequence[float]
    prediction: Prediction
    start_sigma: float = 1.0
    _clean_before: Tensor | None = None

    def scaled(self, index: int, latent_CHW: Tensor) -> Tensor:
        """Return the latent as it is."""
        del index
        return latent_CHW

    def step(self, index: int, latent_CHW: Tensor, prediction_CHW: Tensor) -> Tensor:
        """Return z'."""
        sigma, after = self.sigmas[index], self.sigmas[index + 1]
        alpha, alpha_after = (sigma**2 + 1) ** -0.5, (after**2 + 1) ** -0.5
        if self.prediction is Prediction.EPSILON:
            clean = latent_CHW / alpha - sigma * prediction_CHW
        else:
            clean = alpha * latent_CHW - alpha * sigma * prediction_CHW
        direction = clean
        if self._clean_before is not None and after > 0:
            h, h_before = math.log(sigma / after), math.log(self.sigmas[index - 1] / sigma)
            direction = clean + (0.5 * h / h_before) * (clean - self._clean_before)
        self._clean_before = clean
        keep = alpha_after * after / (alpha * sigma)
        return keep * latent_CHW + alpha_after * (1 - after / sigma) * direction


def course_of(scheduler: Scheduler, schedule: NoiseSchedule, denoising_steps: int) -> Course:
    """Return the course of one image.

    Raises:
        ValueError: more denoising steps than the schedule has timesteps.
    """
    if denoising_steps > schedule.timesteps:
        raise ValueError(f"{denoising_steps} denoising steps; at most {schedule.timesteps} exist")
    if scheduler is Scheduler.DDIM:
        return ddim_course(schedule, denoising_steps)
    if scheduler is Scheduler.EULER:
        return euler_course(schedule, denoising_steps)
    return dpm_course(schedule, denoising_steps)


def ddim_course(schedule: NoiseSchedule, denoising_steps: int) -> DdimCourse:
    """Return DDIM's course for a schedule, as diffusers' DDIMScheduler spaces and offsets it."""
    config = schedule.config
    stride = schedule.timesteps // denoising_steps
    timesteps = _spaced(schedule, config.get("timestep_spacing", "leading"), denoising_steps)
    alphas = schedule.alphas_cumprod
    last = 1.0 if config.get("set_alpha_to_one", True) else float(alphas[0])
    factors = []
    for moment in timesteps:
        now = float(alphas[moment])
        after = float(alphas[moment - stride]) if moment >= stride else last
        if schedule.prediction is Prediction.EPSILON:
            keep = (after / now) ** 0.5
            add = (1 - after) ** 0.5 - keep * (1 - now) ** 0.5
        else:
            keep = (after * now) ** 0.5 + ((1 - after) * (1 - now)) ** 0.5
            add = ((1 - after) * now) ** 0.5 - (after * (1 - now)) ** 0.5
        factors.append((keep, add))
    return DdimCourse([float(t) for t in timesteps], factors)


def euler_course(schedule: NoiseSchedule, denoising_steps: int) -> EulerCourse:
    """Return Euler's course, spaced as diffusers' EulerDiscreteScheduler.

    Spaced evenly over the schedule, its timesteps are fractions, and σ is interpolated.
    """
    spacing = schedule.config.get("timestep_spacing", "linspace")
    if spacing == "linspace":
        last = schedule.timesteps - 1
        even = torch.linspace(last, 0, denoising_steps, dtype=torch.float64)
        timesteps = [float(moment) for moment in even]
    else:
        timesteps = [float(t) for t in _spaced(schedule, spacing, denoising_steps)]
    sigmas = _sigmas(schedule, timesteps)
    start = (sigmas[0] ** 2 + 1) ** 0.5 if spacing == "leading" else sigmas[0]
    return EulerCourse(timesteps, sigmas, start, schedule.prediction)


def dpm_course(schedule: NoiseSchedule, denoising_steps: int) -> DpmCourse:
    """Return DPM-Solver++'s course, spaced as diffusers' DPMSolverMultistepScheduler.

    It spaces one more timestep than it visits, so that the least noisy one is never 0.
    """
    spacing = schedule.config.get("timestep_spacing", "linspace")
    if spacing == "trailing":
        whole = _spaced(schedule, spacing, denoising_steps)
    else:
        whole = _spaced(schedule, spacing, denoising_steps + 1)[:-1]
    timesteps = [float(moment) for moment in whole]
    return DpmCourse(timesteps, _sigmas(schedule, timesteps), schedule.prediction)


def _spaced(schedule: NoiseSchedule, spacing: str, denoising_steps: int) -> list[int]:
    """Return timesteps, noisiest first, spaced in one of three ways (arXiv 2305.08891, table 2)."""
    count, last = range(denoising_steps), schedule.timesteps - 1
    if spacing == "leading":
        stride = schedule.timesteps // denoising_steps
        offset = int(schedule.config.get("steps_offset", 0))
        found = [index * stride + offset for index in count]
    elif spacing == "trailing":
        exact = schedule.timesteps / denoising_steps
        found = sorted(round(schedule.timesteps - index * exact) - 1 for index in count)
    elif spacing == "linspace":
        even = torch.linspace(0, last, denoising_steps, dtype=torch.float64)
        found = [int(moment) for moment in even.round()]
    else:
        raise ValueError(f"timestep_spacing {spacing!r}; leading, trailing and linspace are known")
    return [min(moment, last) for moment in reversed(found)]


def _sigmas(schedule: NoiseSchedule, timesteps: Sequence[float]) -> list[float]:
    """Return σ = √((1-ā)/ā) at every timestep, interpolated between whole ones; then 0."""
    alphas = schedule.alphas_cumprod
    of_whole = (((1 - alphas) / alphas) ** 0.5).tolist()
    sigmas = []
    for moment in timesteps:
        below = int(moment)
        above = min(below + 1, len(of_whole) - 1)
        share = moment - below
        sigmas.append(of_whole[below] * (1 - share) + of_whole[above] * share)
    return [*sigmas, 0.0]
