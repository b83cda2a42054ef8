"""How a request ends without a model: one write, then everybody who still works on it is told.

Each step after the write can be repeated, and `end` repeats all of them for a request that has
ended already: whoever crashed half-way is finished by the next.
"""

from __future__ import annotations

from datetime import datetime

from atelier.contracts import ids, keys
from atelier.contracts.control import Command, ControlMessage
from atelier.contracts.errors import (
    AtelierError,
    Cancelled,
    ContractBroken,
    DeadlinePassed,
    LedgerContention,
    ObjectExists,
    OwnerErased,
)
from atelier.contracts.manifest import host_name
from atelier.contracts.records import Failure, RequestRecord
from atelier.contracts.status import TERMINAL, Stamp, Status, Verdict
from tasks.causes import as_error, cause_of, failure_of
from tasks.notices import ended_notice
from tasks.ports import Ports
from tasks.unpublished import withdraw

WRITES = 5
"""How often a write is tried anew when the request moved on between reading and writing."""
JOB_ATTEMPT = 1
"""Attempt of every batch's job: a batch's id names its members' attempts, so a new one is new."""


def due(record: RequestRecord) -> datetime:
    """Return when the request must be done.

    A person may retry after the deadline; the request then has as long again as at first, however
    often its training is lost in that time.
    """
    given = record.given
    if record.retried_at is None or record.retried_at < given.deadline:
        return given.deadline
    return record.retried_at + (given.deadline - given.created_at)


def overdue(record: RequestRecord, *, now: datetime) -> DeadlinePassed | None:
    """Return the error of a request whose deadline has passed, else None."""
    deadline = due(record)
    if now < deadline:
        return None
    return DeadlinePassed(
        f"the deadline {deadline:%Y-%m-%d %H:%M:%S} UTC passed", deadline=deadline.isoformat()
    )


def ended(record: RequestRecord) -> AtelierError:
    """Return the error that a state of an execution raises when its request has ended."""
    if record.status is Status.ERASED:
        return OwnerErased(f"the data of request {record.request} was erased")
    if record.status is Status.CANCELLED:
        return Cancelled(f"request {record.request} was cancelled", request=record.request)
    error = as_error(record.failure) if record.failure else None
    return error or ContractBroken(
        f"request {record.request} stands at {record.status} of attempt {record.attempt}, which "
        "this state does not expect",
        where="status",
    )


def end(record: RequestRecord, error: AtelierError | Failure, *, ports: Ports) -> RequestRecord:
    """End a request as failed (or cancelled, for `Cancelled`), and tell everybody.

    Nothing changes for a request that is ready or erased, or that ended otherwise; the record is
    returned as it stands.

    Raises:
        LedgerContention: the request kept moving on.
    """
    failure = error if isinstance(error, Failure) else failure_of(error)
    status = Status.CANCELLED if failure.error == Cancelled.name() else Status.FAILED
    for _ in range(WRITES):
        if record.status in TERMINAL:
            break
        changed = ports.ledger.advance(
            record.request,
            Stamp(record.attempt, status, record.job),
            notification=ended_notice(record, status, failure, now=ports.clock.now()),
            failure=failure,
            waiting_for="",
        )
        record = changed.record
        if changed.verdict is not Verdict.STALE:
            break
    else:
        raise LedgerContention(f"request {record.request} moved on {WRITES} times")
    tell_ended(record, ports=ports)
    return record


def tell_ended(record: RequestRecord, *, ports: Ports) -> None:
    """Tell the state that waits for a failed or cancelled request, and its training job.

    An archive that it wrote and did not publish is deleted. The ledger keeps that this was done;
    until then Reconcile does it again.
    """
    if record.status not in {Status.FAILED, Status.CANCELLED}:
        return
    if record.token is not None and record.failure is not None:
        cause = cause_of(record.failure)
        ports.executions.fail_task(record.token, error=record.failure.error, cause=cause)
    stop_training(record, ports=ports)
    withdraw(record, ports=ports)
    if record.untold:
        ports.ledger.mark_told(record.request, attempt=record.attempt)


def stop_training(record: RequestRecord, *, ports: Ports) -> None:
    """Ask the request's training job, if it may have one that runs, to drop its task."""
    job = job_of(record)
    if job is None or record.job_outcome is not None:
        return
    message = ControlMessage(
        command=Command.CANCEL,
        request=record.request,
        owner=record.given.owner,
        sent_at=ports.clock.now(),
    )
    key = keys.control_message(job, record.host or host_name(0), message.id)
    try:
        ports.objects.put(key, message.to_json(), content_type="application/json", if_absent=True)
    except ObjectExists:
        # The same message was sent before.
        return


def job_of(record: RequestRecord) -> str | None:
    """Return the job that trains the request, or that its batch is about to become."""
    if record.job is not None or record.batch is None:
        return record.job
    return ids.job_name(record.batch, JOB_ATTEMPT)
