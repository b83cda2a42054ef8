"""A task's training data: photos fetched by key and checked, then encoded once for all steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from atelier.contracts import ids
from atelier.contracts.errors import ContractBroken
from atelier.contracts.manifest import TrainingPhoto, TrainingTask
from atelier.lora.network import Conditioning, Network
from atelier.lora.pictures import decode_square
from atelier.objects import Objects

MAX_PHOTO_BYTES = 64 * 1024 * 1024
ENCODED_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class TaskData:
    """What the steps of one task read; on the network's device, in its dtype.

    Attributes:
        latents_MCHW: of M photos.
        mirrored_MCHW: of the same photos mirrored, or None when the task never mirrors.
        captions: encoded, one row per photo.
    """

    latents_MCHW: Tensor  # noqa: N815 - shape suffix
    mirrored_MCHW: Tensor | None  # noqa: N815 - shape suffix
    captions: Conditioning

    def __len__(self) -> int:
        return len(self.latents_MCHW)

    def rows(self, photos_R: Tensor, flips_R: Tensor) -> tuple[Tensor, Conditioning]:
        """Return latents [R, C, H, W] and captions of the chosen photos, mirrored where told."""
        latents = self.latents_MCHW[photos_R.to(self.latents_MCHW.device)]
        if self.mirrored_MCHW is not None:
            mirrored = self.mirrored_MCHW[photos_R.to(latents.device)]
            flipped = flips_R.to(latents.device)[:, None, None, None]
            latents = torch.where(flipped, mirrored, latents)
        return latents, self.captions.rows(photos_R.tolist())


def prepare(task: TrainingTask, *, objects: Objects, network: Network) -> TaskData:
    """Fetch and encode a task's photos and captions.

    Raises:
        ObjectMissing, ServiceUnavailable: a photo cannot be fetched.
        ContractBroken: a photo is another than the manifest says, or no picture.
    """
    side = task.hyperparameters.resolution
    x_M3HW = torch.stack([fetch(photo, side, objects=objects) for photo in task.photos])
    flip = task.hyperparameters.flip
    return TaskData(
        latents_MCHW=_encode(network, x_M3HW),
        mirrored_MCHW=_encode(network, x_M3HW.flip(-1)) if flip else None,
        captions=network.encode_prompts(
            [photo.caption or task.instance_prompt for photo in task.photos]
        ),
    )


def fetch(photo: TrainingPhoto, side: int, *, objects: Objects) -> Tensor:
    """Return a photo as float `[3, side, side]` in [-1, 1]."""
    body = objects.read(photo.key, max_bytes=MAX_PHOTO_BYTES)
    if ids.digest_of(body) != photo.digest:
        raise ContractBroken(
            f"photo {photo.key} is not the one that the manifest names: its digest is "
            f"{ids.digest_of(body)}, not {photo.digest}",
            where=photo.key,
        )
    try:
        return decode_square(body, side)
    except (OSError, ValueError) as problem:
        raise ContractBroken(f"photo {photo.key} is no picture: {problem}", where=photo.key) from (
            problem
        )


def _encode(network: Network, x_M3HW: Tensor) -> Tensor:
    return torch.cat([network.encode_images(part) for part in x_M3HW.split(ENCODED_AT_ONCE)])
