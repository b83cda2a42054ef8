"""Handing over: a training job exists, and the requests that it trains learn it.

The launcher's half of the handshake with LaunchTraining; every step is safe to repeat, also by
somebody who finds a job whose dispatcher died.
"""

from __future__ import annotations

from typing import Any

from atelier.contracts.errors import ContractBroken, NotFound
from atelier.contracts.manifest import TrainingManifest, host_name
from atelier.contracts.records import RequestRecord
from atelier.contracts.status import TERMINAL, Stamp, Status, Verdict
from tasks import manifests
from tasks.endings import job_of, tell_ended
from tasks.job_events import OUTCOMES, reason_of
from tasks.planning import wait_for
from tasks.ports import Ports, TrainingJob


def hand_over(
    batch: str, manifest: TrainingManifest, existing: TrainingJob | None, *, ports: Ports
) -> None:
    """Hand everybody over whom the manifest names, also whom another dispatcher claimed."""
    for share in manifest.hosts:
        tasks = manifest.share(share.rank)
        whole = sum(task.estimated_cost_seconds for task in tasks)
        for task in tasks:
            record = ports.ledger.read(task.request)
            if (record.attempt, record.batch) == (task.attempt, batch):
                company = round(whole - task.estimated_cost_seconds, 3)
                host = host_name(share.rank)
                _hand_over_one(record, manifest.job, host, company, existing, ports=ports)


def _hand_over_one(
    record: RequestRecord,
    job: str,
    host: str,
    company_seconds: float,
    existing: TrainingJob | None,
    *,
    ports: Ports,
) -> None:
    """Mark a request launched, then complete its token: the launcher's half of the handshake.

    LaunchTraining writes its token, then reads the status; here the status is written, then the
    token read, in one atomic write. Whoever comes second sees both.
    """
    standing = ports.ledger.advance(
        record.request,
        Stamp(record.attempt, Status.LAUNCHING, job),
        host=host,
        company_seconds=company_seconds,
        waiting_for="",
    ).record
    if standing.status in TERMINAL:
        # It ended while its job was being created; whoever ended it may have died since.
        tell_ended(standing, ports=ports)
        return
    if (standing.attempt, standing.job) != (record.attempt, job):
        return
    if existing is not None and (outcome := OUTCOMES.get(existing.status)):
        # It ended before we knew that it began; its event found no request to settle.
        standing = ports.ledger.annotate(
            record.request,
            attempt=record.attempt,
            job_outcome=outcome,
            job_reason=reason_of(existing.secondary_status, existing.failure_reason),
        ).record
    if standing.token is not None and standing.status not in TERMINAL:
        output = training_output(standing, ports=ports)
        ports.executions.succeed_task(standing.token, output)


def rescue(record: RequestRecord, *, ports: Ports) -> bool:
    """Free a request that is claimed by a batch that nobody works on; return whether it was.

    Its job decides: if there is one that trains it, it is handed over as the dispatcher would have
    done; else it goes back to its place in the queue.
    """
    job = job_of(record)
    if record.status is not Status.CLAIMED or record.batch is None or job is None:
        return False
    try:
        existing = ports.training_jobs.describe(job)
        manifest = manifests.read_manifest(manifests.read_sealed(job, objects=ports.objects))
        manifest.task(record.request)
    except (NotFound, KeyError, ContractBroken):
        released = ports.ledger.release(record.request, attempt=record.attempt, batch=record.batch)
        return released.verdict is Verdict.APPLIES
    hand_over(record.batch, manifest, existing, ports=ports)
    return True


def training_output(record: RequestRecord, *, ports: Ports) -> dict[str, Any]:
    """Return what LaunchTraining's token is completed with."""
    now = ports.clock.now()
    return {
        "attempt": record.attempt,
        "job": record.job,
        "host": record.host,
        "wait_seconds": wait_for(
            record, eta_seconds=None, turn=0, now=now, settings=ports.settings
        ),
        "turn": 0,
        "state": "running",
    }
