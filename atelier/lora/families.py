"""The one way to a base model: a local folder in diffusers' layout becomes a `Network`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from atelier.contracts.base_models import Family
from atelier.contracts.documents import DocumentError, parse_json
from atelier.contracts.errors import ContractBroken
from atelier.lora.network import Network

PIPELINES: Mapping[str, Family] = {"StableDiffusionPipeline": Family.STABLE_DIFFUSION}
"""`_class_name` of model_index.json → family."""


def load_network(
    folder: Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> Network:
    """Load the base model in `folder`, frozen and in evaluation mode.

    Raises:
        ContractBroken: a file is missing or does not read, or the pipeline is of no family we know.
    """
    family = family_of(folder)
    return _loaders()[family](folder, torch.device(device), dtype)


def family_of(folder: Path) -> Family:
    """Return the family of the base model in `folder` from its model_index.json.

    Raises:
        ContractBroken: no such file, or another pipeline.
    """
    index = folder / "model_index.json"
    try:
        name = parse_json(index.read_bytes())["_class_name"]
    except (OSError, DocumentError, KeyError, TypeError) as problem:
        raise ContractBroken(
            f"{index} does not name a diffusers pipeline: {problem}", where=str(index)
        ) from problem
    if name not in PIPELINES:
        raise ContractBroken(
            f"{index}: pipeline {name!r}; known are {sorted(PIPELINES)}", where=str(index)
        )
    return PIPELINES[name]


def _loaders() -> Mapping[Family, Callable[[Path, torch.device, torch.dtype], Network]]:
    # A family's module is imported when it is wanted: diffusers takes seconds.
    from atelier.lora.stable_diffusion import load_stable_diffusion  # noqa: PLC0415

    return {Family.STABLE_DIFFUSION: load_stable_diffusion}
