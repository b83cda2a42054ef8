"""Adapter files: a slot's matrices as diffusers and PEFT name them, written and strictly read.

    unet.<module>.lora_A.weight   (rank, in) or (rank, in, kh, kw)
    unet.<module>.lora_B.weight   (out, rank) or (out, rank, 1, 1)
    __metadata__                  format: pt, lora_adapter_metadata: PEFT's LoraConfig as JSON

`StableDiffusionPipeline.load_lora_weights` builds the LoRA from `lora_adapter_metadata`, so that
alpha survives; without it diffusers takes alpha = rank.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import torch

from atelier.contracts import ids
from atelier.contracts.adapter import AdapterCard
from atelier.contracts.base_models import Family
from atelier.contracts.documents import DocumentError, parse_json
from atelier.contracts.errors import AdapterRejected
from atelier.lora.bank import AdapterWeights, ModuleShape
from atelier.lora.tensor_file import read_tensors, write_tensors

PREFIX = "unet."
PARTS = ("lora_A", "lora_B")
METADATA_KEY = "lora_adapter_metadata"


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
    return write_tensors(tensors, metadata)


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
    tensors, metadata = read_tensors(body)
    rank, alpha = _read_config(metadata, max_rank)
    matrices = {}
    for name, shape in shapes.items():
        keys = [f"{PREFIX}{name}.{part}.weight" for part in PARTS]
        present = [key for key in keys if key in tensors]
        if not present:
            continue
        if len(present) != 2:
            raise _rejected(name, f"{present[0]} alone", "both lora_A and lora_B")
        own = shape.at_rank(rank)
        b_shape = (*own.b, 1, 1) if own.is_convolution else own.b
        a, b = (tensors.pop(key) for key in keys)
        for key, tensor, allowed in zip(keys, (a, b), (own.a, b_shape), strict=True):
            if tensor.shape != allowed:
                raise _rejected(key, f"shape {tuple(tensor.shape)}", f"{allowed} at rank {rank}")
        matrices[name] = (a, b.view(own.b))
    if tensors:
        raise _rejected(
            min(tensors), f"{len(tensors)} unknown tensors", "modules of this base model"
        )
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


def _read_config(metadata: Mapping[str, str], max_rank: int) -> tuple[int, float]:
    text = metadata.get(METADATA_KEY)
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


def _rejected(where: str, found: str, allowed: str) -> AdapterRejected:
    return AdapterRejected(
        f"adapter file: {where}: found {found}; allowed: {allowed}",
        where=where,
        found=found,
        allowed=allowed,
    )
