"""Settle: what EventBridge says of a training job, brought into the ledger.

Events come late, doubled, out of order or never; every write is ordered by attempt and rank, so
that they change nothing they should not. It never queues again: the execution decides that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from atelier.contracts import ids, keys
from atelier.contracts.errors import ContractBroken, NotFound, ObjectMissing
from atelier.contracts.manifest import TrainingTask, host_name
from atelier.contracts.records import RequestRecord
from atelier.contracts.status import TERMINAL, Stamp, Status
from tasks.endings import job_of
from tasks.job_events import NO_ROOM, OUTCOMES, TRAINING, began_again_without_room, reason_of
from tasks.manifests import read_manifest, read_sealed
from tasks.payload import text
from tasks.ports import Ports
from tasks.settle_execution import tell


def run(given: Mapping[str, Any], *, ports: Ports) -> dict[str, Any]:
    """Settle a job's requests by the event's `detail`; return `{"settled": how many}`.

    A job that is not ours, and a state that means nothing to a request, settle nobody.
    """
    job, status = text(given, "TrainingJobName"), text(given, "TrainingJobStatus")
    outcome = OUTCOMES.get(status)
    began = (status, given.get("SecondaryStatus")) == TRAINING
    without_room = began_again_without_room(given)
    means_something = outcome is not None or began or without_room
    if ids.JOB_PATTERN.fullmatch(job) is None or not means_something:
        return {"settled": 0}
    settled = 0
    for record, host in _requests(job, ports=ports):
        settled += 1
        if began:
            stamp = Stamp(record.attempt, Status.TRAINING, job)
            ports.ledger.advance(record.request, stamp, host=record.host or host)
        elif outcome is None:
            at = f"{ports.clock.now():%Y-%m-%d %H:%M:%S} UTC"
            tell(record, f"{NO_ROOM} at {at}, and its job began again", ports=ports)
        elif record.job_outcome is None:
            secondary, failure = given.get("SecondaryStatus"), given.get("FailureReason")
            ports.ledger.annotate(
                record.request,
                attempt=record.attempt,
                job_outcome=outcome,
                job_reason=reason_of(str(secondary or ""), str(failure or "")),
            )
    if outcome is not None:
        _close_channel(job, ports=ports)
    return {"settled": settled}


def _close_channel(job: str, *, ports: Ports) -> None:
    """Remove what was said to the hosts of a job that is over: nobody listens there any more."""
    while said := ports.objects.list(keys.control_of_job(job)):
        for info in said:
            ports.objects.delete(info.key)


def _requests(job: str, *, ports: Ports) -> Iterator[tuple[RequestRecord, str]]:
    """Yield the live requests of a job, each with its host.

    The manifest names them even before the ledger does: an event may overtake the dispatcher that
    is about to write that the job was created. Without a manifest the ledger alone must do.
    """
    seen = set()
    for task, host in _tasks(job, ports=ports):
        seen.add(task.request)
        record = _read(task.request, ports=ports)
        if record is None or record.attempt != task.attempt or record.status in TERMINAL:
            continue
        if job_of(record) == job:
            yield record, host
    for record in ports.ledger.requests_of_job(job):
        if record.request not in seen and record.status not in TERMINAL:
            yield record, record.host or host_name(0)


def _tasks(job: str, *, ports: Ports) -> Iterator[tuple[TrainingTask, str]]:
    try:
        manifest = read_manifest(read_sealed(job, objects=ports.objects))
    except (KeyError, ContractBroken, ObjectMissing):
        # An event that nobody can settle would hold up all that follow.
        return
    for rank in range(len(manifest.hosts)):
        for task in manifest.share(rank):
            yield task, host_name(rank)


def _read(request: str, *, ports: Ports) -> RequestRecord | None:
    try:
        return ports.ledger.read(request)
    except NotFound:
        return None
