"""The bank: stacked adapter matrices of every target module, one slot per adapter.

For every target module the bank holds A `[S+1, r, in]` (convolutions `[S+1, r, in, kh, kw]`) and
B `[S+1, out, r]`. The last slot, `bank.empty`, is always zero: rows that draw with the base model
alone point there. All matrices are views of one allocation per part, made once and never again, so
that a captured graph keeps its addresses; a slot is one stretch of it, so that clearing, copying
and measuring a slot are single operations.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class ModuleShape:
    """One target module: its name, and the shapes of its matrices at the bank's rank.

    Attributes:
        name: path within the denoiser.
        a: `(r, in)`, or `(r, in, kh, kw)` of a convolution.
        b: `(out, r)`.
    """

    name: str
    a: tuple[int, ...]
    b: tuple[int, int]

    @property
    def is_convolution(self) -> bool:
        """Whether the module is a convolution."""
        return len(self.a) == 4

    def at_rank(self, rank: int) -> ModuleShape:
        """Return the same module's shapes at another rank."""
        return ModuleShape(self.name, (rank, *self.a[1:]), (self.b[0], rank))


@dataclass(frozen=True, slots=True)
class AdapterWeights:
    """One adapter's matrices outside the bank.

    Attributes:
        rank, alpha: its own; scale = alpha / rank.
        matrices: module name → (A `(rank, in[, kh, kw])`, B `(out, rank)`).
    """

    rank: int
    alpha: float
    matrices: Mapping[str, tuple[Tensor, Tensor]]

    @property
    def scale(self) -> float:
        """Alpha divided by rank."""
        return self.alpha / self.rank


@dataclass(frozen=True, slots=True)
class Rows:
    """Which slot each row of a batch uses, in G groups of R neighbouring rows of one slot.

    Attributes:
        slots_G: slot of each group, on the bank's device.
        per_group: R; `G · R = N`.
        scale_N: scale of each row: its slot's, times its own factor.
        single: the slot when there is one group only, else None.
    """

    slots_G: Tensor  # noqa: N815 - shape suffix
    per_group: int
    scale_N: Tensor  # noqa: N815 - shape suffix
    single: int | None

    def __len__(self) -> int:
        return len(self.scale_N)


@dataclass(frozen=True, slots=True)
class Matrices:
    """The stacked matrices of all modules: module name → `[S+1, r, in, …]` and `[S+1, out, r]`."""

    A: Mapping[str, Tensor]
    B: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Binding:
    """What a batch runs with: its rows, and which tensors stand for the bank's matrices."""

    rows: Rows
    matrices: Matrices


class _Bound(threading.local):
    """The binding of the batch that this thread runs."""

    binding: Binding | None = None


class Bank:
    """Slots 0 … S-1 for adapters, and the empty slot S.

    Attributes:
        A, B: module name → stacked matrices (views of the bank's storage).
        scale: `[S+1]`, alpha / rank of the adapter in each slot; 0 in a cleared one.
        shapes: module name → shapes at the bank's rank, in the network's order.
    """

    def __init__(
        self,
        shapes: Sequence[ModuleShape],
        *,
        slots: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Allocate everything, zeroed.

        Raises:
            ValueError: no slots, no modules, or modules of different ranks.
        """
        if slots < 1 or not shapes or len({shape.a[0] for shape in shapes}) != 1:
            raise ValueError(f"a bank of {slots} slots and {len(shapes)} modules of one rank")
        self.slots = slots
        self.empty = slots
        self.rank = shapes[0].a[0]
        self.device = torch.device(device)
        self.dtype = dtype
        self.shapes: dict[str, ModuleShape] = {shape.name: shape for shape in shapes}
        self.storage_SP = torch.zeros(slots + 1, self._width(), device=self.device, dtype=dtype)
        self.scale = torch.zeros(slots + 1, device=self.device, dtype=dtype)
        self.A, self.B = self.views_of(self.storage_SP)
        self._bound = _Bound()

    def _width(self) -> int:
        return sum(math.prod(s.a) + math.prod(s.b) for s in self.shapes.values())

    def views_of(self, storage_SP: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return stacked A and B as views of any `[S', P]` tensor laid out as the storage."""
        count = len(storage_SP)
        A, B = {}, {}
        begin = 0
        for name, shape in self.shapes.items():
            middle = begin + math.prod(shape.a)
            end = middle + math.prod(shape.b)
            A[name] = storage_SP[:, begin:middle].view(count, *shape.a)
            B[name] = storage_SP[:, middle:end].view(count, *shape.b)
            begin = end
        return A, B

    @torch.no_grad()
    def clear(self, slot: int) -> None:
        """Zero a slot: nothing of its former owner remains."""
        self._check(slot)
        self.storage_SP[slot].zero_()
        self.scale[slot] = 0.0

    @torch.no_grad()
    def initialise(
        self, slot: int, *, rank: int, alpha: float, modules: Sequence[str], seed: int
    ) -> None:
        """Clear a slot and give it a fresh adapter as PEFT starts one: A random, B zero.

        A is uniform in `±1/√fan_in` (Kaiming with a = √5), drawn on the CPU from a generator of
        its own, so that a seed starts the same adapter in any slot of any bank.

        Raises:
            ValueError: a rank above the bank's.
        """
        if not 1 <= rank <= self.rank:
            raise ValueError(f"rank {rank}; this bank holds ranks 1 to {self.rank}")
        self.clear(slot)
        generator = torch.Generator("cpu").manual_seed(seed)
        for name in modules:
            shape = (rank, *self.shapes[name].a[1:])
            bound = math.prod(shape[1:]) ** -0.5
            values = torch.rand(shape, generator=generator) * (2 * bound) - bound
            self.A[name][slot, :rank].copy_(values)
        self.scale[slot] = alpha / rank

    @torch.no_grad()
    def load(self, slot: int, weights: AdapterWeights) -> None:
        """Clear a slot and copy an adapter into it.

        A smaller rank is padded with zeros, which change nothing: `B A` is a sum over the rank.

        Raises:
            ValueError: a rank above the bank's, or a module that the bank does not have.
        """
        if not 1 <= weights.rank <= self.rank:
            raise ValueError(f"rank {weights.rank}; this bank holds ranks 1 to {self.rank}")
        if unknown := sorted(set(weights.matrices) - set(self.shapes)):
            raise ValueError(f"modules {unknown[:3]} are not in this bank")
        self.clear(slot)
        for name, (a, b) in weights.matrices.items():
            self.A[name][slot, : weights.rank].copy_(a, non_blocking=True)
            self.B[name][slot, :, : weights.rank].copy_(b, non_blocking=True)
        self.scale[slot] = weights.scale

    @torch.no_grad()
    def take(self, slot: int, *, rank: int, alpha: float, modules: Sequence[str]) -> AdapterWeights:
        """Copy an adapter of a rank and a set of modules out of a slot, to the CPU."""
        self._check(slot)
        matrices = {
            name: (
                self.A[name][slot, :rank].detach().to("cpu", copy=True).contiguous(),
                self.B[name][slot, :, :rank].detach().to("cpu", copy=True).contiguous(),
            )
            for name in modules
        }
        return AdapterWeights(rank, alpha, matrices)

    def bind(self, slots: Sequence[int], factors: Sequence[float] | None = None) -> Rows:
        """Say which slot each row of the next batches uses; bind anew after a slot has changed.

        Row n's adapter acts with `scale[slots[n]] * factors[n]`. A factor of 0 sends the row to the
        empty slot: it is the base model exactly, whatever the slot holds.

        Args:
            slots: N slots; `bank.empty` for the base model.
            factors: N factors; 1 each when absent.

        Raises:
            ValueError: no rows, a slot that does not exist, or another number of factors.
        """
        given = list(factors) if factors is not None else [1.0] * len(slots)
        if not slots or len(given) != len(slots):
            raise ValueError(f"{len(slots)} rows with {len(given)} factors")
        if not all(0 <= slot <= self.empty for slot in slots):
            raise ValueError(f"slots {sorted(set(slots))}; 0 to {self.empty} exist")
        chosen = [
            slot if factor != 0 else self.empty for slot, factor in zip(slots, given, strict=True)
        ]
        per_group = _group_size(chosen)
        groups = chosen[::per_group]
        rows = torch.tensor(chosen, dtype=torch.long, device=self.device)
        factor_N = torch.tensor(given, dtype=self.dtype, device=self.device)
        return Rows(
            slots_G=torch.tensor(groups, dtype=torch.long, device=self.device),
            per_group=per_group,
            scale_N=self.scale[rows] * factor_N,
            single=groups[0] if len(groups) == 1 else None,
        )

    def leaves(self) -> Matrices:
        """Return tensors over the same storage through which gradients can be taken.

        A thread that takes gradients needs its own: torch's bookkeeping of one leaf, used by two
        threads at once, can wait for itself (a lock of the leaf's against Python's).
        """
        A, B = (
            {name: tensor.detach().requires_grad_() for name, tensor in stacked.items()}
            for stacked in (self.A, self.B)
        )
        return Matrices(A, B)

    @contextmanager
    def rows(self, rows: Rows, leaves: Matrices | None = None) -> Iterator[None]:
        """Run the denoiser on a batch whose rows are bound so; outside, adapters are an error.

        A binding holds in its own thread, so that threads may run batches of their own at once.

        Args:
            rows: one for every row of the batch.
            leaves: what gradients are taken through, or None for no gradients.
        """
        binding = Binding(rows, leaves or Matrices(self.A, self.B))
        before, self._bound.binding = self._bound.binding, binding
        try:
            yield
        finally:
            self._bound.binding = before

    def bound_to(self, count: int) -> Binding:
        """Return the binding of the batch at hand, which has `count` rows.

        Raises:
            ValueError: none is bound, or one of another size: guessing could draw with another
                person's adapter.
        """
        binding = self._bound.binding
        if binding is None or len(binding.rows) != count:
            bound = "no rows" if binding is None else f"{len(binding.rows)} rows"
            raise ValueError(f"a batch of {count} rows with {bound} bound; use `bank.rows(…)`")
        return binding

    def _check(self, slot: int) -> None:
        if not 0 <= slot < self.slots:
            raise ValueError(f"slot {slot}; 0 to {self.slots - 1} hold adapters")


def _group_size(slots: Sequence[int]) -> int:
    """Return the largest R such that the rows are whole groups of R equal neighbours."""
    runs = [0]
    for before, slot in zip([slots[0], *slots], slots, strict=False):
        if slot == before:
            runs[-1] += 1
        else:
            runs.append(1)
    return math.gcd(*runs)
