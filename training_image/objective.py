"""The loss of a batch whose rows belong to slots: each slot's mean over its own rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from atelier.lora.bank import Bank, Matrices
from atelier.lora.network import Conditioning, Network, NoiseSchedule, Prediction


@dataclass(frozen=True, slots=True)
class SlotRows:
    """R rows of one slot in one step.

    Attributes:
        slot: whose.
        latents_RCHW: clean.
        noise_RCHW: ε, on any device.
        timesteps_R: int64 on the CPU.
        captions: R rows.
        min_snr_gamma: γ of the weighting; 0 switches it off.
        of_rows: how many such rows the slot has in this step, here and in other parts of the batch.
        weight: of their loss.
    """

    slot: int
    latents_RCHW: Tensor  # noqa: N815 - shape suffix
    noise_RCHW: Tensor  # noqa: N815 - shape suffix
    timesteps_R: Tensor  # noqa: N815 - shape suffix
    captions: Conditioning
    min_snr_gamma: float
    of_rows: int
    weight: float = 1.0

    def __len__(self) -> int:
        return len(self.timesteps_R)

    def part(self, begin: int, end: int) -> SlotRows:
        """Return the rows from `begin` to before `end`, still of the same whole."""
        return replace(
            self,
            latents_RCHW=self.latents_RCHW[begin:end],
            noise_RCHW=self.noise_RCHW[begin:end],
            timesteps_R=self.timesteps_R[begin:end],
            captions=self.captions.rows(range(begin, end)),
        )


def slot_losses(
    network: Network, bank: Bank, groups: Sequence[SlotRows], leaves: Matrices | None = None
) -> Tensor:
    """Return the loss of every group, `[G]`; their sum's gradient is each slot's own.

    A slot's loss is the mean over its rows, or its rows' part of it where others are elsewhere.

        z_t = √ā_t z_0 + √(1-ā_t) ε
        loss = weight · Σ_r snr_weight(t_r) · mean (p(z_t, t, text) - target)² / of_rows

    The target is ε, or `v = √ā_t ε - √(1-ā_t) z_0`. No row's loss depends on another slot's.
    With `leaves` of the bank, gradients can be taken through them.
    Noise and errors are computed in float32 or wider, whatever the network computes in.
    """
    wide = torch.promote_types(network.dtype, torch.float32)
    latents_NCHW = torch.cat([group.latents_RCHW for group in groups]).to(wide)
    noise_NCHW = torch.cat([group.noise_RCHW for group in groups]).to(latents_NCHW)
    timesteps_N = torch.cat([group.timesteps_R for group in groups])
    kept_N = network.schedule.alphas_cumprod[timesteps_N].to(latents_NCHW)
    signal, spread = (part.sqrt()[:, None, None, None] for part in (kept_N, 1 - kept_N))
    noisy_NCHW = signal * latents_NCHW + spread * noise_NCHW
    target_NCHW = noise_NCHW
    if network.schedule.prediction is Prediction.V:
        target_NCHW = signal * noise_NCHW - spread * latents_NCHW
    rows = bank.bind([group.slot for group in groups for _ in range(len(group))])
    with bank.rows(rows, leaves):
        predicted_NCHW = network.denoise(
            noisy_NCHW.to(network.dtype),
            timesteps_N.to(network.device),
            Conditioning.join([group.captions for group in groups]),
        )
    errors_N = (predicted_NCHW.to(wide) - target_NCHW).square().mean(dim=(1, 2, 3))
    losses = []
    begin = 0
    for group in groups:
        end = begin + len(group)
        weight_R = snr_weights(network.schedule, group.timesteps_R, group.min_snr_gamma)
        total = (weight_R.to(errors_N) * errors_N[begin:end]).sum()
        losses.append(total * (group.weight / group.of_rows))
        begin = end
    return torch.stack(losses)


def split_rows(groups: Sequence[SlotRows], parts: int) -> list[list[SlotRows]]:
    """Cut a batch into at most `parts` parts of about as many rows, in order."""
    most = -(-sum(len(group) for group in groups) // parts)
    found: list[list[SlotRows]] = [[]]
    room = most
    for group in groups:
        begin = 0
        while begin < len(group):
            if not room:
                found.append([])
                room = most
            end = min(len(group), begin + room)
            found[-1].append(group.part(begin, end) if end - begin < len(group) else group)
            room -= end - begin
            begin = end
    return found


def snr_weights(schedule: NoiseSchedule, timesteps_R: Tensor, gamma: float) -> Tensor:
    """Return min-SNR weights `[R]` (Hang et al., arXiv 2303.09556).

    With snr = ā / (1-ā): `min(snr, γ) / snr` for ε prediction, `min(snr, γ) / (snr + 1)` for v.
    """
    if gamma == 0:
        return torch.ones(len(timesteps_R), dtype=torch.float64)
    kept_R = schedule.alphas_cumprod[timesteps_R]
    snr_R = kept_R / (1 - kept_R)
    over = snr_R if schedule.prediction is Prediction.EPSILON else snr_R + 1
    return snr_R.clamp(max=gamma) / over
