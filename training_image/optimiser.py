"""AdamW over all slots at once, each slot with its own learning rate, step, clipping and decay.

Weights, gradients and moments are `[S, P]`: one row per slot. Every operation is a row's own, so a
slot that fails cannot reach its neighbours, not even by rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from atelier.contracts.settings import Hyperparameters, Schedule
from atelier.lora.bank import Bank

BETAS = (0.9, 0.999)
EPSILON = 1e-8


@dataclass(frozen=True, slots=True)
class Stride:
    """How one slot moves in one optimiser step.

    Attributes:
        slot: which.
        step: number of this step of its task, from 1.
        learning_rate, weight_decay, max_grad_norm: of this step.
    """

    slot: int
    step: int
    learning_rate: float
    weight_decay: float
    max_grad_norm: float


class SlotOptimiser:
    """Gradients and moments of a bank's slots, beside the bank's own weights.

    Attributes:
        gradient_SP: what was gathered last, laid out as the bank's storage.
        first_SP, second_SP: AdamW's moments, likewise.
    """

    def __init__(self, bank: Bank) -> None:
        """Allocate everything, once."""
        self._bank = bank
        self.gradient_SP = torch.zeros_like(bank.storage_SP)
        self.first_SP = torch.zeros_like(bank.storage_SP)
        self.second_SP = torch.zeros_like(bank.storage_SP)
        A, B = bank.views_of(self.gradient_SP)
        self._places = [*A.values(), *B.values()]

    def gather(self, parts: Sequence[tuple[Tensor, ...]]) -> None:
        """Fill `gradient_SP` with the sum of the parts of a batch, in their order.

        Args:
            parts: each the gradients of all A, then of all B, in the bank's order.
        """
        for place, first, *others in zip(self._places, *parts, strict=True):
            place.copy_(first)
            for other in others:
                place.add_(other)

    def clear(self, slot: int) -> None:
        """Forget a slot's moments before it changes hands."""
        self.first_SP[slot].zero_()
        self.second_SP[slot].zero_()

    @torch.no_grad()
    def stride(self, strides: list[Stride]) -> None:
        """Move the slots of `strides` by their gradients.

        With g clipped to the slot's own norm, per slot (Loshchilov and Hutter, arXiv 1711.05101):

            w ← w (1 - lr wd);  m ← β1 m + (1-β1) g;  v ← β2 v + (1-β2) g²
            w ← w - lr (m / (1-β1^t)) / (√(v / (1-β2^t)) + ε)
        """
        beta1, beta2 = BETAS
        for own in strides:
            weight_P = self._bank.storage_SP[own.slot]
            gradient_P = self.gradient_SP[own.slot]
            first_P, second_P = self.first_SP[own.slot], self.second_SP[own.slot]
            norm = gradient_P.norm()
            gradient_P.mul_((own.max_grad_norm / (norm + 1e-6)).clamp(max=1.0))
            weight_P.mul_(1 - own.learning_rate * own.weight_decay)
            first_P.lerp_(gradient_P, 1 - beta1)
            second_P.mul_(beta2).addcmul_(gradient_P, gradient_P, value=1 - beta2)
            scale = own.learning_rate / (1 - beta1**own.step)
            root_P = second_P.sqrt().div_((1 - beta2**own.step) ** 0.5).add_(EPSILON)
            weight_P.addcdiv_(first_P, root_P, value=-scale)


def stride_of(slot: int, step: int, tuned: Hyperparameters) -> Stride:
    """Return how a slot moves in step number `step`, counted from 0."""
    return Stride(
        slot, step + 1, learning_rate(tuned, step), tuned.weight_decay, tuned.max_grad_norm
    )


def learning_rate(tuned: Hyperparameters, step: int) -> float:
    """Return the learning rate of step number `step`, counted from 0.

    It rises linearly over the warm-up, then stays, or falls along half a cosine to zero after the
    last step.
    """
    if step < tuned.warmup_steps:
        return tuned.learning_rate * (step + 1) / (tuned.warmup_steps + 1)
    if tuned.schedule is Schedule.CONSTANT:
        return tuned.learning_rate
    share = (step - tuned.warmup_steps) / max(1, tuned.steps - tuned.warmup_steps)
    return tuned.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
