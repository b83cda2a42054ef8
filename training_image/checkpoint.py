"""Resumable states: everything a task needs to go on as if it had never stopped.

A state is one safetensors file: weights and AdamW's moments of the task's own modules, and in its
header the step and a fingerprint of what is trained. What else the bank has room for is not in it:
a task goes on in any bank that holds it, whoever its neighbours are. The randomness of a step
derives from its number (`training_image.draws`), so nothing else has to be kept. A new state is
written whole before the one before the last is removed: a half-written or lost file falls back to
the other.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from atelier.contracts import checkpoints, logs
from atelier.contracts.adapter import MAX_ADAPTER_BYTES
from atelier.contracts.documents import Document, DocumentError, canonical_json, encode
from atelier.contracts.errors import AdapterRejected, AtelierError, ContractBroken
from atelier.contracts.ids import digest_of
from atelier.contracts.manifest import TrainingTask
from atelier.lora.bank import Bank
from atelier.lora.tensor_file import read_tensors, write_tensors
from atelier.objects import Objects
from training_image.optimiser import SlotOptimiser
from training_image.tree import CheckpointTree

log = logging.getLogger(__name__)

HEADER_KEY = "atelier_state"
KEPT_STATES = 2
MAX_STATE_BYTES = 3 * 2 * MAX_ADAPTER_BYTES
"""Weights and two moments in float32, where the adapter file may be float16."""


@dataclass(frozen=True, slots=True)
class StateCard(Document):
    """What a state's header says.

    Attributes:
        request, step: whose, and how many optimiser steps are in it.
        fingerprint: of photos, captions, hyperparameters, seed and base model.
        loss: smoothed, or None before the first step.
        seconds: of training so far.
    """

    SCHEMA = "atelier.training-state"

    request: str
    step: int
    fingerprint: str
    loss: float | None
    seconds: float


@dataclass(frozen=True, slots=True)
class State:
    """A state outside the device: its card and `<part>.<module>.<A or B>` → matrix, float32."""

    card: StateCard
    tensors: Mapping[str, Tensor]


def fingerprint_of(task: TrainingTask, *, base: str, base_digest: str) -> str:
    """Return the digest of all that decides what a step does: only such a state may go on."""
    facts = {
        "photos": [[photo.digest, photo.caption] for photo in task.photos],
        "instance_prompt": task.instance_prompt,
        "hyperparameters": encode(task.hyperparameters),
        "seed": task.seed,
        "base": [base, base_digest],
    }
    return digest_of(canonical_json(facts))


def take_state(
    bank: Bank,
    optimiser: SlotOptimiser,
    slot: int,
    card: StateCard,
    *,
    rank: int,
    modules: Sequence[str],
) -> State:
    """Copy a slot's weights and moments of a rank and a set of modules off the device."""
    places = _places(bank, optimiser, slot, rank, modules)
    tensors = {key: place.to("cpu", torch.float32, copy=True) for key, place in places}
    return State(card, tensors)


def put_state(
    bank: Bank,
    optimiser: SlotOptimiser,
    slot: int,
    state: State,
    *,
    rank: int,
    modules: Sequence[str],
) -> None:
    """Copy a state into a slot that holds its task's fresh adapter.

    Raises:
        ContractBroken: it was taken from other layers or another rank; nothing is changed.
    """
    places = dict(_places(bank, optimiser, slot, rank, modules))
    shapes = {key: place.shape for key, place in places.items()}
    if shapes != {key: tensor.shape for key, tensor in state.tensors.items()}:
        raise ContractBroken(
            f"the state of request {state.card.request} was taken from other layers", where="$"
        )
    for key, place in places.items():
        place.copy_(state.tensors[key])


def write_state(state: State, *, tree: CheckpointTree, host: str) -> None:
    """Write a state whole, then remove all but the newest two."""
    request = state.card.request
    body = write_tensors(state.tensors, {HEADER_KEY: state.card.to_json().decode()})
    tree.write(checkpoints.state(host, request, state.card.step), body)
    for path in tree.files(checkpoints.state_folder(host, request))[:-KEPT_STATES]:
        tree.remove(path)


def find_state(
    task: TrainingTask, *, fingerprint: str, tree: CheckpointTree, host: str, objects: Objects
) -> State | None:
    """Return the newest state that reads: this host's own, else the one that the task names.

    What does not read is passed over with a clear line in the log.
    """
    for path, body in _candidates(task, tree=tree, host=host, objects=objects):
        try:
            state = read_state(body)
        except (AdapterRejected, DocumentError) as problem:
            log.warning("state %s does not read and is passed over: %s", path, problem)
            continue
        if state.card.fingerprint != fingerprint:
            log.warning("state %s was trained from other settings and is passed over", path)
            continue
        with logs.about(request=task.request):
            log.info("goes on from %s", path)
        return state
    return None


def read_state(body: bytes) -> State:
    """Read a state strictly.

    Raises:
        AdapterRejected, DocumentError: it is cut short, broken, or no state.
    """
    tensors, metadata = read_tensors(body)
    return State(StateCard.from_json(metadata.get(HEADER_KEY, "")), tensors)


def _candidates(
    task: TrainingTask, *, tree: CheckpointTree, host: str, objects: Objects
) -> Iterator[tuple[str, bytes]]:
    for path in reversed(tree.files(checkpoints.state_folder(host, task.request))):
        body = tree.read(path)
        if body is not None:
            yield path, body
    if task.resume_from is not None:
        try:
            yield task.resume_from, objects.read(task.resume_from, max_bytes=MAX_STATE_BYTES)
        except AtelierError as problem:
            log.warning("state %s cannot be fetched: %s", task.resume_from, problem)


def _places(
    bank: Bank, optimiser: SlotOptimiser, slot: int, rank: int, modules: Sequence[str]
) -> Iterator[tuple[str, Tensor]]:
    """Yield a slot's matrices of some modules at a rank, by their names in the state."""
    for part, storage_SP in (
        ("weight", bank.storage_SP),
        ("first", optimiser.first_SP),
        ("second", optimiser.second_SP),
    ):
        A, B = bank.views_of(storage_SP)
        for module in modules:
            yield f"{part}.{module}.A", A[module][slot, :rank]
            yield f"{part}.{module}.B", B[module][slot, :, :rank]
