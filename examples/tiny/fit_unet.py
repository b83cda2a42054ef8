"""Train the UNet together with the text encoder to predict the noise in captioned latents."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel

from examples.tiny.fitting import Average, Budget, learning_rate
from examples.tiny.networks import build_scheduler

HELD_OUT = 4096
DROPPED_CAPTIONS = 0.1
SNR_CAP = 5.0


@dataclass(frozen=True, slots=True)
class Steered:
    """The two networks that learn together."""

    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel

    def parameters(self) -> list[nn.Parameter]:
        """Every weight of both."""
        return [*self.unet.parameters(), *self.text_encoder.parameters()]


@dataclass(frozen=True, slots=True)
class Captioned:
    """Training data on the device.

    Attributes:
        latents: float16 [n, channels, 16, 16].
        tokens: int64 [n, tokens].
        nothing: int64 [tokens], the empty caption.
    """

    latents: Tensor
    tokens: Tensor
    nothing: Tensor


def spread_timesteps(count: int, device: torch.device) -> Tensor:
    """`count` timesteps, one in each of `count` equal parts of the schedule."""
    places = (torch.arange(count, device=device) + torch.rand(count, device=device)) / count
    return (places * 1000).long().clamp(max=999)


def loss_of(
    nets: Steered,
    latents: Tensor,
    *,
    tokens: Tensor,
    timesteps: Tensor,
    noise: Tensor,
    kept: Tensor,
) -> Tensor:
    """`mean_n min(snr_n, 5)/snr_n · mean (ε_θ(√ā x + √(1-ā) ε, t, text) - ε)²`.

    Min-SNR weighting for noise prediction (Hang et al., arXiv 2303.09556). `kept` is ā_t, [n].
    """
    signal = kept.sqrt()[:, None, None, None]
    noisy = signal * latents + (1 - kept).sqrt()[:, None, None, None] * noise
    text = nets.text_encoder(tokens)[0]
    predicted = nets.unet(noisy, timesteps, text, return_dict=False)[0]
    ratio = kept / (1 - kept)
    weight = ratio.clamp(max=SNR_CAP) / ratio
    return (weight * (predicted.float() - noise).pow(2).mean(dim=(1, 2, 3))).mean()


def fit_unet(
    nets: Steered,
    data: Captioned,
    *,
    budget: Budget,
    batch: int,
    peak: float = 1.5e-3,
    hold: float = 0.55,
    compiled: bool,
    report: Callable[[str], None],
    between: Callable[[int], None],
    between_steps: int = 2000,
) -> float:
    """Train; returns the held-out loss of the averaged weights, which the networks then hold.

    The last 4,096 examples are never trained on. `between(step)` is called every `between_steps`
    steps with the averaged weights in place, for samples and checkpoints.
    """
    device = data.latents.device
    nets.unet.to(device, memory_format=torch.channels_last).train()
    nets.text_encoder.to(device).train()
    count = len(data.latents) - HELD_OUT if len(data.latents) > 2 * HELD_OUT else len(data.latents)
    kept_by_time = build_scheduler().alphas_cumprod.to(device)
    optimiser = torch.optim.AdamW(
        nets.parameters(), lr=peak, betas=(0.9, 0.99), weight_decay=0.01, fused=True
    )
    average = Average(nets.parameters(), decay=0.9985)

    def steered_loss(latents: Tensor, tokens: Tensor, timesteps: Tensor) -> Tensor:
        return loss_of(
            nets,
            latents,
            tokens=tokens,
            timesteps=timesteps,
            noise=torch.randn_like(latents),
            kept=kept_by_time[timesteps],
        )

    chosen_loss = torch.compile(steered_loss) if compiled else steered_loss

    def run(rows: Tensor) -> Tensor:
        latents = data.latents[rows].float()
        dropped = torch.rand(len(rows), 1, device=device) < DROPPED_CAPTIONS
        tokens = torch.where(dropped, data.nothing, data.tokens[rows])
        latents = latents.contiguous(memory_format=torch.channels_last)
        return chosen_loss(latents, tokens, spread_timesteps(len(rows), device))

    step = 0
    while (spent := budget.spent(step)) < 1:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(peak, step=step, spent=spent, hold=hold)
        rows = torch.randint(count, (batch,), device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = run(rows)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(nets.parameters(), 1.0)
        optimiser.step()
        average.follow(step)
        if step % 200 == 0:
            speed = step * batch / max(1e-9, budget.now() - budget.started)
            report(f"unet step {step} spent {spent:.3f} loss {loss.item():.4f} {speed:.0f}/s")
        step += 1
        if step % between_steps == 0:
            average.exchange()
            between(step)
            average.exchange()
    average.exchange()
    final = measure_loss(nets, data, batch=min(batch, 1024))
    report(f"unet done: {step} steps, {step * batch} samples, held-out loss {final:.4f}")
    return final


@torch.no_grad()
def measure_loss(nets: Steered, data: Captioned, *, batch: int) -> float:
    """The loss over the last 4,096 examples with noise and timesteps of a fixed seed."""
    device = data.latents.device
    kept_by_time = build_scheduler().alphas_cumprod.to(device)
    random = torch.Generator().manual_seed(7)
    latents, tokens = data.latents[-HELD_OUT:], data.tokens[-HELD_OUT:]
    total = 0.0
    for part, words in zip(latents.split(batch), tokens.split(batch), strict=True):
        noise = torch.randn(part.shape, generator=random).to(device)
        timesteps = torch.randint(1000, (len(part),), generator=random).to(device)
        loss = loss_of(
            nets,
            part.float(),
            tokens=words,
            timesteps=timesteps,
            noise=noise,
            kept=kept_by_time[timesteps],
        )
        total += loss.item() * len(part)
    return total / len(latents)
