"""What draws: the protocol between the doors and the network on the device.

The engine calls everything but `stage` from its one thread. A row is one image under way; rows
join (`begin`) and leave (`finish`, or by being left out of the next `advance`) between denoising
steps, and each has its own slot, prompt, guidance, seed, size and place in its schedule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from atelier.contracts.generation import Scheduler
from serving_image.artifact import Artifact


@dataclass(frozen=True, slots=True)
class Drawing:
    """One image that is asked for. `slot` None is the base model alone."""

    prompt: str
    slot: int | None
    adapter_scale: float
    negative_prompt: str
    seed: int
    denoising_steps: int
    guidance: float
    width: int
    height: int
    scheduler: Scheduler


@dataclass(frozen=True, slots=True)
class Picture:
    """A finished image: 8 bits RGB, row by row from the top."""

    width: int
    height: int
    rgb: bytes


class Row(Protocol):
    """An image under way."""

    @property
    def left(self) -> int:
        """Denoising steps that remain; 0 is ready to `finish`."""
        ...


class Staged(Protocol):
    """An adapter in host memory, checked and ready to be written into a slot."""

    @property
    def bytes(self) -> int:
        """Host memory that it holds."""
        ...


class Drawer(Protocol):
    """One resident base model and a bank of slots."""

    @property
    def base(self) -> str:
        """Id of the base model."""
        ...

    @property
    def resolution(self) -> int:
        """Its native side in pixels."""
        ...

    def stage(self, artifact: Artifact) -> Staged:
        """Check an artifact's tensors and hold them in host memory. From any thread.

        Raises:
            AdapterRejected: made for another base or other layers, or its tensors break a rule.
        """
        ...

    def clear(self, slot: int) -> None:
        """Zero a slot."""
        ...

    def write(self, slot: int, staged: Staged) -> None:
        """Copy a staged adapter into a cleared slot."""
        ...

    def begin(self, drawings: Sequence[Drawing]) -> Sequence[Row]:
        """Encode prompts and draw noise; the rows come in the order of the drawings.

        Raises:
            MemoryExhausted: the device has no memory for them.
        """
        ...

    def advance(self, rows: Sequence[Row]) -> None:
        """Make one denoising step of every row.

        Raises:
            MemoryExhausted: the device has no memory for so many rows.
        """
        ...

    def finish(self, rows: Sequence[Row]) -> Sequence[Picture | None]:
        """Decode rows that have no step left; None where latents or pixels are no numbers.

        Raises:
            MemoryExhausted: the device has no memory for so many rows.
        """
        ...
