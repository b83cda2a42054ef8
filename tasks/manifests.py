"""From a planned job's requests and their datasets to the training manifest, and its sealing."""

from __future__ import annotations

from atelier.contracts import ids, keys
from atelier.contracts.base_models import base_model
from atelier.contracts.dataset import Dataset
from atelier.contracts.documents import DocumentError
from atelier.contracts.errors import ContractBroken, ObjectExists
from atelier.contracts.manifest import HostShare, TrainingManifest, TrainingPhoto, TrainingTask
from atelier.contracts.records import RequestRecord
from tasks.endings import JOB_ATTEMPT
from tasks.planning import PlannedJob, estimated_cost_seconds
from tasks.ports import Objects

MAX_DATASET_BYTES = 1024 * 1024


def seal(job: PlannedJob, *, batch: str, objects: Objects) -> bytes:
    """Write the manifest of a job once and return its bytes: the first writer's, for ever.

    Raises:
        ObjectMissing, ContractBroken: a dataset is not there or does not read.
    """
    name = ids.job_name(batch, JOB_ATTEMPT)
    try:
        return read_sealed(name, objects=objects)
    except KeyError:
        body = _manifest(job, batch=batch, name=name, objects=objects).to_json()
    try:
        objects.put(keys.manifest(name), body, content_type="application/json", if_absent=True)
    except ObjectExists:
        return objects.read(keys.manifest(name))
    return body


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


def _manifest(job: PlannedJob, *, batch: str, name: str, objects: Objects) -> TrainingManifest:
    records = [record for host in job.hosts for record in host]
    base = base_model(records[0].given.base)
    return TrainingManifest(
        job=name,
        batch=batch,
        base=base.id,
        base_digest=base.digest,
        tasks=tuple(_task(record, objects=objects) for record in records),
        hosts=tuple(
            HostShare(rank, tuple(record.request for record in host))
            for rank, host in enumerate(job.hosts)
        ),
    )


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
