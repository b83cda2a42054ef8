"""Adapter files: a slot's matrices as diffusers and PEFT name them, written and strictly read.

    unet.<module>.lora_A.weight   (rank, in) or (rank, in, kh, kw)
    unet.<module>.lora_B.weight   (out, rank) or (out, rank, 1, 1)
    __metadata__                  format: pt, lora_adapter_metadata: PEFT's LoraConfig as JSON

`StableDiffusionPipeline.load_lora_weights` builds the LoRA from `lora_adapter_metadata`, so that
alpha survives; without it diffusers takes alpha = rank.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

import torch
from torch import Tensor

from atelier.contracts import ids
from atelier.contracts.adapter import AdapterCard
from atelier.contracts.base_models import Family
from atelier.contracts.documents import DocumentError, parse_json
from atelier.contracts.errors import AdapterRejected
from atelier.contracts.safetensors import SafetensorsHeader, TensorEntry, check_finite, read_header
from atelier.lora.bank import AdapterWeights, ModuleShape

PREFIX = "unet."
PARTS = ("lora_A", "lora_B")
METADATA_KEY = "lora_adapter_metadata"
DTYPES: Mapping[torch.dtype, str] = {
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
}
TORCH_DTYPES: Mapping[str, torch.dtype] = {name: dtype for dtype, name in DTYPES.items()}


def write_adapter(
    weights: AdapterWeights,
    *,
    dtype: torch.dtype = torch.float16,
    about: Mapping[str, str] | None = None,
) -> bytes:
    """Return the adapter file; equal weights give equal bytes.

    Args:
        weights: an adapter.
        dtype: of every tensor in the file.
        about: further texts for the header's metadata.
    """
    tensors = {}
    for name, (a, b) in weights.matrices.items():
        wide = b[:, :, None, None] if a.dim() == 4 else b
        for part, tensor in zip(PARTS, (a, wide), strict=True):
            tensors[f"{PREFIX}{name}.{part}.weight"] = tensor.to(dtype)
    metadata = {**(about or {}), "format": "pt", METADATA_KEY: _lora_config(weights)}
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    parts = []
    position = 0
    for key, tensor in sorted(tensors.items()):
        raw = tensor_bytes(tensor)
        header[key] = {
            "dtype": DTYPES[dtype],
            "shape": list(tensor.shape),
            "data_offsets": [position, position + len(raw)],
        }
        position += len(raw)
        parts.append(raw)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # readers map the data aligned
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])


def read_adapter(
    body: bytes, shapes: Mapping[str, ModuleShape], *, max_rank: int
) -> AdapterWeights:
    """Read an adapter file for the network whose target modules have these shapes.

    The file names A and B of some of the modules, all of one rank, and nothing else.

    Args:
        body: the whole file.
        shapes: the bank's modules; their rank does not matter here.
        max_rank: the highest rank that is taken.

    Returns:
        Matrices in the file's dtype, views of a copy of the file.

    Raises:
        AdapterRejected: with where, what was found and what is allowed.
    """
    header = read_header(body)
    check_finite(body, header)
    rank, alpha = _read_config(header, max_rank)
    entries = {entry.key: entry for entry in header.tensors}
    raw = bytearray(body)
    matrices = {}
    for name, shape in shapes.items():
        keys = [f"{PREFIX}{name}.{part}.weight" for part in PARTS]
        found = [entries.pop(key) for key in keys if key in entries]
        if not found:
            continue
        if len(found) != 2:
            raise _rejected(name, f"{found[0].key} alone", "both lora_A and lora_B")
        own = shape.at_rank(rank)
        b_shape = (*own.b, 1, 1) if own.is_convolution else own.b
        a = _tensor(raw, found[0], own.a)
        matrices[name] = (a, _tensor(raw, found[1], b_shape).view(own.b))
    if entries:
        first = min(entries)
        raise _rejected(first, f"{len(entries)} unknown tensors", "modules of this base model")
    return AdapterWeights(rank, alpha, matrices)


def check_card(
    card: AdapterCard, *, base: str, base_digest: str, family: Family, body: bytes
) -> None:
    """Check that an adapter file is the one its card speaks of, and fits this base model.

    Raises:
        AdapterRejected: another base model, or another file.
    """
    facts = (
        ("base", card.base, base),
        ("base_digest", card.base_digest, base_digest),
        ("family", card.family, str(family)),
        ("file_bytes", card.file_bytes, len(body)),
        ("file_digest", card.file_digest, ids.digest_of(body)),
    )
    for where, found, allowed in facts:
        if found != allowed:
            raise _rejected(f"adapter.json {where}", str(found)[:80], str(allowed)[:80])


def tensor_bytes(tensor: Tensor) -> bytes:
    """Return a tensor's values, row after row, little-endian."""
    if sys.byteorder != "little":
        raise RuntimeError("adapter files are little-endian and so are the machines we run on")
    flat = tensor.detach().to("cpu").contiguous().view(-1)
    return flat.view(torch.uint8).numpy().tobytes()


def _lora_config(weights: AdapterWeights) -> str:
    """Return PEFT's LoraConfig, its keys prefixed as diffusers packs them."""
    rank, alpha = weights.rank, weights.alpha
    config = {
        "r": rank,
        "lora_alpha": int(alpha) if float(alpha).is_integer() else alpha,
        "target_modules": sorted(weights.matrices),
        "peft_type": "LORA",
        "lora_dropout": 0.0,
        "bias": "none",
        "use_rslora": False,
        "use_dora": False,
    }
    return json.dumps({f"{PREFIX}{key}": value for key, value in config.items()}, sort_keys=True)


def _read_config(header: SafetensorsHeader, max_rank: int) -> tuple[int, float]:
    text = header.metadata.get(METADATA_KEY)
    if text is None:
        raise _rejected(METADATA_KEY, "nothing", "PEFT's LoraConfig; alpha is unknown without it")
    try:
        config = parse_json(text)
    except DocumentError as problem:
        raise _rejected(METADATA_KEY, problem.problem, "JSON") from problem
    if not isinstance(config, dict):
        raise _rejected(METADATA_KEY, type(config).__name__, "an object")
    rank, alpha = config.get(f"{PREFIX}r"), config.get(f"{PREFIX}lora_alpha")
    if not isinstance(rank, int) or isinstance(rank, bool) or not 1 <= rank <= max_rank:
        raise _rejected(f"{METADATA_KEY} r", repr(rank)[:40], f"1 to {max_rank}")
    if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not 0 < alpha <= 1024:
        raise _rejected(f"{METADATA_KEY} lora_alpha", repr(alpha)[:40], "above 0, up to 1024")
    for variant in ("use_rslora", "use_dora", "rank_pattern", "alpha_pattern"):
        if config.get(f"{PREFIX}{variant}"):
            raise _rejected(f"{METADATA_KEY} {variant}", "set", "one rank and alpha, plain LoRA")
    return rank, float(alpha)


def _tensor(raw: bytearray, entry: TensorEntry, shape: tuple[int, ...]) -> Tensor:
    if entry.shape != shape:
        raise _rejected(entry.key, f"shape {entry.shape}", f"{shape} for this base model and rank")
    dtype = TORCH_DTYPES[entry.dtype]
    count = (entry.end - entry.begin) // dtype.itemsize
    return torch.frombuffer(raw, dtype=dtype, count=count, offset=entry.begin).view(shape)


def _rejected(where: str, found: str, allowed: str) -> AdapterRejected:
    return AdapterRejected(
        f"adapter file: {where}: found {found}; allowed: {allowed}",
        where=where,
        found=found,
        allowed=allowed,
    )
