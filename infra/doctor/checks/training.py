"""Training: every job of a batch, every manifest as it was sealed, nothing held after the end."""

from __future__ import annotations

from collections.abc import Iterator

from atelier.contracts import ids, keys
from atelier.contracts.manifest import host_name
from atelier.contracts.records import Batch, BatchState, JobOutcome
from atelier.contracts.status import BOUND_TO_JOB, TERMINAL, Status
from infra.doctor.case import Case
from infra.doctor.findings import Trouble
from tasks.endings import JOB_ATTEMPT
from tasks.job_events import OUTCOMES

AT_WORK = frozenset({Status.LAUNCHING, Status.TRAINING})
DIGESTS = 16
"""So many characters of a digest are shown."""


def every_job_has_its_batch(case: Case) -> Iterator[Trouble]:
    """Every training job of ours is of a batch, a launched batch with a live member has its job.

    Jobs of other names were created by somebody else through the same service. A batch whose
    members have all ended, or begun again elsewhere, asks nothing of its job any more.
    """
    for job in case.training.jobs.values():
        named = ids.JOB_PATTERN.fullmatch(job.name)
        if named is None or named[1] in case.ledger.batches:
            continue
        if job.created_at < case.evidence.read_at - case.skew:
            found = f"batch {named[1]} does not exist"
            do = "Stop the job: nobody will ever take what it trains."
            yield Trouble(f"training job {job.name}", found, "its batch in the ledger", do)
    for batch, state in case.ledger.batches.values():
        job_name = ids.job_name(batch.batch, batch.attempt)
        if state is not BatchState.LAUNCHED or not _has_live_member(batch, case):
            continue
        if job_name not in case.training.jobs:
            found = f"launched, and there is no training job {job_name}"
            do = "Cancel its onboardings and start them again."
            yield Trouble(f"batch {batch.batch}", found, "its training job", do)


def _has_live_member(batch: Batch, case: Case) -> bool:
    found = ((case.ledger.requests.get(request), attempt) for request, attempt in batch.members)
    return any(
        record is not None and record.attempt == attempt and record.status not in TERMINAL
        for record, attempt in found
    )


def requests_train_in_jobs_that_exist(case: Case) -> Iterator[Trouble]:
    """Whoever is launched has a job that is there, with a manifest that names it and its host.

    What the ledger knows of the job's end is what the service says, and it knows it in time.
    """
    for record in case.ledger.requests.values():
        if record.status not in BOUND_TO_JOB or record.job is None:
            continue
        subject = f"request {record.request}"
        job = case.training.jobs.get(record.job)
        if job is None:
            found = f"{record.status} in job {record.job}, which does not exist"
            do = "Cancel the onboarding and start it again."
            yield Trouble(subject, found, "its training job", do)
            continue
        said = OUTCOMES.get(job.status)
        if record.job_outcome is not None and record.job_outcome is not said:
            found = f"the ledger says its job {record.job_outcome}, the service says {job.status}"
            yield Trouble(subject, found, "the same", "Report it with the job's record.")
        late = job.ended_at is not None and case.settled(job.ended_at)
        if record.status in AT_WORK and record.job_outcome is None and late:
            found = f"{record.status}, and its job {job.name} has ended as {job.status}"
            do = "Let the platform run: Reconcile asks for the job's end."
            yield Trouble(subject, found, f"the job's outcome: {said or JobOutcome.FAILED}", do)


def manifests_are_what_jobs_train(case: Case) -> Iterator[Trouble]:
    """Every job's hyperparameter is the digest of its manifest, and the manifest is its batch's."""
    do = "Stop the job; it must not train what nobody sealed."
    for job in case.training.jobs.values():
        named = ids.JOB_PATTERN.fullmatch(job.name)
        if named is None:
            continue
        subject, sealed = f"training job {job.name}", case.bucket.manifests.get(job.name)
        if sealed is None:
            found = f"{keys.manifest(job.name)} is not there"
            yield Trouble(subject, found, "its sealed manifest", do)
            continue
        if sealed.digest != job.manifest_digest:
            trains = (job.manifest_digest or "none")[:DIGESTS]
            found = f"it trains manifest {trains}…, sealed is {sealed.digest[:DIGESTS]}…"
            yield Trouble(subject, found, "the same digest", do)
        document, batch = sealed.document, case.ledger.batches.get(named[1])
        if document is None or batch is None:
            continue
        members = {(task.request, task.attempt) for task in document.tasks}
        if document.job != job.name or not members <= set(batch[0].members):
            found = "its manifest is of another job, or names others than its batch"
            yield Trouble(subject, found, "tasks of its batch", do)
    for record in case.ledger.requests.values():
        sealed = case.bucket.manifests.get(record.job or "")
        if record.status not in BOUND_TO_JOB or sealed is None or sealed.document is None:
            continue
        hosts = [host_name(s.rank) for s in sealed.document.hosts if record.request in s.requests]
        if hosts != [record.host]:
            found = f"it is said to train on {record.host}; its manifest says {hosts or 'nowhere'}"
            yield Trouble(f"request {record.request}", found, "the same host", do)


def ended_jobs_hold_nothing(case: Case) -> Iterator[Trouble]:
    """A job that has ended holds no instance, no program and no folder; a job that runs does."""
    processes = case.evidence.processes or ()
    working: dict[str, list[int]] = {}
    for process in processes:
        if process.job:
            working.setdefault(process.job, []).append(process.pid)
    for job in case.training.jobs.values():
        subject = f"training job {job.name}"
        if (job.ended_at is None) != job.held:
            found = f"{job.status}, and it {'holds' if job.held else 'holds no'} instance"
            do = "Restart the platform; report it if it stays so."
            yield Trouble(subject, found, "an instance exactly while it runs", do)
        if job.ended_at is None or not case.settled(job.ended_at):
            continue
        if job.processes:
            found = f"{job.status}, and its record names {job.processes} running programs"
            yield Trouble(subject, found, "none", "Report it with the job's record.")
        if pids := working.get(job.name):
            found = f"{job.status}, and process {pids[0]} works in its folder"
            yield Trouble(subject, found, "no process", f"Kill process {pids[0]}.")
        if job.folder:
            found = f"{job.status}, and its hosts' folders lie on the disk"
            yield Trouble(subject, found, "no folder", "Delete the folder below training/jobs.")
    for folder in case.training.strange_folders:
        found = "a host's folder of a job that does not exist"
        yield Trouble(f"folder {folder}", found, "a job", "Delete the folder.")


def no_job_trains_for_nobody(case: Case) -> Iterator[Trouble]:
    """A job that runs has a member who still wants it, or had one until a moment ago."""
    for batch, state in case.ledger.batches.values():
        job = case.training.jobs.get(ids.job_name(batch.batch, JOB_ATTEMPT))
        if job is None or job.ended_at is not None or state is BatchState.OPEN:
            continue
        records = [(case.ledger.requests.get(name), attempt) for name, attempt in batch.members]
        wanted = any(
            record is not None
            and record.attempt == attempt
            and (record.status not in TERMINAL or not case.settled(record.updated_at))
            for record, attempt in records
        )
        moved_on = [r.updated_at for r, _ in records if r is not None]
        if not wanted and case.settled(max([*moved_on, job.created_at])):
            found = f"{job.status}, and none of its {len(records)} members wants it"
            do = "Stop the job; it costs money for nothing."
            yield Trouble(f"training job {job.name}", found, "a member who waits for it", do)


def job_changes_are_told(case: Case) -> Iterator[Trouble]:
    """Every change of a training job's state has been taken by its receiver."""
    for event, since in case.training.untold:
        if case.settled(since):
            found = f"nobody has taken it since {since.isoformat()}"
            do = "Look into platform.log for why; it is told again every second."
            yield Trouble(f"event {event}", found, "taken at once", do)


def programs_belong_to_this_life(case: Case) -> Iterator[Trouble]:
    """Programs run only while the platform does, each for a job that runs; one model server."""
    processes = case.evidence.processes or ()
    if not case.evidence.life.running:
        for process in processes:
            found = "it runs, and its platform does not"
            do = f"Kill process {process.pid}; the next start does it, too."
            yield Trouble(f"process {process.pid}", found, "no program without a platform", do)
        return
    for process in processes:
        if process.job and process.job not in case.training.jobs:
            found = f"it works in the folder of {process.job}, which is no training job"
            yield Trouble(f"process {process.pid}", found, "a job", f"Kill process {process.pid}.")
