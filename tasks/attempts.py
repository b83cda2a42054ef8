"""What became of an attempt's training: its progress, whether it is lost, and the next attempt."""

from __future__ import annotations

from atelier.contracts import checkpoints, keys
from atelier.contracts.documents import DocumentError
from atelier.contracts.errors import ContractBroken, ObjectMissing, PoisonousTask
from atelier.contracts.progress import Progress, TrainingState
from atelier.contracts.records import RequestRecord
from atelier.contracts.status import Stamp, Status
from tasks.ports import Changed, Objects, Ports

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


def lost(record: RequestRecord, progress: Progress | None) -> str | None:
    """Return why this attempt's training will never be done, or None while it may be.

    `progress` must have been read after `record`: a host's last words are in the bucket before its
    job's end is known. A host that was stopped may go on (an interrupted spot job restarts by
    itself); only its job's end decides.
    """
    if progress is not None and progress.failure is not None:
        return f"{progress.failure.error}: {progress.failure.message}"
    done = progress is not None and progress.state is TrainingState.DONE
    if record.job_outcome is None or done:
        return None
    reason = record.job_reason or "no reason was given"
    return f"training job {record.job} {record.job_outcome.value}: {reason}"


def begin_next(
    record: RequestRecord, progress: Progress | None, why: str, *, ports: Ports
) -> Changed:
    """Begin the next attempt of a request whose training is lost, in one write.

    It enters the queue only with the token of a LaunchTraining that waits for it. It resumes from
    the last checkpoint unless the task itself failed, which the checkpoint may be the reason of.

    Raises:
        PoisonousTask: it was lost as often as is allowed.
    """
    failures = record.lone_failures + 1
    if failures >= ports.settings.max_lone_failures:
        raise PoisonousTask(
            f"training failed {failures} times; the last time: {why}", attempts=failures, last=why
        )
    failed = progress is not None and progress.failure is not None
    return ports.ledger.advance(
        record.request,
        Stamp(record.attempt + 1, Status.QUEUED),
        lone_failures=failures,
        resume_from=None if failed else _last_checkpoint(record, objects=ports.objects),
        waiting_for=f"{BEGUN_AGAIN}: {why}"[:500],
    )


def _last_checkpoint(record: RequestRecord, *, objects: Objects) -> str | None:
    if record.job is None or record.host is None:
        return record.resume_from
    folder = keys.checkpoints(record.job) + checkpoints.state_folder(record.host, record.request)
    states = [info.key for info in objects.list(folder) if info.key.endswith(".safetensors")]
    return states[-1] if states else record.resume_from
