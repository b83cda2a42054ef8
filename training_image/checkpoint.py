"""Resumable states: everything a task needs to go on as if it had never stopped.

A state is one safetensors file: weights and AdamW's moments of the task's own modules, and in its
header the step and a fingerprint of what is trained. What else the bank has room for is not in it:
a task goes on in any bank that holds it, whoever its neighbours are. The randomness of a step
derives from its number (`training_image.draws`), so nothing else has to be kept. A new state is
written whole before the one before the last is removed: a file that is cut short, damaged or lost
falls back to the other, and without any the task begins anew. None of it ever fails a task.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from atelier.contracts import checkpoints, logs
from atelier.contracts.adapter import MAX_ADAPTER_BYTES
from atelier.contracts.documents import Document, DocumentError, canonical_json, encode
from atelier.contracts.errors import AdapterRejected, AtelierError, ContractBroken
from atelier.contracts.ids import digest_of
from atelier.contracts.manifest import TrainingTask
from atelier.lora.bank import Bank
from atelier.lora.tensor_file import read_tensors, tensor_bytes, write_tensors
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
        values_digest: SHA-256 of the tensors, or empty in what was written before there was one.
    """

    SCHEMA = "atelier.training-state"

    request: str
    step: int
    fingerprint: str
    loss: float | None
    seconds: float
    values_digest: str = ""


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
    if not fits_slot(bank, optimiser, slot, state, rank=rank, modules=modules):
        raise ContractBroken(
            f"the state of request {state.card.request} was taken from other layers", where="$"
        )
    for key, place in _places(bank, optimiser, slot, rank, modules):
        place.copy_(state.tensors[key])


def fits_slot(
    bank: Bank,
    optimiser: SlotOptimiser,
    slot: int,
    state: State,
    *,
    rank: int,
    modules: Sequence[str],
) -> bool:
    """Tell whether a state has exactly the matrices that a task has in its slot."""
    shapes = {key: place.shape for key, place in _places(bank, optimiser, slot, rank, modules)}
    return shapes == {key: tensor.shape for key, tensor in state.tensors.items()}


def write_state(state: State, *, tree: CheckpointTree, host: str) -> None:
    """Write a state whole, then remove all but the newest two."""
    request = state.card.request
    card = replace(state.card, values_digest=_digest_of(state.tensors))
    body = write_tensors(state.tensors, {HEADER_KEY: card.to_json().decode()})
    tree.write(checkpoints.state(host, request, state.card.step), body)
    for path in tree.files(checkpoints.state_folder(host, request))[:-KEPT_STATES]:
        tree.remove(path)


def find_state(
    task: TrainingTask,
    *,
    fingerprint: str,
    tree: CheckpointTree,
    host: str,
    objects: Objects,
    fits: Callable[[State], bool] = lambda _: True,
) -> State | None:
    """Return the newest state that reads and fits.

    It is this host's own, else the one that the task names, else one that lies beside that. What
    is no such state is passed over with a clear line in the log.
    """
    with logs.about(request=task.request):
        for path, body in _candidates(task, tree=tree, host=host, objects=objects):
            try:
                state = read_state(body)
            except (AdapterRejected, DocumentError) as problem:
                log.warning("state %s does not read and is passed over: %s", path, problem)
                continue
            if state.card.fingerprint != fingerprint:
                log.warning("state %s was trained from other settings and is passed over", path)
                continue
            if not fits(state):
                log.warning("state %s does not fit its task and is passed over", path)
                continue
            log.info("goes on from %s", path)
            return state
    return None


def read_state(body: bytes) -> State:
    """Read a state strictly.

    Raises:
        AdapterRejected, DocumentError: it is cut short, damaged, or no state.
    """
    tensors, metadata = read_tensors(body)
    card = StateCard.from_json(metadata.get(HEADER_KEY, ""))
    if card.values_digest and card.values_digest != _digest_of(tensors):
        raise AdapterRejected("state: its values are not those that were written", where="data")
    return State(card, tensors)


def _candidates(
    task: TrainingTask, *, tree: CheckpointTree, host: str, objects: Objects
) -> Iterator[tuple[str, bytes]]:
    for path in reversed(tree.files(checkpoints.state_folder(host, task.request))):
        body = tree.read(path)
        if body is not None:
            yield path, body
    for key in _named(task, objects=objects):
        try:
            yield key, objects.read(key, max_bytes=MAX_STATE_BYTES)
        except AtelierError as problem:
            log.warning("state %s cannot be fetched: %s", key, problem)


def _named(task: TrainingTask, *, objects: Objects) -> Iterator[str]:
    """Yield the key that the task names, then those of the states beside it, newest first."""
    if task.resume_from is None:
        return
    yield task.resume_from
    folder = task.resume_from.rpartition("/")[0] + "/"
    try:
        beside = objects.list(folder)
    except AtelierError as problem:
        log.warning("states in %s cannot be listed: %s", folder, problem)
        return
    yield from sorted((key for key in beside if key != task.resume_from), reverse=True)


def _digest_of(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of all values, in the order of their names."""
    digest = hashlib.sha256()
    for _, tensor in sorted(tensors.items()):
        digest.update(tensor_bytes(tensor))
    return digest.hexdigest()


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
