"""Slot-layout files: an adapter in the bank's own order, bound to the adapter file by digest.

`atelier.contracts.slot_layout` has the format. Reading it costs a copy and no parsing of tensors,
which is what an endpoint does when it fetches a person's adapter for the first time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from atelier.contracts.errors import AdapterRejected
from atelier.contracts.slot_layout import SlotLayout, SlotMatrix, align, pack, unpack
from atelier.lora.bank import AdapterWeights, ModuleShape
from atelier.lora.tensor_file import DTYPES, TORCH_DTYPES, tensor_bytes


def write_slots(
    weights: AdapterWeights, *, adapter_digest: str, dtype: torch.dtype = torch.float16
) -> bytes:
    """Return the slot-layout file of an adapter.

    Args:
        weights: an adapter; its modules' order is the file's.
        adapter_digest: SHA-256 of the adapter file with the same weights.
        dtype: of every matrix in the file.
    """
    matrices = []
    data = bytearray()
    for name, pair in weights.matrices.items():
        for part, tensor in zip("AB", pair, strict=True):
            data.extend(bytes(align(len(data)) - len(data)))
            matrices.append(SlotMatrix(name, part, tuple(tensor.shape), len(data)))
            data.extend(tensor_bytes(tensor.to(dtype)))
    layout = SlotLayout(adapter_digest, DTYPES[dtype], weights.rank, weights.alpha, tuple(matrices))
    return pack(layout, bytes(data))


def read_slots(
    body: bytes, shapes: Mapping[str, ModuleShape], *, adapter_digest: str, max_rank: int
) -> AdapterWeights:
    """Read a slot-layout file for the network whose target modules have these shapes.

    Args:
        body: the whole file.
        shapes: the bank's modules; their rank does not matter here.
        adapter_digest: SHA-256 of the adapter file that it must stand for.
        max_rank: the highest rank that is taken.

    Returns:
        Matrices in the file's dtype, views of one copy of the data.

    Raises:
        AdapterRejected: a broken file, another adapter's, other modules or shapes, or values that
            are not finite.
    """
    layout, data = unpack(body, adapter_digest=adapter_digest)
    if not 1 <= layout.rank <= max_rank or not 0 < layout.alpha <= 1024:
        raise _rejected("header", f"rank {layout.rank}, alpha {layout.alpha}", f"rank ≤ {max_rank}")
    dtype = TORCH_DTYPES[layout.dtype]
    raw = bytearray(data)
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for matrix in layout.matrices:
        if matrix.module not in shapes:
            raise _rejected(matrix.module, "an unknown module", "modules of this base model")
        own = shapes[matrix.module].at_rank(layout.rank)
        shape = own.a if matrix.part == "A" else own.b
        if matrix.shape != shape:
            raise _rejected(f"{matrix.module} {matrix.part}", str(matrix.shape), str(shape))
        flat = torch.frombuffer(raw, dtype=dtype, count=math.prod(shape), offset=matrix.offset)
        if not torch.isfinite(flat).all():
            raise _rejected(f"{matrix.module} {matrix.part}", "NaN or infinity", "finite values")
        if matrix.part in parts.setdefault(matrix.module, {}):
            raise _rejected(f"{matrix.module} {matrix.part}", "twice", "once")
        parts[matrix.module][matrix.part] = flat.view(shape)
    if not parts or any(set(pair) != {"A", "B"} for pair in parts.values()):
        raise _rejected("header", "a module without its A or B", "both of each module")
    return AdapterWeights(
        layout.rank, layout.alpha, {name: (pair["A"], pair["B"]) for name, pair in parts.items()}
    )


def _rejected(where: str, found: str, allowed: str) -> AdapterRejected:
    return AdapterRejected(
        f"slot-layout file: {where}: found {found}; allowed: {allowed}",
        where=where,
        found=found,
        allowed=allowed,
    )
