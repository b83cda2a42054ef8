"""progress.json: how far one person's training is; one small object, replaced as it goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from atelier.contracts.documents import Document


class TrainingState(StrEnum):
    """Where a task stands on its host."""

    WAITING = "waiting"
    PREPARING = "preparing"
    TRAINING = "training"
    SAMPLING = "sampling"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def ended(self) -> bool:
        """Whether the host has finished with the task."""
        return self in {TrainingState.DONE, TrainingState.FAILED, TrainingState.STOPPED}


@dataclass(frozen=True, slots=True)
class AdapterPointer:
    """Where a finished adapter lies in the checkpoint tree.

    Attributes:
        file, card: paths below the host's checkpoint folder, of adapter.safetensors and
            adapter.json.
        digest: SHA-256 of the adapter file.
        bytes: its size.
    """

    file: str
    card: str
    digest: str
    bytes: int


@dataclass(frozen=True, slots=True)
class TrainingFailure:
    """Why a task failed on its host: an error name of the tree, and a message."""

    error: str
    message: str


@dataclass(frozen=True, slots=True)
class Progress(Document):
    """What a training host says of one task.

    Attributes:
        request, attempt, job, host: whose progress it is.
        state: where the task stands.
        step, steps: optimiser steps done, and in all.
        loss: smoothed training loss, or None before the first step.
        steps_per_second: of this task, or None before it is known.
        eta_seconds: expected time until done, samples included, or None.
        previews: paths of preview images below the checkpoint folder, oldest first.
        samples: paths of sample images, in the order of the task's sample prompts.
        adapter: set when done.
        failure: set when failed.
        entered: when the host entered each state, the last time that it did.
        updated_at: UTC.
    """

    SCHEMA = "atelier.progress"
    VERSION = 2
    NEW_FIELDS = MappingProxyType({2: frozenset({"entered"})})

    request: str
    attempt: int
    job: str
    host: str
    state: TrainingState
    step: int
    steps: int
    updated_at: datetime
    loss: float | None = None
    steps_per_second: float | None = None
    eta_seconds: float | None = None
    previews: tuple[str, ...] = ()
    samples: tuple[str, ...] = ()
    adapter: AdapterPointer | None = None
    failure: TrainingFailure | None = None
    entered: Mapping[str, datetime] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that the end of a task carries what it left."""
        if not 0 <= self.step <= self.steps:
            raise ValueError(f"step {self.step} of {self.steps}")
        if (self.state is TrainingState.DONE) != (self.adapter is not None):
            raise ValueError(f"state {self.state} and adapter {self.adapter} do not agree")
        if (self.state is TrainingState.FAILED) != (self.failure is not None):
            raise ValueError(f"state {self.state} and failure {self.failure} do not agree")
