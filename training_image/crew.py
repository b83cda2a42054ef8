"""The crew: threads that each take some rows of a batch forwards and backwards.

On a small CPU a training step is a thousand operations too small to share: two threads inside each
of them are slower than one. Two threads with half of the rows each are nearly twice as fast. On a
GPU the crew is one.

A crew of another size adds up the same gradients in another order. A task that is resumed with as
many workers as before learns the same bits; with more or fewer it learns the same within rounding.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from atelier.lora.bank import Bank, Matrices
from atelier.lora.network import Network
from atelier.lora.sampling import Hands
from training_image.objective import SlotRows, slot_losses, split_rows
from training_image.optimiser import SlotOptimiser


class Crew:
    """Computes a batch's losses and gathers its gradients; the same way for the same crew size.

    Attributes:
        hands: its threads, for drawing too; None when it is one.
    """

    def __init__(
        self, network: Network, bank: Bank, optimiser: SlotOptimiser, *, workers: int
    ) -> None:
        self._network = network
        self._bank = bank
        self._optimiser = optimiser
        self._of_thread = threading.local()
        self.hands: Hands | None = None
        if workers > 1:
            self.hands = Hands(ThreadPoolExecutor(workers, thread_name_prefix="rows"), workers)

    def losses(self, groups: Sequence[SlotRows]) -> list[float]:
        """Return the loss of every slot; the gradients are in the optimiser then.

        Args:
            groups: whole, of one slot after the other.
        """
        if self.hands is None:
            parts = [list(groups)]
            done = [self._part(groups)]
        else:
            parts = split_rows(groups, self.hands.count)
            done = list(self.hands.pool.map(self._part, parts))
        self._optimiser.gather([gradients for _, gradients in done])
        total = dict.fromkeys((group.slot for group in groups), 0.0)
        for part, (losses_G, _) in zip(parts, done, strict=True):
            for group, loss in zip(part, losses_G.tolist(), strict=True):
                total[group.slot] += loss
        return list(total.values())

    def _part(self, groups: Sequence[SlotRows]) -> tuple[Tensor, tuple[Tensor, ...]]:
        leaves = self._own_leaves()
        losses_G = slot_losses(self._network, self._bank, groups, leaves)
        through = [*leaves.A.values(), *leaves.B.values()]
        return losses_G.detach(), torch.autograd.grad(losses_G.sum(), through)

    def _own_leaves(self) -> Matrices:
        found: Matrices | None = getattr(self._of_thread, "leaves", None)
        if found is None:
            found = self._of_thread.leaves = self._bank.leaves()
        return found
