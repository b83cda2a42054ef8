"""PublishModel: check the trained adapter, write its artifact, make it the current version.

Becoming ready, the model's new version and the notification are one transaction: after it there is
no way to failed, before it nothing is announced.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from atelier.contracts import archive, checkpoints, ids, keys
from atelier.contracts.adapter import MAX_MEMBER_BYTES, SLOT_LAYOUT_FILE, AdapterCard
from atelier.contracts.checkpoints import ADAPTER_CARD, ADAPTER_FILE
from atelier.contracts.errors import (
    AdapterRejected,
    AtelierError,
    ContractBroken,
    LedgerContention,
    NotFound,
    ObjectExists,
    WaitError,
)
from atelier.contracts.progress import AdapterPointer
from atelier.contracts.records import ModelRecord, ModelVersion, RequestRecord
from atelier.contracts.status import TERMINAL, Stamp, Status
from tasks.adapter_check import TrainedAdapter, check_adapter, read_card
from tasks.attempts import read_progress
from tasks.durations import measurement
from tasks.endings import WRITES, ended
from tasks.notices import ready_notice
from tasks.payload import text
from tasks.ports import Objects, Ports
from tasks.unpublished import withdraw


def run(given: Mapping[str, Any], *, ports: Ports) -> dict[str, Any]:
    """Publish a trained request: `{"request"}` → `{version, artifact, digest, target_model}`.

    Raises:
        AdapterRejected: the adapter breaks the rules of adapter files; it is not published.
        FinalError: the request was cancelled or erased.
        LedgerContention: other versions of the model kept being published.
    """
    record = ports.ledger.read(text(given, "request"))
    if record.status not in TERMINAL:
        record = _enter_publishing(record, ports=ports)
    if record.status is Status.READY:
        return _published(record, ports=ports)
    if record.status in TERMINAL:
        raise _refused(record, ports=ports)
    adapter, digest = _read_adapter(record, objects=ports.objects)
    card = check_adapter(adapter, record.given, digest=digest)
    body = _archive(adapter)
    for _ in range(WRITES):
        try:
            return _publish(record, card, body, ports=ports)
        except LedgerContention as problem:
            contention = problem
    raise contention


def _enter_publishing(record: RequestRecord, *, ports: Ports) -> RequestRecord:
    if record.status not in {Status.TRAINED, Status.PUBLISHING}:
        raise ContractBroken(
            f"request {record.request} is {record.status}, not trained", where="status"
        )
    stamp = Stamp(record.attempt, Status.PUBLISHING, record.job)
    return ports.ledger.advance(record.request, stamp).record


def _read_adapter(record: RequestRecord, *, objects: Objects) -> tuple[TrainedAdapter, str]:
    progress = read_progress(record, objects=objects)
    if progress is None or progress.adapter is None or record.job is None or record.host is None:
        raise ContractBroken(
            f"request {record.request} is trained, but progress.json names no adapter",
            where="progress.json",
        )
    pointer, folder = progress.adapter, checkpoints.folder(record.host, record.request)
    _check_inside(pointer, folder)
    card = _read(record.job, pointer.card, MAX_MEMBER_BYTES[ADAPTER_CARD], objects=objects)
    file = _read(record.job, pointer.file, MAX_MEMBER_BYTES[ADAPTER_FILE], objects=objects)
    slots = None
    if read_card(card).slot_layout_digest is not None:
        path = f"{folder}adapter/{SLOT_LAYOUT_FILE}"
        slots = _read(record.job, path, MAX_MEMBER_BYTES[SLOT_LAYOUT_FILE], objects=objects)
    return TrainedAdapter(card, file, slots), pointer.digest


def _check_inside(pointer: AdapterPointer, folder: str) -> None:
    for path in (pointer.file, pointer.card):
        if not path.startswith(folder):
            # A host trains many people's tasks: none may publish another's files.
            raise AdapterRejected(
                f"progress.json: {path[:120]} lies outside {folder}",
                where="progress.json",
                found=path[:120],
                allowed=f"{folder}…",
            )


def _read(job: str, path: str, most_bytes: int, *, objects: Objects) -> bytes:
    try:
        key = keys.checkpoint(job, path)
    except ValueError as problem:
        raise AdapterRejected(f"progress.json: {problem}", where="progress.json") from problem
    info = objects.info(key)
    if info is not None and info.bytes > most_bytes:
        raise AdapterRejected(
            f"{path}: {info.bytes:,} bytes; at most {most_bytes:,} are allowed",
            where=path,
            found=info.bytes,
            allowed=most_bytes,
        )
    return objects.read(key, max_bytes=most_bytes)


def _archive(adapter: TrainedAdapter) -> bytes:
    members = {ADAPTER_CARD: adapter.card, ADAPTER_FILE: adapter.file}
    if adapter.slots is not None:
        members[SLOT_LAYOUT_FILE] = adapter.slots
    return archive.pack(members)


def _publish(
    record: RequestRecord, card: AdapterCard, body: bytes, *, ports: Ports
) -> dict[str, Any]:
    """Write the artifact and publish it as the version after those that are there now."""
    before = _stored(record, ports=ports)
    name = ids.version_name(len(before.versions) + 1 if before else 1, ids.digest_of(body))
    version = _write_version(record, card, body, name, ports=ports)
    now = ports.clock.now()
    given = record.given
    model = ModelRecord(
        owner=given.owner,
        tenant=given.tenant,
        user=given.user,
        model=given.model,
        base=given.base,
        trigger=given.trigger,
        subject=given.subject,
        current=version.version,
        versions=(*(before.versions if before else ()), version),
        dataset=record.dataset or "",
        created_at=before.created_at if before else now,
        updated_at=now,
        used_at=before.used_at if before else None,
    )
    changed = ports.ledger.publish(
        record.request,
        Stamp(record.attempt, Status.READY, record.job),
        model=model,
        version=version,
        notification=ready_notice(record, version, now=now),
    )
    if changed.record.status is not Status.READY:
        raise _refused(changed.record, ports=ports)
    return _published(changed.record, ports=ports)


def _refused(record: RequestRecord, *, ports: Ports) -> AtelierError:
    """Take back what was written for a request that ended meanwhile; return why it ended."""
    withdraw(record, ports=ports)
    return ended(record)


def _measure(record: RequestRecord, *, ports: Ports) -> None:
    """Keep how long it took, for predictions; nobody's model waits for that."""
    with suppress(WaitError):
        carried = ports.ledger.requests_of_job(record.job) if record.job else ()
        company = sum(other.host == record.host for other in carried)
        progress = read_progress(record, objects=ports.objects)
        taken = measurement(record, progress, company=max(1, company))
        if taken is not None:
            ports.ledger.measure(taken)


def _write_version(
    record: RequestRecord, card: AdapterCard, body: bytes, name: str, *, ports: Ports
) -> ModelVersion:
    given = record.given
    key = keys.artifact(given.base, given.owner, given.model, name)
    try:
        ports.objects.put(key, body, content_type="application/gzip", if_absent=True)
    except ObjectExists:
        if ports.objects.read(key) != body:
            raise
    return ModelVersion(
        version=name,
        artifact=key,
        digest=card.file_digest,
        bytes=len(body),
        request=record.request,
        rank=card.rank,
        instance_prompt=card.instance_prompt,
        created_at=ports.clock.now(),
    )


def _stored(record: RequestRecord, *, ports: Ports) -> ModelRecord | None:
    try:
        return ports.ledger.model(record.given.owner, record.given.model)
    except NotFound:
        return None


def _published(record: RequestRecord, *, ports: Ports) -> dict[str, Any]:
    """Return what the ledger says was published for a request that is ready, and measure it."""
    _measure(record, ports=ports)
    with suppress(WaitError):
        # Another version may have taken the number of an archive that was written already.
        withdraw(record, ports=ports)
    given = record.given
    model = ports.ledger.model(given.owner, given.model)
    version = next(v for v in model.versions if v.version == record.version)
    return {
        "version": version.version,
        "artifact": version.artifact,
        "digest": version.digest,
        "target_model": keys.target_model(given.base, given.owner, given.model, version.version),
    }
