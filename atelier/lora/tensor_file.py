"""Safetensors files from tensors and back: equal content gives equal bytes, reading is strict.

What may stand in a file is `atelier.contracts.safetensors`'s to say; here its bytes get a meaning.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

import torch
from torch import Tensor

from atelier.contracts.safetensors import check_finite, read_header

DTYPES: Mapping[torch.dtype, str] = {
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
}
TORCH_DTYPES: Mapping[str, torch.dtype] = {name: dtype for dtype, name in DTYPES.items()}


def write_tensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Return a safetensors file with its tensors in the order of their names."""
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    parts = []
    position = 0
    for key, tensor in sorted(tensors.items()):
        raw = tensor_bytes(tensor)
        header[key] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [position, position + len(raw)],
        }
        position += len(raw)
        parts.append(raw)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # readers map the data aligned
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])


def read_tensors(body: bytes) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """Return the tensors of a file, views of one copy of it, and its metadata.

    Raises:
        AdapterRejected: with where, what was found and what is allowed.
    """
    header = read_header(body)
    check_finite(body, header)
    raw = bytearray(body)
    tensors = {}
    for entry in header.tensors:
        dtype = TORCH_DTYPES[entry.dtype]
        count = (entry.end - entry.begin) // dtype.itemsize
        flat = torch.frombuffer(raw, dtype=dtype, count=count, offset=entry.begin)
        tensors[entry.key] = flat.view(entry.shape)
    return tensors, header.metadata


def tensor_bytes(tensor: Tensor) -> bytes:
    """Return a tensor's values, row after row, little-endian."""
    if sys.byteorder != "little":
        raise RuntimeError("adapter files are little-endian and so are the machines we run on")
    flat = tensor.detach().to("cpu").contiguous().view(-1)
    return flat.view(torch.uint8).numpy().tobytes()
