"""Train the VAE: pictures ↔ normalised latents."""

from collections.abc import Callable

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from examples.tiny.fitting import Average, Budget, learning_rate, to_unit

KL_WEIGHT = 1e-4
HELD_OUT = 1024


def fit_vae(
    vae: AutoencoderKL,
    images: Tensor,
    *,
    budget: Budget,
    batch: int,
    peak: float = 1.5e-3,
    compiled: bool,
    report: Callable[[str], None],
) -> float:
    """Train `vae` on `images` (uint8 [n, 64, 64, 3], on the device); returns held-out PSNR in dB.

    `loss = mean|d| + 2 mean d² + ½ mean|∇d| + 1e-4 KL` with `d = decoded - picture`: the gradient
    term keeps outlines and eyes sharp. The last 1,024 images are never trained on. Afterwards the
    latents of training images have mean 0 and deviation 1 in every channel.
    """
    device = images.device
    vae.to(device, memory_format=torch.channels_last).train()
    training = images[:-HELD_OUT] if len(images) > 2 * HELD_OUT else images
    optimiser = torch.optim.AdamW(
        vae.parameters(), lr=peak, betas=(0.9, 0.99), weight_decay=1e-3, fused=True
    )
    average = Average(vae.parameters(), decay=0.998)

    def loss_of(pictures: Tensor) -> tuple[Tensor, Tensor]:
        moments = vae.quant_conv(vae.encoder(pictures))
        mean, log_variance = moments.float().chunk(2, dim=1)
        log_variance = log_variance.clamp(-20.0, 10.0)
        latents = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        decoded = vae.decoder(vae.post_quant_conv(latents)).float()
        difference = decoded - pictures
        square = difference.pow(2).mean()
        edges = difference.diff(dim=2).abs().mean() + difference.diff(dim=3).abs().mean()
        divergence = 0.5 * (mean.pow(2) + log_variance.exp() - 1 - log_variance).mean()
        loss = difference.abs().mean() + 2 * square + 0.5 * edges + KL_WEIGHT * divergence
        return loss, square

    run = torch.compile(loss_of) if compiled else loss_of
    step = 0
    while (spent := budget.spent(step)) < 1:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(peak, step=step, spent=spent)
        rows = torch.randint(len(training), (batch,), device=device)
        pictures = to_unit(training[rows]).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss, square = run(pictures)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimiser.step()
        average.follow(step)
        if step % 500 == 0:
            decibels = -10 * torch.log10(square / 4).item()
            report(f"vae step {step} loss {loss.item():.4f} psnr {decibels:.2f} dB")
        step += 1
    average.exchange()
    vae.eval()
    normalise_latents(vae, training[:4096])
    decibels = measure_psnr(vae, images[-HELD_OUT:])
    report(f"vae done: {step} steps, held-out psnr {decibels:.2f} dB")
    return decibels


@torch.no_grad()
def encode(vae: AutoencoderKL, images: Tensor, *, batch: int = 512) -> Tensor:
    """The latents' means, `float16 [n, channels, 16, 16]`, of uint8 images on the device."""
    return torch.cat(
        [
            vae.encode(to_unit(part)).latent_dist.mean.mul(vae.config.scaling_factor).half()
            for part in images.split(batch)
        ]
    )


@torch.no_grad()
def measure_psnr(vae: AutoencoderKL, images: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of encode-then-decode over all pixels of uint8 images."""
    total, count = 0.0, 0
    for part in images.split(256):
        pictures = to_unit(part)
        decoded = vae.decode(vae.encode(pictures).latent_dist.mean).sample.clamp(-1, 1)
        total += (decoded - pictures).pow(2).sum().item()
        count += pictures.numel()
    return float(-10 * torch.log10(torch.tensor(total / count / 4)))


@torch.no_grad()
def normalise_latents(vae: AutoencoderKL, images: Tensor) -> None:
    """Fold mean 0, deviation 1 per channel into the 1x1 convolutions around the latents.

    `quant_conv` gives `[mean, log variance]`; with `z' = (z - m) / s` its mean rows become
    `(W - .) / s`, its log variance drops by `2 log s`, and `post_quant_conv` undoes it. The
    picture decoded is the same; the scaling factor becomes 1.
    """
    vae.register_to_config(scaling_factor=1.0)
    latents = torch.cat([vae.encode(to_unit(part)).latent_dist.mean for part in images.split(512)])
    centre, spread = latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3))
    channels = len(centre)
    before, after = vae.quant_conv, vae.post_quant_conv
    after.bias += (after.weight[:, :, 0, 0] @ centre[:, None])[:, 0]
    after.weight *= spread[None, :, None, None]
    before.weight[:channels] /= spread[:, None, None, None]
    before.bias[:channels] = (before.bias[:channels] - centre) / spread
    before.bias[channels:] -= 2 * spread.log()
