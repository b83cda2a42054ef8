"""What the training loop works with, and how it is opened: base model, bank, outputs, doors."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event

import torch

from atelier.contracts.base_models import folder_digest
from atelier.contracts.clock import Clock
from atelier.contracts.errors import ContractBroken
from atelier.contracts.manifest import TrainingTask
from atelier.contracts.settings import Targets
from atelier.lora.bank import Bank
from atelier.lora.banked import bank_for
from atelier.lora.families import load_network
from atelier.lora.network import Network
from atelier.objects import Objects
from training_image.assignment import Assignment
from training_image.control import ControlChannel
from training_image.crew import Crew
from training_image.optimiser import SlotOptimiser
from training_image.outputs import Studio
from training_image.reporter import Reporter
from training_image.settings import TrainSettings
from training_image.tree import CheckpointTree

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """All that the loop works with.

    Attributes:
        network, bank, optimiser: on the device.
        crew: takes batches forwards and backwards.
        studio: draws and writes outputs.
        objects: where photos come from.
        tree, host: where files go.
        reporter: writes progress.json.
        control: cancel, erase, admit.
        clock: time.
        stop: set by SIGTERM.
        idle_seconds: how long a host without work waits for admissions.
    """

    network: Network
    bank: Bank
    optimiser: SlotOptimiser
    crew: Crew
    studio: Studio
    objects: Objects
    tree: CheckpointTree
    host: str
    reporter: Reporter
    control: ControlChannel
    clock: Clock
    stop: Event
    idle_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """The parts of a workshop that need no device, open before torch is imported.

    Attributes:
        objects, tree, reporter, control, clock, stop: as in `Workshop`.
    """

    objects: Objects
    tree: CheckpointTree
    reporter: Reporter
    control: ControlChannel
    clock: Clock
    stop: Event


def open_workshop(settings: TrainSettings, assignment: Assignment, doors: Doors) -> Workshop:
    """Load the base model and make room for the widest of this host's tasks.

    Raises:
        ContractBroken: the base model is missing, another than the manifest's, or does not load.
    """
    manifest = assignment.manifest
    folder = settings.base_models / manifest.base
    if not folder.is_dir():
        raise ContractBroken(
            f"base model {manifest.base} is not in this image: {folder} is no folder",
            where=str(folder),
        )
    if manifest.base_digest and (found := folder_digest(folder)) != manifest.base_digest:
        raise ContractBroken(
            f"base model {manifest.base} in {folder} has the digest {found}; the manifest wants "
            f"{manifest.base_digest}, so its adapters would not fit the endpoint's",
            where=str(folder),
        )
    device = choose_device(settings.device)
    workers = settings.threads if device.type == "cpu" else 1
    torch.set_num_threads(1)  # the crew's workers are the threads
    network = load_network(folder, device=device, dtype=compute_dtype(device))
    rank, targets = widest(assignment.tasks)
    bank = bank_for(network, targets, slots=settings.slots, rank=rank, dtype=torch.float32)
    log.info(
        "base model %s on %s in %s; %d slots of rank %d",
        manifest.base,
        device,
        network.dtype,
        bank.slots,
        bank.rank,
    )
    optimiser = SlotOptimiser(bank)
    crew = Crew(network, bank, optimiser, workers=workers)
    studio = Studio(
        network=network,
        bank=bank,
        tree=doors.tree,
        host=assignment.host,
        manifest=manifest,
        clock=doors.clock,
        preview_denoising_steps=settings.preview_denoising_steps,
        hands=crew.hands,
    )
    return Workshop(
        network=network,
        bank=bank,
        optimiser=optimiser,
        crew=crew,
        studio=studio,
        objects=doors.objects,
        tree=doors.tree,
        host=assignment.host,
        reporter=doors.reporter,
        control=doors.control,
        clock=doors.clock,
        stop=doors.stop,
        idle_seconds=manifest.idle_seconds,
    )


def choose_device(name: str) -> torch.device:
    """Return the device of that name; `auto` is the GPU if there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def compute_dtype(device: torch.device) -> torch.dtype:
    """Return what the frozen network computes in; adapters' weights are float32 everywhere.

    Float16 needs loss scaling, so a GPU without bfloat16 computes in float32.
    """
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float32


def widest(tasks: Sequence[TrainingTask]) -> tuple[int, Targets]:
    """Return the rank and the targets that a bank needs to hold any of these tasks."""
    order = list(Targets)
    return (
        max(task.hyperparameters.rank for task in tasks),
        max((task.hyperparameters.targets for task in tasks), key=order.index),
    )
