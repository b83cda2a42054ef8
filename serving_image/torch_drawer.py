"""The drawer on torch: one resident network and its bank of slots.

The only module of the server that imports torch, and the engine's thread is where it happens: the
doors open, and say that they are not ready, while it loads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch

from atelier.contracts.archive import rejected
from atelier.contracts.base_models import BaseModel, base_model, folder_digest
from atelier.contracts.errors import ContractBroken
from atelier.lora import adapter_file, sampling, slot_file
from atelier.lora.bank import AdapterWeights, Bank
from atelier.lora.banked import bank_for
from atelier.lora.families import load_network
from atelier.lora.network import Network
from serving_image.artifact import Artifact
from serving_image.drawer import Drawer, Drawing, Picture, Row, Staged
from serving_image.refusals import MemoryExhausted
from serving_image.settings import ServeSettings


@dataclass(frozen=True, slots=True)
class StagedWeights:
    """An adapter's matrices in host memory."""

    weights: AdapterWeights

    @property
    def bytes(self) -> int:
        """Host memory of all matrices."""
        pairs = self.weights.matrices.values()
        return sum(matrix.nbytes for pair in pairs for matrix in pair)


class TorchDrawer:
    """A network, its bank, and the rules of what fits them.

    Args:
        network: the base model, with the bank's layers in place.
        bank: its slots.
        base: id of the base model.
        base_digest: which weights of it; an adapter of others is refused.
    """

    def __init__(self, network: Network, bank: Bank, *, base: str, base_digest: str) -> None:
        self._network = network
        self._bank = bank
        self._base_digest = base_digest
        self.base = base
        self.resolution = network.resolution

    def stage(self, artifact: Artifact) -> StagedWeights:
        """Check an artifact and read its matrices; the slot-layout file, if there is one."""
        card = artifact.card
        adapter_file.check_card(
            card,
            base=self.base,
            base_digest=self._base_digest,
            family=self._network.family,
            body=artifact.adapter,
        )
        # Both are read: the layout file is what serves, the adapter file what was published.
        weights = adapter_file.read_adapter(
            artifact.adapter, self._bank.shapes, max_rank=self._bank.rank
        )
        if artifact.slot_layout is not None:
            weights = slot_file.read_slots(
                artifact.slot_layout,
                self._bank.shapes,
                adapter_digest=card.file_digest,
                max_rank=self._bank.rank,
            )
        for name, found, said in (
            ("rank", weights.rank, card.rank),
            ("alpha", weights.alpha, card.alpha),
        ):
            if found != said:
                raise rejected(f"adapter.json {name}", f"{found} in the weights", str(said))
        return StagedWeights(weights)

    def clear(self, slot: int) -> None:
        """Zero a slot."""
        self._bank.clear(slot)

    def write(self, slot: int, staged: Staged) -> None:
        """Copy an adapter into a slot."""
        with _memory():
            self._bank.load(slot, cast("StagedWeights", staged).weights)

    def begin(self, drawings: Sequence[Drawing]) -> Sequence[Row]:
        """Encode prompts and draw each row's own noise."""
        with _memory():
            return sampling.begin(self._network, [self._translate(d) for d in drawings])

    def advance(self, rows: Sequence[Row]) -> None:
        """Make one denoising step of every row."""
        with _memory():
            sampling.advance(self._network, self._bank, cast("list[sampling.Row]", rows))

    def finish(self, rows: Sequence[Row]) -> Sequence[Picture | None]:
        """Decode rows of one size; a row whose latents or pixels are no numbers is left out."""
        own = cast("list[sampling.Row]", rows)
        pictures: list[Picture | None] = [None] * len(own)
        with _memory():
            sound = [n for n, row in enumerate(own) if bool(row.latent_CHW.isfinite().all())]
            if not sound:
                return pictures
            x_N3HW = sampling.decode(self._network, [own[n] for n in sound])
            drawn = x_N3HW.isfinite().flatten(1).all(dim=1).tolist()
            pixels_NHW3 = sampling.to_pixels(x_N3HW)
        for n, is_drawn, pixels_HW3 in zip(sound, drawn, pixels_NHW3, strict=True):
            if is_drawn:
                pictures[n] = _picture(pixels_HW3)
        return pictures

    def _translate(self, drawing: Drawing) -> sampling.Drawing:
        return sampling.Drawing(
            prompt=drawing.prompt,
            slot=self._bank.empty if drawing.slot is None else drawing.slot,
            factor=drawing.adapter_scale,
            negative_prompt=drawing.negative_prompt,
            seed=drawing.seed,
            denoising_steps=drawing.denoising_steps,
            guidance=drawing.guidance,
            width=drawing.width,
            height=drawing.height,
            scheduler=drawing.scheduler,
        )


def open_drawer(settings: ServeSettings) -> Drawer:
    """Load the base model and make its bank.

    Raises:
        ContractBroken: the base model's folder does not read, or holds another model.
    """
    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        torch.set_num_threads(settings.threads)
    registered = base_model(settings.base)
    check_weights(settings.base_folder, registered)
    network = load_network(settings.base_folder, device=device, dtype=_dtype(device))
    if network.family is not registered.family:
        raise ContractBroken(
            f"{settings.base_folder} holds a {network.family} model; {settings.base} is a "
            f"{registered.family} model",
            where=str(settings.base_folder),
        )
    bank = bank_for(network, settings.targets, slots=settings.slots, rank=settings.rank)
    return TorchDrawer(network, bank, base=settings.base, base_digest=registered.digest)


def check_weights(folder: Path, registered: BaseModel) -> None:
    """Check that a folder holds the weights that the registry names, if it names any.

    Raises:
        ContractBroken: other weights, for which no adapter was trained.
    """
    if registered.digest and (found := folder_digest(folder)) != registered.digest:
        raise ContractBroken(
            f"{folder} has digest {found}; {registered.id} is {registered.digest}",
            where=str(folder),
        )


def _dtype(device: str) -> torch.dtype:
    if device == "cpu":
        return torch.float32
    # T4 has no bf16 arithmetic, and torch's emulation of it counts as support unless it is told.
    real = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if real else torch.float16


@contextmanager
def _memory() -> Iterator[None]:
    """Turn torch's out-of-memory error into ours, and give back what it had cached."""
    try:
        yield
    except torch.OutOfMemoryError as problem:
        torch.cuda.empty_cache()
        raise MemoryExhausted(f"the device is out of memory: {problem}", what="device") from problem


def _picture(pixels_HW3: torch.Tensor) -> Picture:
    height, width, _ = pixels_HW3.shape
    return Picture(width=width, height=height, rgb=pixels_HW3.numpy().tobytes())
