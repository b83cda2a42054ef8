"""What every training loop here shares: a budget, a learning rate over it, averaged weights."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Budget:
    """When to stop: after `steps` optimiser steps or `seconds`, whichever is first.

    Attributes:
        steps: Optimiser steps at most.
        seconds: Seconds at most.
        now: A monotonic clock in seconds.
        started: What that clock showed at the start.
    """

    steps: int
    seconds: float
    now: Callable[[], float]
    started: float

    def spent(self, step: int) -> float:
        """The share that is used up before step number `step`; 1 or more means stop."""
        return max(step / self.steps, (self.now() - self.started) / self.seconds)


def learning_rate(
    peak: float, *, step: int, spent: float, warm_up: int = 200, hold: float = 0.55
) -> float:
    """Rise over `warm_up` steps, hold until `hold` of the budget is spent, then fall by cosine."""
    rising = min(1.0, (step + 1) / warm_up)
    turn = math.pi * min(1.0, max(0.0, spent - hold) / (1 - hold))
    return peak * rising * (0.01 + 0.99 * 0.5 * (1 + math.cos(turn)))


class Average:
    """Exponential moving average of weights: `average ← average + (1 - decay) (weights - average)`.

    The decay starts small, so that the random start is forgotten.
    """

    def __init__(self, parameters: Iterable[Tensor], *, decay: float) -> None:
        self._live = [each for each in parameters if each.requires_grad]
        self.weights = [each.detach().clone() for each in self._live]
        self._decay = decay

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Move towards the live weights."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.weights, self._live, 1 - decay)

    @torch.no_grad()
    def exchange(self) -> None:
        """Swap live and averaged weights; swapping again restores both."""
        for live, average in zip(self._live, self.weights, strict=True):
            held = live.detach().clone()
            live.copy_(average)
            average.copy_(held)


def to_unit(images: Tensor) -> Tensor:
    """`uint8 [n, height, width, 3]` → `float32 [n, 3, height, width]` between -1 and 1."""
    return images.permute(0, 3, 1, 2).float().div(127.5).sub(1.0)


def pixels_of(images: Sequence[Image.Image]) -> Tensor:
    """RGB pictures of one size → `uint8 [n, height, width, 3]`."""
    return torch.from_numpy(np.stack([np.asarray(image.convert("RGB")) for image in images]))
