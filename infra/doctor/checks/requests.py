"""Requests: one outcome each, or alive and somebody works on it; their life told in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

from atelier.contracts import ids
from atelier.contracts.records import Batch, BatchState, RequestRecord
from atelier.contracts.status import BEFORE_ANY_JOB, BOUND_TO_JOB, RANK, TERMINAL, Status
from infra.doctor.case import Case
from infra.doctor.evidence import ExecutionSeen
from infra.doctor.findings import Trouble
from tasks.endings import JOB_ATTEMPT
from tasks.settle_execution import STOOD_STILL

OUTCOMES = TERMINAL - {Status.ERASED}
MEMBERS_OF: Mapping[Status, frozenset[BatchState]] = {
    Status.CLAIMED: frozenset({BatchState.OPEN, BatchState.SEALED}),
    **dict.fromkeys(BOUND_TO_JOB, frozenset({BatchState.SEALED, BatchState.LAUNCHED})),
}
"""How far the batch of a live request may be."""
LOOK = "Read its execution's history and the platform's log; report it with both."
IN_PLACE = frozenset({"FAILED"})
FROM_OUTSIDE = frozenset({"ABORTED", "TIMED_OUT"})


def one_outcome(case: Case) -> Iterator[Trouble]:
    """Every request that has ended has exactly one outcome, with what belongs to it.

    Ready names a version; failed and cancelled say why; who is alive has neither.
    """
    for record in case.ledger.requests.values():
        subject = f"request {record.request}"
        outcomes = sorted(s for s in OUTCOMES if s.value in record.entered)
        wanted = [record.status] if record.status in OUTCOMES else []
        if record.status is not Status.ERASED and outcomes != wanted:
            found = f"{record.status}, and it entered {_words(outcomes)}"
            yield Trouble(subject, found, f"entered {_words(wanted)}", LOOK)
        ended_badly = record.status in {Status.FAILED, Status.CANCELLED}
        if record.status is Status.READY and record.version is None:
            yield Trouble(subject, "ready without a version", "the version it made", LOOK)
        if record.version is not None and record.status not in {Status.READY, Status.ERASED}:
            found = f"{record.status} with version {record.version}"
            yield Trouble(subject, found, "a version exactly when ready", LOOK)
        if ended_badly != (record.failure is not None) and record.status is not Status.ERASED:
            found = f"{record.status} {'with' if record.failure else 'without'} a failure"
            expected = "a failure exactly when failed or cancelled"
            yield Trouble(subject, found, expected, LOOK)


def told_in_order(case: Case) -> Iterator[Trouble]:
    """Each attempt begins as queued and enters ever later statuses at ever later times.

    The status that it stands at is the last one that it entered.
    """
    for record in case.ledger.requests.values():
        if flaw := _order_flaw(record, case):
            told = ", ".join(f"{s} {at:%H:%M:%S.%f}"[:-3] for s, at in record.entered.items())
            yield Trouble(f"request {record.request}", f"{flaw}: {told}", "rising ranks", LOOK)


def _order_flaw(record: RequestRecord, case: Case) -> str | None:
    try:
        entered = sorted(
            ((RANK[Status(name)], at, name) for name, at in record.entered.items()),
            key=lambda each: each[0],
        )
    except ValueError as problem:
        return str(problem)
    if record.status is Status.ERASED:
        return None
    if not entered or entered[0][2] != Status.QUEUED:
        return "it never entered queued"
    if entered[-1][2] != record.status:
        return f"it stands at {record.status} and entered {entered[-1][2]} last"
    for (_, before, first), (_, after, then) in pairwise(entered):
        if after < before - case.skew:
            return f"it entered {then} before {first}"
    if record.updated_at < entered[-1][1] - case.skew:
        return f"it was last updated at {record.updated_at.isoformat()}, before that"
    return None


def somebody_works_on_it(case: Case) -> Iterator[Trouble]:
    """Whoever is alive is worked on: an execution that carries the request runs.

    One that failed in place may wait for its redrive, but the person who waits is told so.
    """
    for record in case.live():
        carriers = case.carriers.get(record.request, ())
        if any(execution.status == "RUNNING" for execution in carriers):
            continue
        own = case.by_name.get(("onboarding", record.execution))
        if trouble := _unattended(record, own, case):
            yield trouble


def _unattended(record: RequestRecord, own: ExecutionSeen | None, case: Case) -> Trouble | None:
    subject = f"request {record.request}"
    if own is None:
        if not case.settled(record.updated_at):
            return None
        return Trouble(
            subject,
            f"{record.status}, and there is no execution {record.execution}",
            "a running execution",
            "Let the platform run: Reconcile starts it. If it does not, cancel the onboarding and "
            "start it again.",
        )
    if own.ended_at is None or not case.settled(max(own.ended_at, record.updated_at)):
        return None
    told = STOOD_STILL in record.waiting_for
    if own.status in IN_PLACE and told:
        return None
    do = {
        "SUCCEEDED": LOOK,
        "FAILED": f"Redrive execution {own.name}, or cancel the onboarding.",
    }.get(own.status, "Let the platform run: Reconcile settles it. If it does not, cancel it.")
    expected = "a running execution"
    if own.status in IN_PLACE:
        expected += ", or the person who waits told that it failed in place"
    return Trouble(
        subject,
        f"{record.status}, but execution {own.name} has {own.status.lower()}"
        + (f" with {own.error}" if own.error else ""),
        expected,
        do,
    )


def queued_with_a_token_that_waits(case: Case) -> Iterator[Trouble]:
    """Whoever stands in the queue, or was claimed from it, holds the token of a task that waits."""
    for record in case.live():
        queued = record.status is Status.QUEUED and record.queued_at is not None
        if not queued and record.status is not Status.CLAIMED:
            continue
        if flaw := _token_flaw(record, case):
            yield Trouble(
                f"request {record.request}",
                f"{record.status}, and {flaw}",
                "the token of a LaunchTraining that waits",
                "Redrive its execution, or cancel the onboarding and start it again.",
            )


def _token_flaw(record: RequestRecord, case: Case) -> str | None:
    if record.token is None:
        return "it holds no token"
    token = case.ledger.tokens.get(record.request)
    if token is None:
        return "its token is none of this platform's"
    execution = case.executions.get(token.execution)
    if execution is None:
        return f"its token is of {token.execution}, which does not exist"
    if token.attempt in execution.history.open:
        return None
    closed = execution.history.closed.get(token.attempt)
    if closed is None:
        return f"its token is of event {token.attempt} of {execution.name}, which is no callback"
    # Whoever completed it told the ledger first, or the ledger is told now.
    return f"its token was completed at {closed.isoformat()}" if case.settled(closed) else None


def batch_and_job_agree(case: Case) -> Iterator[Trouble]:
    """Attempt, batch, job and host of a request agree with each other and with its batch.

    Nobody has a job before launching; from then on it is the job of the request's own batch, which
    names this attempt as a member; who is claimed is so by a batch that a dispatcher still finds.
    """
    for record in case.ledger.requests.values():
        if record.status is not Status.ERASED and (flaw := _batch_flaw(record, case)):
            expected = "one batch that names this attempt, and that batch's job"
            yield Trouble(f"request {record.request}", flaw, expected, LOOK)


def _batch_flaw(record: RequestRecord, case: Case) -> str | None:
    if record.status in BEFORE_ANY_JOB and record.job is not None:
        return f"{record.status} with job {record.job}"
    if record.status is Status.QUEUED:
        return f"queued with batch {record.batch}" if record.batch else None
    if record.batch is None:
        if record.job is not None or record.status in BOUND_TO_JOB | {Status.CLAIMED}:
            return f"{record.status} with job {record.job} and no batch"
        return None
    if record.job is not None and record.job != ids.job_name(record.batch, JOB_ATTEMPT):
        return f"job {record.job} is not that of its batch {record.batch}"
    if record.host is None and record.status in BOUND_TO_JOB:
        return f"{record.status} in job {record.job} on no host"
    found = case.ledger.batches.get(record.batch)
    if found is None:
        return f"batch {record.batch} does not exist"
    return _member_flaw(record, *found)


def _member_flaw(record: RequestRecord, batch: Batch, state: BatchState) -> str | None:
    if (record.request, record.attempt) not in batch.members:
        return f"batch {batch.batch} does not name attempt {record.attempt} of it"
    allowed = MEMBERS_OF.get(record.status)
    if allowed is not None and state not in allowed:
        return f"{record.status}, and batch {batch.batch} is {state}"
    return None


def _words(statuses: list[Status]) -> str:
    return " and ".join(statuses) or "no outcome"
