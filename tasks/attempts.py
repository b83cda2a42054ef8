"""What became of an attempt's training: its progress, and the next attempt when it was lost."""

from __future__ import annotations

from typing import Any

from atelier.contracts import checkpoints, ids, keys
from atelier.contracts.adapter import MAX_MEMBER_BYTES, AdapterCard
from atelier.contracts.checkpoints import ADAPTER_CARD, ADAPTER_FILE
from atelier.contracts.documents import DocumentError
from atelier.contracts.errors import (
    ContractBroken,
    InterruptedTooOften,
    ObjectMissing,
    PoisonousTask,
)
from atelier.contracts.progress import AdapterPointer, Progress
from atelier.contracts.records import RequestRecord
from atelier.contracts.status import Stamp, Status
from tasks.blame import Blame, Cause, Loss, blame, cause_of_loss
from tasks.manifests import read_manifest, read_sealed
from tasks.ports import Changed, Objects, Ports, TaskSettings

MAX_PROGRESS_BYTES = 256 * 1024
BEGUN_AGAIN = "training starts again after"
"""How the sentence begins that tells whoever waits why there is another attempt."""


def read_progress(record: RequestRecord, *, objects: Objects) -> Progress | None:
    """Return what the training host says of this attempt, or None before it says anything.

    An unreadable file says nothing, too: the host's next write replaces it, and if its job ends
    without a better one, the attempt is lost.
    """
    if record.job is None or record.host is None:
        return None
    key = keys.checkpoint(record.job, checkpoints.progress(record.host, record.request))
    try:
        progress = Progress.from_json(objects.read(key, max_bytes=MAX_PROGRESS_BYTES))
    except (ObjectMissing, ContractBroken, DocumentError):
        return None
    mine = (record.request, record.attempt, record.job, record.host)
    said = (progress.request, progress.attempt, progress.job, progress.host)
    return progress if said == mine else None


def damage_of(record: RequestRecord, progress: Progress, *, objects: Objects) -> Loss | None:
    """Return the loss of a finished adapter that is not in the bucket as it was written, or None.

    What the host itself did wrong is no damage: PublishModel rejects it, as another attempt would
    end the same.
    """
    pointer = progress.adapter
    if pointer is None or record.job is None or record.host is None:
        return None
    folder = checkpoints.folder(record.host, record.request)
    if not all(path.startswith(folder) for path in (pointer.card, pointer.file)):
        return None
    try:
        card, file = (keys.checkpoint(record.job, path) for path in (pointer.card, pointer.file))
    except ValueError:
        return None
    if _is_whole(pointer, card, file, objects=objects):
        return None
    why = f"the adapter of training job {record.job} is not in the bucket as its host wrote it"
    return Loss(why, damaged=True)


def _is_whole(pointer: AdapterPointer, card: str, file: str, *, objects: Objects) -> bool:
    info = objects.info(file)
    if info is None or info.bytes != pointer.bytes:
        return False
    try:
        AdapterCard.from_json(objects.read(card, max_bytes=MAX_MEMBER_BYTES[ADAPTER_CARD]))
        body = objects.read(file, max_bytes=MAX_MEMBER_BYTES[ADAPTER_FILE])
    except (ObjectMissing, ContractBroken, DocumentError):
        return False
    return ids.digest_of(body) == pointer.digest


def begin_next(record: RequestRecord, loss: Loss, *, ports: Ports) -> Changed:
    """Begin the next attempt of a request whose training is lost, in one write.

    It enters the queue only with the token of a LaunchTraining that waits for it. It resumes from
    the last checkpoint unless the task itself failed, which the checkpoint may be the reason of.

    Raises:
        PoisonousTask: it failed as often as is allowed.
        InterruptedTooOften: so was it interrupted.
    """
    alone = record.alone or _was_alone(record, objects=ports.objects)
    counted = _count(record, loss, blame(loss, alone=alone), settings=ports.settings)
    failed = cause_of_loss(loss) is Cause.NAMED
    return ports.ledger.advance(
        record.request,
        Stamp(record.attempt + 1, Status.QUEUED),
        **counted,
        resume_from=None if failed else _last_checkpoint(record, objects=ports.objects),
        waiting_for=f"{BEGUN_AGAIN}: {loss.why}"[:500],
    )


def _count(
    record: RequestRecord, loss: Loss, pays: Blame, *, settings: TaskSettings
) -> dict[str, Any]:
    """Return what the record says of this loss, by who pays for it."""
    match pays:
        case Blame.TASK:
            failures = record.lone_failures + 1
            if failures >= settings.max_lone_failures:
                raise PoisonousTask(
                    f"training failed {failures} times; the last time: {loss.why}",
                    attempts=failures,
                    last=loss.why,
                )
            return {"lone_failures": failures}
        case Blame.COMPANY:
            return {"alone": True}
        case Blame.NOBODY:
            times = record.interruptions + 1
            if times > settings.max_interruptions:
                raise InterruptedTooOften(
                    f"training was interrupted {times} times; the last time: {loss.why}",
                    times=times,
                )
            return {"interruptions": times}


def _was_alone(record: RequestRecord, *, objects: Objects) -> bool:
    """Return whether the request's job trains nobody else; nobody knows without its manifest."""
    if record.job is None:
        return False
    try:
        return len(read_manifest(read_sealed(record.job, objects=objects)).tasks) == 1
    except (KeyError, ObjectMissing, ContractBroken):
        return False


def _last_checkpoint(record: RequestRecord, *, objects: Objects) -> str | None:
    if record.job is None or record.host is None:
        return record.resume_from
    folder = keys.checkpoints(record.job) + checkpoints.state_folder(record.host, record.request)
    states = [info.key for info in objects.list(folder) if info.key.endswith(".safetensors")]
    return states[-1] if states else record.resume_from
