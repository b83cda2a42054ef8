"""What a person would tune: hyperparameters, hardware, presets; each with a default and a check."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Targets(StrEnum):
    """Which layers of the denoising network get an adapter (PEFT's target modules)."""

    ATTENTION = "attention"
    ATTENTION_FEED_FORWARD = "attention+feed-forward"
    ALL = "all"
    """Attention, feed-forward, projections and convolutions."""


class Schedule(StrEnum):
    """How the learning rate runs after its warm-up."""

    CONSTANT = "constant"
    COSINE = "cosine"


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """How one adapter is trained. Scale of the adapter is `alpha / rank`.

    Attributes:
        steps: optimiser steps.
        rank: LoRA rank of every target module.
        alpha: LoRA alpha.
        learning_rate: peak of the schedule (AdamW).
        schedule: what follows the warm-up.
        warmup_steps: steps of linear warm-up.
        batch_size: rows of this adapter in one step.
        resolution: side of the square training images in pixels.
        targets: which layers get an adapter.
        weight_decay: AdamW's decoupled weight decay.
        max_grad_norm: gradient clipping by this adapter's own norm.
        min_snr_gamma: min-SNR loss weighting (Hang et al. 2023); 0 switches it off.
        noise_offset: added per-channel noise; 0 switches it off.
        flip: mirror images at random. Off where left and right carry meaning.
        prior_weight: weight of prior preservation (DreamBooth); 0 switches it off.
        preview_every_steps: a preview image after so many steps; 0 for none.
        checkpoint_every_steps: a resumable checkpoint after so many steps; 0 for none.
    """

    steps: int
    rank: int
    learning_rate: float
    resolution: int
    alpha: float = 0.0
    schedule: Schedule = Schedule.COSINE
    warmup_steps: int = 10
    batch_size: int = 4
    targets: Targets = Targets.ATTENTION
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    min_snr_gamma: float = 5.0
    noise_offset: float = 0.0
    flip: bool = False
    prior_weight: float = 0.0
    preview_every_steps: int = 0
    checkpoint_every_steps: int = 0

    def __post_init__(self) -> None:
        """Fill in alpha = rank and check every range."""
        _within("steps", self.steps, 1, 20_000)
        _within("rank", self.rank, 1, 128)
        if self.alpha == 0.0:
            object.__setattr__(self, "alpha", float(self.rank))
        _within("alpha", self.alpha, 0.001, 1024)
        _within("learning_rate", self.learning_rate, 1e-7, 0.1)
        _within("warmup_steps", self.warmup_steps, 0, 20_000)
        _within("batch_size", self.batch_size, 1, 64)
        _within("resolution", self.resolution, 32, 2048)
        if self.resolution % 8:
            raise ValueError(f"resolution {self.resolution} must be a multiple of 8")
        _within("weight_decay", self.weight_decay, 0, 1)
        _within("max_grad_norm", self.max_grad_norm, 1e-3, 1e3)
        _within("min_snr_gamma", self.min_snr_gamma, 0, 100)
        _within("noise_offset", self.noise_offset, 0, 1)
        _within("prior_weight", self.prior_weight, 0, 10)
        _within("preview_every_steps", self.preview_every_steps, 0, 20_000)
        _within("checkpoint_every_steps", self.checkpoint_every_steps, 0, 20_000)

    @property
    def scale(self) -> float:
        """Alpha divided by rank."""
        return self.alpha / self.rank


@dataclass(frozen=True, slots=True)
class Hardware:
    """Where a training job runs.

    Attributes:
        instance_types: in order of preference; the first with capacity wins.
        volume_gb: size of the training volume.
        max_runtime_seconds: SageMaker stops the job then.
        spot: managed spot training; excludes warm pools and instance preferences.
        keep_alive_seconds: how long an idle warm pool is kept; 0 for none.
    """

    instance_types: tuple[str, ...]
    volume_gb: int = 50
    max_runtime_seconds: int = 3600
    spot: bool = False
    keep_alive_seconds: int = 0

    def __post_init__(self) -> None:
        """Check ranges, and refuse the pairs that AWS forbids."""
        if not 1 <= len(self.instance_types) <= 5:
            raise ValueError(f"{len(self.instance_types)} instance types; 1 to 5 are allowed")
        _within("volume_gb", self.volume_gb, 1, 1024)
        _within("max_runtime_seconds", self.max_runtime_seconds, 60, 432_000)
        _within("keep_alive_seconds", self.keep_alive_seconds, 0, 3600)
        if self.spot and self.keep_alive_seconds:
            raise ValueError(
                "spot and keep_alive_seconds exclude each other: AWS keeps no warm "
                "pool for spot jobs; set one of them to false or 0"
            )
        if self.spot and len(self.instance_types) > 1:
            raise ValueError(
                "spot takes one instance type: AWS refuses instance preferences with "
                "managed spot training"
            )


class PresetName(StrEnum):
    """The four ways to train, from seconds to best."""

    NANO = "nano"
    FAST = "fast"
    BALANCED = "balanced"
    QUALITY = "quality"


@dataclass(frozen=True, slots=True)
class Preset:
    """A named choice of hyperparameters and hardware."""

    name: PresetName
    hyperparameters: Hyperparameters
    hardware: Hardware


def _within(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ValueError(f"{name} {value} is out of range; {least} to {most} are allowed")
