"""From a planned job's requests and their datasets to the training manifest, and its sealing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from atelier.contracts import ids, keys
from atelier.contracts.base_models import base_model
from atelier.contracts.dataset import Dataset
from atelier.contracts.documents import DocumentError
from atelier.contracts.errors import (
    AtelierError,
    ContractBroken,
    ObjectExists,
    ObjectMissing,
)
from atelier.contracts.manifest import HostShare, TrainingManifest, TrainingPhoto, TrainingTask
from atelier.contracts.records import RequestRecord
from tasks.endings import JOB_ATTEMPT
from tasks.planning import estimated_cost_seconds
from tasks.ports import Objects

MAX_DATASET_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Sealed:
    """A manifest as it was written once: its bytes, and what they say."""

    body: bytes
    manifest: TrainingManifest


Refused = tuple[RequestRecord, AtelierError]


def seal(
    members: Sequence[RequestRecord], *, batch: str, objects: Objects
) -> tuple[Sealed | None, Sequence[Refused]]:
    """Write the manifest of a batch's job once and return it: the first writer's, for ever.

    A manifest that was lost, or does not read, is written anew. Without members there is none.
    Members whose dataset is not there or does not read are returned with the reason, and nothing is
    written: they must have ended before a manifest without them is the truth.
    """
    if not members:
        return None, ()
    name = ids.job_name(batch, JOB_ATTEMPT)
    try:
        return _sealed(read_sealed(name, objects=objects)), ()
    except KeyError:
        readable = True
    except ContractBroken:
        readable = False
    tasks, refused = _tasks(members, objects=objects)
    if refused:
        return None, refused
    base = base_model(members[0].given.base)
    manifest = TrainingManifest(
        job=name,
        batch=batch,
        base=base.id,
        base_digest=base.digest,
        tasks=tasks,
        hosts=(HostShare(0, tuple(task.request for task in tasks)),),
    )
    body = manifest.to_json()
    try:
        objects.put(keys.manifest(name), body, content_type="application/json", if_absent=readable)
    except ObjectExists:
        return _sealed(objects.read(keys.manifest(name))), ()
    return Sealed(body, manifest), ()


def _sealed(body: bytes) -> Sealed:
    return Sealed(body, read_manifest(body))


def _tasks(
    members: Sequence[RequestRecord], *, objects: Objects
) -> tuple[tuple[TrainingTask, ...], Sequence[Refused]]:
    tasks, refused = [], []
    for record in members:
        try:
            tasks.append(_task(record, objects=objects))
        except (ObjectMissing, ContractBroken) as problem:
            refused.append((record, problem))
    return tuple(tasks), refused


def read_sealed(job: str, *, objects: Objects) -> bytes:
    """Return the bytes of a sealed manifest.

    Raises:
        KeyError: none was sealed for this job.
    """
    key = keys.manifest(job)
    if objects.info(key) is None:
        raise KeyError(job)
    return objects.read(key)


def read_manifest(sealed: bytes) -> TrainingManifest:
    """Return a manifest from its sealed bytes.

    Raises:
        ContractBroken: they do not read.
    """
    try:
        return TrainingManifest.from_json(sealed)
    except DocumentError as problem:
        raise ContractBroken(f"training manifest: {problem}", where=problem.where) from problem


def _task(record: RequestRecord, *, objects: Objects) -> TrainingTask:
    given = record.given
    return TrainingTask(
        request=record.request,
        attempt=record.attempt,
        owner=given.owner,
        model=given.model,
        photos=_photos(record, objects=objects),
        hyperparameters=given.hyperparameters,
        samples=given.samples,
        instance_prompt=given.instance_prompt,
        trigger=given.trigger,
        subject=given.subject,
        seed=given.seed,
        estimated_cost_seconds=estimated_cost_seconds(given),
        resume_from=record.resume_from,
    )


def _photos(record: RequestRecord, *, objects: Objects) -> tuple[TrainingPhoto, ...]:
    if record.dataset is None:
        raise ContractBroken(f"request {record.request} is queued without a dataset", where="$")
    key = keys.dataset_document(record.given.owner, record.dataset)
    try:
        dataset = Dataset.from_json(objects.read(key, max_bytes=MAX_DATASET_BYTES))
    except DocumentError as problem:
        raise ContractBroken(f"{key}: {problem}", where=problem.where) from problem
    # In the order of their digests: names and order of an upload set change nothing in training.
    return tuple(
        TrainingPhoto(photo.key, photo.digest, photo.caption)
        for photo in sorted(dataset.photos, key=lambda p: (p.digest, p.caption))
    )
