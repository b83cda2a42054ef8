"""The registry of base models: family, where the weights are, licence, and its presets."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from atelier.contracts.errors import InvalidRequest
from atelier.contracts.settings import Hardware, Hyperparameters, Preset, PresetName, Targets


class Family(StrEnum):
    """Architectures that the images know; one seam in `atelier.lora.families` each."""

    STABLE_DIFFUSION = "stable-diffusion"
    STABLE_DIFFUSION_XL = "stable-diffusion-xl"


@dataclass(frozen=True, slots=True)
class BaseModel:
    """One frozen diffusion network.

    Attributes:
        id: its name in keys, manifests and requests.
        family: which architecture it has.
        source: a folder in diffusers' layout: relative to the repository (`examples/…`), or an
            object prefix (`base-models/<id>/`).
        digest: `folder_digest` of the source, or empty while the source is the operator's to
            provide.
        licence: SPDX id, or the licence's own name.
        resolution: native side of its images in pixels.
        trigger: default trigger word that instance prompts use for the subject.
        presets: hyperparameters per preset.
    """

    id: str
    family: Family
    source: str
    digest: str
    licence: str
    resolution: int
    trigger: str
    presets: Mapping[PresetName, Hyperparameters]


_TINY = Hyperparameters(
    steps=150,
    rank=16,
    learning_rate=3e-3,
    resolution=64,
    targets=Targets.ALL,
    flip=True,
    preview_every_steps=50,
    checkpoint_every_steps=50,
)
_SD15 = Hyperparameters(
    steps=300, rank=16, learning_rate=2e-4, resolution=512, checkpoint_every_steps=100
)

BASE_MODELS: Mapping[str, BaseModel] = {
    "tiny": BaseModel(
        id="tiny",
        family=Family.STABLE_DIFFUSION,
        source="examples/tiny/model",
        digest="a669ad5dfdfca0d927ae7b6bbe8d047e2556f3e1afb01799859de675f7e4a31e",
        licence="Apache-2.0",
        resolution=64,
        trigger="zorp",
        presets={
            PresetName.NANO: replace(
                _TINY, steps=6, warmup_steps=1, preview_every_steps=3, checkpoint_every_steps=3
            ),
            PresetName.FAST: _TINY,
            PresetName.BALANCED: replace(_TINY, steps=300, preview_every_steps=100),
            PresetName.QUALITY: replace(_TINY, steps=600, preview_every_steps=200),
        },
    ),
    "sd15": BaseModel(
        id="sd15",
        family=Family.STABLE_DIFFUSION,
        source="base-models/sd15/",
        digest="",
        licence="CreativeML-OpenRAIL-M",
        resolution=512,
        trigger="zorp",
        presets={
            PresetName.NANO: replace(_SD15, steps=10, warmup_steps=1, checkpoint_every_steps=0),
            PresetName.FAST: _SD15,
            PresetName.BALANCED: replace(_SD15, steps=600),
            PresetName.QUALITY: replace(_SD15, steps=1200),
        },
    ),
}

HARDWARE: Mapping[PresetName, Hardware] = {
    PresetName.NANO: Hardware(("ml.g5.xlarge",), max_runtime_seconds=900),
    PresetName.FAST: Hardware(("ml.g5.2xlarge", "ml.g5.xlarge"), keep_alive_seconds=600),
    PresetName.BALANCED: Hardware(("ml.g5.2xlarge",), max_runtime_seconds=7200, spot=True),
    PresetName.QUALITY: Hardware(("ml.g5.2xlarge",), max_runtime_seconds=14_400, spot=True),
}

DEFAULT_BASE = "tiny"
DEFAULT_PRESET = PresetName.FAST


def base_model(name: str) -> BaseModel:
    """Return a base model by its id.

    Raises:
        InvalidRequest: the registry has none of that name.
    """
    if name not in BASE_MODELS:
        raise InvalidRequest(
            f"base model {name[:80]!r} is not in the registry; allowed are {sorted(BASE_MODELS)}",
            where="base",
            found=name[:80],
            allowed=sorted(BASE_MODELS),
        )
    return BASE_MODELS[name]


def check_available(name: str, has: Sequence[str]) -> None:
    """Check that a deployment that has the weights of `has` can make models of a base model.

    Raises:
        InvalidRequest: it cannot.
    """
    if name not in has:
        raise InvalidRequest(
            f"this deployment has no base model {name[:80]}; it has: {', '.join(has) or 'none'}",
            where="base",
            found=name[:80],
            allowed=list(has),
        )


def folder_digest(folder: Path) -> str:
    """Return the digest of a base model's folder: names and contents of its files, nothing else.

    Texts for people (`*.md`) and hidden files do not count: a corrected model card is no other
    model. Links count as what they point to.
    """
    files = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file()
        and path.suffix != ".md"
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    digest = hashlib.sha256(b"atelier.base-model/1\n")
    for name in files:
        with (folder / name).open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        digest.update(f"{content}  {name}\n".encode())
    return digest.hexdigest()


def preset(base: str, name: PresetName) -> Preset:
    """Return what a preset means for a base model.

    Raises:
        InvalidRequest: no such base model.
    """
    return Preset(name, base_model(base).presets[name], HARDWARE[name])
