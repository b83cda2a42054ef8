"""Stable Diffusion 1.x and 2.x: one CLIP text encoder, a UNet with cross-attention, a KL VAE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from atelier.contracts.base_models import Family
from atelier.contracts.documents import DocumentError, parse_json
from atelier.contracts.errors import ContractBroken
from atelier.contracts.settings import Targets
from atelier.lora.network import Conditioning, Network, NoiseSchedule, Prediction

NEEDED_FILES = (
    "scheduler/scheduler_config.json",
    "tokenizer/tokenizer_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
)

ATTENTION_LAYERS = ("to_q", "to_k", "to_v", "to_out.0")
FEED_FORWARD_LAYERS = ("ff.net.0.proj", "ff.net.2")
OTHER_LAYERS = ("proj_in", "proj_out", "conv1", "conv2", "conv_in", "conv_out")
LAYERS: Mapping[Targets, tuple[str, ...]] = {
    Targets.ATTENTION: ATTENTION_LAYERS,
    Targets.ATTENTION_FEED_FORWARD: ATTENTION_LAYERS + FEED_FORWARD_LAYERS,
    Targets.ALL: ATTENTION_LAYERS + FEED_FORWARD_LAYERS + OTHER_LAYERS,
}
"""Ends of layer names, as PEFT's `target_modules` matches them."""


class StableDiffusion(Network):
    """A pipeline's parts, frozen, behind the family seam."""

    family = Family.STABLE_DIFFUSION

    def __init__(
        self,
        *,
        tokenizer: CLIPTokenizer,
        text_encoder: CLIPTextModel,
        unet: UNet2DConditionModel,
        vae: AutoencoderKL,
        scheduler_config: Mapping[str, Any],
        device: torch.device,
    ) -> None:
        for part in (text_encoder, unet, vae):
            part.requires_grad_(False)
            part.eval()
            part.to(device)
        self._tokenizer = tokenizer
        self._text_encoder = text_encoder
        self._unet = unet
        self._vae = vae
        self.denoiser: nn.Module = unet
        self.device = device
        self.dtype = unet.dtype
        self.latent_factor = 2 ** (len(vae.config.block_out_channels) - 1)
        self.latent_channels = int(vae.config.latent_channels)
        self.resolution = int(unet.config.sample_size) * self.latent_factor
        self.schedule = read_schedule(scheduler_config)
        self._layers = tuple(name for name, _ in unet.named_modules())

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> Conditioning:
        """Return the text encoder's last hidden state [N, T, D], padded to the full length."""
        tokens_NT = self._tokenizer(
            list(prompts),
            padding="max_length",
            max_length=self._tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        return Conditioning(self._text_encoder(tokens_NT.to(self.device))[0].to(self.dtype))

    @torch.no_grad()
    def encode_images(self, x_N3HW: Tensor) -> Tensor:
        """Return `mean(q(z | x)) · scaling_factor`, [N, C, H/f, W/f]."""
        posterior = self._vae.encode(x_N3HW.to(self.device, self.dtype)).latent_dist
        return posterior.mean * self._vae.config.scaling_factor

    @torch.no_grad()
    def decode_latents(self, z_NCHW: Tensor) -> Tensor:
        """Return `decoder(z / scaling_factor)`, [N, 3, H·f, W·f]."""
        z = z_NCHW.to(self.dtype) / self._vae.config.scaling_factor
        return self._vae.decode(z, return_dict=False)[0]

    def denoise(self, z_NCHW: Tensor, t_N: Tensor, conditioning: Conditioning) -> Tensor:
        """Return the UNet's prediction [N, C, H, W]."""
        return self._unet(z_NCHW, t_N, conditioning.tokens_NTD, return_dict=False)[0]

    def target_modules(self, targets: Targets) -> tuple[str, ...]:
        """Return every layer of the UNet whose name ends as `LAYERS` says."""
        ends = LAYERS[targets]
        return tuple(
            name
            for name in self._layers
            if any(name == end or name.endswith(f".{end}") for end in ends)
        )


def load_stable_diffusion(
    folder: Path, device: torch.device, dtype: torch.dtype
) -> StableDiffusion:
    """Load a local pipeline folder; nothing is ever fetched.

    Raises:
        ContractBroken: naming the first file that is missing or does not read.
    """
    for name in NEEDED_FILES:
        if not (folder / name).is_file():
            raise ContractBroken(f"base model {folder}: {name} is missing", where=name)
    part = ""
    try:
        transformers_logging.disable_progress_bar()
        part = "scheduler"
        config = parse_json((folder / "scheduler/scheduler_config.json").read_bytes())
        part = "tokenizer"
        tokenizer = CLIPTokenizer.from_pretrained(folder / part, local_files_only=True)
        part = "text_encoder"
        text_encoder = CLIPTextModel.from_pretrained(
            folder / part, local_files_only=True, use_safetensors=True, dtype=dtype
        )
        part = "unet"
        unet = UNet2DConditionModel.from_pretrained(
            folder / part, local_files_only=True, use_safetensors=True, dtype=dtype
        )
        part = "vae"
        vae = AutoencoderKL.from_pretrained(
            folder / part, local_files_only=True, use_safetensors=True, dtype=dtype
        )
    except (OSError, ValueError, KeyError, RuntimeError, DocumentError) as problem:
        raise ContractBroken(
            f"base model {folder}: {part} does not load: {problem}", where=part
        ) from problem
    return StableDiffusion(
        tokenizer=tokenizer,
        text_encoder=text_encoder,
        unet=unet,
        vae=vae,
        scheduler_config=config,
        device=device,
    )


def read_schedule(config: Mapping[str, Any]) -> NoiseSchedule:
    """Return the noise schedule of a scheduler_config.json.

    Raises:
        ContractBroken: it predicts something else, or clips its latents.
    """
    scheduler = DDIMScheduler.from_config(dict(config))
    prediction = scheduler.config.prediction_type
    if prediction not in set(Prediction):
        raise ContractBroken(
            f"prediction_type {prediction!r}; {[p.value for p in Prediction]} are known",
            where="scheduler/scheduler_config.json",
        )
    if scheduler.config.thresholding or config.get("clip_sample", False):
        raise ContractBroken(
            "clip_sample or thresholding is on; a latent model's schedule has neither",
            where="scheduler/scheduler_config.json",
        )
    return NoiseSchedule(scheduler.alphas_cumprod.double(), Prediction(prediction), dict(config))
