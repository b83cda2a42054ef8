"""What every family of base models gives: text in, latents, a prediction per row, target modules.

Shape suffixes: N rows of a batch, C latent channels, H and W latent sides, T tokens, D text width,
P pooled text width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn

from atelier.contracts.base_models import Family
from atelier.contracts.settings import Targets


class Prediction(StrEnum):
    """What the denoiser predicts; names as in diffusers' scheduler configurations."""

    EPSILON = "epsilon"
    V = "v_prediction"


@dataclass(frozen=True, slots=True)
class NoiseSchedule:
    """The forward process `z_t = √ā_t z_0 + √(1 - ā_t) ε` (Ho et al., arXiv 2006.11239).

    Attributes:
        alphas_cumprod: ā, float64 on the CPU, one value per training timestep.
        prediction: ε, or `v = √ā_t ε - √(1 - ā_t) z_0` (Salimans and Ho, arXiv 2202.00512).
        config: scheduler_config.json as it was read.
    """

    alphas_cumprod: Tensor
    prediction: Prediction
    config: Mapping[str, Any]

    @property
    def timesteps(self) -> int:
        """Number of training timesteps."""
        return len(self.alphas_cumprod)


@dataclass(frozen=True, slots=True)
class Conditioning:
    """Encoded prompts, one row each.

    Attributes:
        tokens_NTD: what cross-attention reads.
        pooled_NP: one vector per prompt, for families that want one, else None.
    """

    tokens_NTD: Tensor  # noqa: N815 - shape suffix
    pooled_NP: Tensor | None = None  # noqa: N815 - shape suffix

    def __len__(self) -> int:
        return len(self.tokens_NTD)

    def rows(self, index: Sequence[int]) -> Conditioning:
        """Return the rows of `index`, in its order; a row may come twice."""
        chosen = torch.as_tensor(index, dtype=torch.long, device=self.tokens_NTD.device)
        pooled = None if self.pooled_NP is None else self.pooled_NP[chosen]
        return Conditioning(self.tokens_NTD[chosen], pooled)

    @staticmethod
    def join(parts: Sequence[Conditioning]) -> Conditioning:
        """Return all rows of `parts`, one after the other."""
        pooled = [part.pooled_NP for part in parts if part.pooled_NP is not None]
        return Conditioning(
            torch.cat([part.tokens_NTD for part in parts]), torch.cat(pooled) if pooled else None
        )


class Network(ABC):
    """A frozen base model on its device; only adapters around its layers ever learn.

    Attributes:
        family: its architecture.
        resolution: native side of its images in pixels.
        latent_factor: pixels per side of one latent.
        latent_channels: C.
        schedule: its noise schedule.
        denoiser: the network whose layers the bank wraps.
        device, dtype: of weights, latents and text.
    """

    family: Family
    resolution: int
    latent_factor: int
    latent_channels: int
    schedule: NoiseSchedule
    denoiser: nn.Module
    device: torch.device
    dtype: torch.dtype

    @abstractmethod
    def encode_prompts(self, prompts: Sequence[str]) -> Conditioning:
        """Encode N texts, cut at the tokenizer's length; without gradient."""

    @abstractmethod
    def encode_images(self, x_N3HW: Tensor) -> Tensor:
        """Return latents [N, C, H/f, W/f] of images in [-1, 1]: posterior mean, scaled."""

    @abstractmethod
    def decode_latents(self, z_NCHW: Tensor) -> Tensor:
        """Return images [N, 3, H·f, W·f], about in [-1, 1]; without gradient."""

    @abstractmethod
    def denoise(self, z_NCHW: Tensor, t_N: Tensor, conditioning: Conditioning) -> Tensor:
        """Return the prediction [N, C, H, W] of noisy latents, each row at its own timestep."""

    @abstractmethod
    def target_modules(self, targets: Targets) -> tuple[str, ...]:
        """Return the names of the denoiser's layers that get an adapter, in the network's order."""
