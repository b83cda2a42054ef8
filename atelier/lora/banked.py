"""Layers that add each row's adapter: what the bank puts in the place of linears and convolutions.

    y[n] = base(x[n]) + (x[n] @ A[slot[n]].T) @ B[slot[n]].T * scale[n]

where `scale[n] = scale[slot[n]] * factor[n]`; a convolution's A is a convolution of the base's own
kernel, stride and padding, its B a 1×1 one, as PEFT has it (LoRA: Hu et al., arXiv 2106.09685).
A row's result depends on its own input and slot alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atelier.contracts.settings import Targets
from atelier.lora.bank import Bank, ModuleShape, Rows
from atelier.lora.network import Network


class BankedLinear(nn.Module):
    """A frozen linear layer with an adapter per row."""

    def __init__(self, base: nn.Linear, bank: Bank, name: str) -> None:
        super().__init__()
        self.base = base
        self._bank = bank
        self._name = name

    def forward(self, x: Tensor) -> Tensor:
        """Return `[N, …, out]` of x `[N, …, in]`."""
        bound = self._bank.bound_to(len(x))
        A, B = bound.matrices.A[self._name], bound.matrices.B[self._name]
        return self.base(x) + linear_delta(x, A, B, bound.rows)


class BankedConv2d(nn.Module):
    """A frozen convolution with an adapter per row."""

    def __init__(self, base: nn.Conv2d, bank: Bank, name: str) -> None:
        super().__init__()
        self.base = base
        self._bank = bank
        self._name = name

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return `[N, out, H', W']` of x `[N, in, H, W]`."""
        bound = self._bank.bound_to(len(x_NCHW))
        A, B = bound.matrices.A[self._name], bound.matrices.B[self._name]
        return self.base(x_NCHW) + convolution_delta(x_NCHW, A, B, bound.rows, self.base)


def linear_delta(x: Tensor, A: Tensor, B: Tensor, rows: Rows) -> Tensor:
    """Return `delta[n] = (x[n] @ A[slot[n]].T * scale[n]) @ B[slot[n]].T`.

    Args:
        x: `[N, …, in]`; its dtype is the result's.
        A: `[S+1, r, in]`, cast to x's dtype.
        B: `[S+1, out, r]`, likewise.
        rows: G groups of R rows.

    Returns:
        `[N, …, out]`.
    """
    scale = rows.scale_N.to(x.dtype).view(-1, *(1 for _ in range(x.dim() - 1)))
    if rows.single is not None:
        down = F.linear(x, A[rows.single].to(x.dtype)) * scale
        return F.linear(down, B[rows.single].to(x.dtype))
    A_Gri = A.index_select(0, rows.slots_G).to(x.dtype)
    B_Gor = B.index_select(0, rows.slots_G).to(x.dtype)
    groups = len(A_Gri)
    down = torch.bmm(x.reshape(groups, -1, x.shape[-1]), A_Gri.transpose(1, 2))
    down = (down.view(*x.shape[:-1], -1) * scale).view(groups, -1, down.shape[-1])
    return torch.bmm(down, B_Gor.transpose(1, 2)).view(*x.shape[:-1], -1)


def convolution_delta(x_NCHW: Tensor, A: Tensor, B: Tensor, rows: Rows, base: nn.Conv2d) -> Tensor:
    """Return `delta[n] = conv1x1(conv(x[n], A[slot[n]]) * scale[n], B[slot[n]])`.

    Several slots become groups of one grouped convolution: the batch's rows move into its channels.

    Args:
        x_NCHW: `[N, in, H, W]`.
        A: `[S+1, r, in, kh, kw]`, cast to x's dtype.
        B: `[S+1, out, r]`, likewise.
        rows: G groups of R rows.
        base: gives stride, padding and dilation.

    Returns:
        `[N, out, H', W']`.
    """
    convolve = partial(F.conv2d, stride=base.stride, padding=base.padding, dilation=base.dilation)
    scale = rows.scale_N.to(x_NCHW.dtype).view(-1, 1, 1, 1)
    if rows.single is not None:
        down = convolve(x_NCHW, A[rows.single].to(x_NCHW.dtype)) * scale
        return F.conv2d(down, B[rows.single].to(x_NCHW.dtype)[:, :, None, None])
    A_Grchw = A.index_select(0, rows.slots_G).to(x_NCHW.dtype)
    B_Gor = B.index_select(0, rows.slots_G).to(x_NCHW.dtype)
    groups, per_group = len(A_Grchw), rows.per_group
    count, channels, height, width = x_NCHW.shape
    folded = (
        x_NCHW.view(groups, per_group, channels, height, width)
        .transpose(0, 1)
        .reshape(per_group, groups * channels, height, width)
    )
    down = convolve(folded, A_Grchw.flatten(0, 1), groups=groups)
    _, _, height, width = down.shape
    down = down.view(per_group, groups, -1, height, width).transpose(0, 1)
    down = down.reshape(count, -1, height, width) * scale
    up = torch.matmul(B_Gor[:, None], down.view(groups, per_group, -1, height * width))
    return up.view(count, -1, height, width)


@torch.no_grad()
def reference_delta(
    x: Tensor, A: Tensor, B: Tensor, slots: Iterable[int], scales: Iterable[float], base: nn.Module
) -> Tensor:
    """Return the same as the two above, one row after the other in float32: slow, and obvious.

    Args:
        x: N rows of the layer's input.
        A: the bank's stacked A of the layer.
        B: its stacked B.
        slots: of each row.
        scales: of each row.
        base: the layer; a convolution gives its stride, padding and dilation.
    """
    deltas = []
    for row, slot, scale in zip(x.float(), slots, scales, strict=True):
        a, b = A[slot].float(), B[slot].float()
        if isinstance(base, nn.Conv2d):
            down = F.conv2d(
                row[None], a, stride=base.stride, padding=base.padding, dilation=base.dilation
            )
            deltas.append(F.conv2d(down, b[:, :, None, None])[0] * scale)
        else:
            deltas.append((row @ a.T) @ b.T * scale)
    return torch.stack(deltas)


def shape_of(name: str, layer: nn.Module, rank: int) -> ModuleShape:
    """Return the shapes of a layer's adapter.

    Raises:
        ValueError: the layer is neither a linear nor an ungrouped convolution.
    """
    if isinstance(layer, nn.Linear):
        return ModuleShape(name, (rank, layer.in_features), (layer.out_features, rank))
    if isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.padding_mode == "zeros":
        kernel = (int(layer.kernel_size[0]), int(layer.kernel_size[1]))
        return ModuleShape(name, (rank, layer.in_channels, *kernel), (layer.out_channels, rank))
    raise ValueError(f"{name} is a {type(layer).__name__}; linears and plain convolutions have one")


def bank_for(
    network: Network,
    targets: Targets,
    *,
    slots: int,
    rank: int,
    dtype: torch.dtype | None = None,
) -> Bank:
    """Make a bank for a network and put its layers in the place of the denoiser's, once.

    Args:
        network: its denoiser is changed in place.
        targets: the widest set of layers that an adapter of this bank may have.
        slots: adapters at a time.
        rank: the highest rank.
        dtype: of the stored matrices; the network's when absent.

    Raises:
        ValueError: the network has a bank already, or lacks the target modules.
    """
    names = network.target_modules(targets)
    layers = {name: network.denoiser.get_submodule(name) for name in names}
    if any(isinstance(layer, BankedLinear | BankedConv2d) for layer in layers.values()):
        raise ValueError("this network has a bank already; a network has one")
    bank = Bank(
        [shape_of(name, layer, rank) for name, layer in layers.items()],
        slots=slots,
        device=network.device,
        dtype=dtype or network.dtype,
    )
    for name, layer in layers.items():
        parent, _, last = name.rpartition(".")
        banked = (
            BankedConv2d(layer, bank, name)
            if isinstance(layer, nn.Conv2d)
            else BankedLinear(layer, bank, name)  # type: ignore[arg-type]
        )
        setattr(network.denoiser.get_submodule(parent), last, banked)
    return bank
