"""Executions: none outlives its request, each with a whole history, and one dispatcher."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

from atelier.contracts import ids
from atelier.contracts.records import BatchState, RequestRecord
from atelier.contracts.status import TERMINAL, Status
from infra.doctor.case import Case
from infra.doctor.evidence import ExecutionSeen
from infra.doctor.findings import Trouble

RUNNING = "RUNNING"


def none_runs_for_who_has_ended(case: Case) -> Iterator[Trouble]:
    """No execution runs for a request that has ended, or for an attempt that is over."""
    for request, executions in case.carriers.items():
        record = case.ledger.requests.get(request)
        for execution in executions:
            if execution.status != RUNNING:
                continue
            if record is None:
                if case.settled(execution.started_at) and execution.history.events > 0:
                    yield from _registers_nobody(execution, case)
            elif flaw := _outlived(record, execution, case):
                yield Trouble(
                    f"execution {execution.name}",
                    flaw,
                    "an execution that ends with its request",
                    "Stop the execution; the request stays as it is.",
                )


def _registers_nobody(execution: ExecutionSeen, case: Case) -> Iterator[Trouble]:
    """Tell of an execution that goes on without a request; Register writes it at the start."""
    if any(task.state == "Register" for task in execution.history.open.values()):
        return
    if case.settled(execution.history.last_at or execution.started_at):
        found = f"it runs for {execution.carries}, which the ledger does not know"
        do = "Stop the execution and start the onboarding again."
        yield Trouble(f"execution {execution.name}", found, "a request in the ledger", do)


def _outlived(record: RequestRecord, execution: ExecutionSeen, case: Case) -> str | None:
    if record.status in TERMINAL:
        ended_at = record.entered.get(record.status.value, record.updated_at)
        if case.settled(max(ended_at, execution.started_at)):
            return f"it runs, and its request is {record.status} since {ended_at.isoformat()}"
        return None
    named = ids.split_execution_name(execution.name)
    if named is None or execution.name == record.execution:
        return None  # Its own, or one that a person started by hand to carry it on.
    began = record.entered.get(Status.QUEUED.value, record.created_at)
    if named[1] < record.attempt and case.settled(max(began, execution.started_at)):
        return f"it runs, and its request goes on as {record.execution}"
    return None


def histories_are_whole(case: Case) -> Iterator[Trouble]:
    """A history has no gaps, no link to what came later, and ends every task that it started once.

    It fits AWS's limits: 25,000 events, 256 KiB for each input and output.
    """
    for execution in case.executions.values():
        for flaw in execution.history.flaws:
            yield Trouble(
                f"execution {execution.name}",
                flaw,
                "a history as Step Functions writes it",
                "Report it with the execution's history; do not redrive it.",
            )


def ended_with_a_time(case: Case) -> Iterator[Trouble]:
    """An execution has an end exactly when it does not run, and one name is one execution."""
    names: Counter[tuple[str, str]] = Counter()
    for execution in case.executions.values():
        names[execution.machine, execution.name] += 1
        if (execution.status == RUNNING) != (execution.ended_at is None):
            found = f"{execution.status}, ended at {execution.ended_at}"
            expected = "an end exactly when it does not run"
            yield Trouble(f"execution {execution.name}", found, expected, "Report it.")
    for (machine, name), times in names.items():
        if times > 1:
            subject, found = f"execution {name}", f"{times} executions of {machine} have the name"
            yield Trouble(subject, found, "one", "Report it with both histories.")


def no_task_waits_beyond_its_timeout(case: Case) -> Iterator[Trouble]:
    """A running execution's task that has no outcome is within its timeout: its timer is alive."""
    for execution in case.executions.values():
        if execution.status != RUNNING:
            continue
        for task in execution.history.open.values():
            if task.timeout_seconds is None:
                continue
            due = task.scheduled_at + timedelta(seconds=task.timeout_seconds)
            if case.settled(due):
                found = f"{task.state} should have timed out at {due.isoformat()}"
                do = "Restart the platform: it arms the timers of all executions anew."
                yield Trouble(f"execution {execution.name}", found, "a timeout kept", do)


def one_dispatcher(case: Case) -> Iterator[Trouble]:
    """At most one dispatcher works, on the ledger's epoch; none is of an epoch yet to come."""
    running = [e for e in case.dispatchers if e.status == RUNNING]
    for execution in case.dispatchers:
        epoch = _epoch(execution)
        began_before = execution.started_at < case.evidence.read_at - case.skew
        if epoch is None:
            found, expected = "it names no epoch", "dispatch-<epoch>"
            yield Trouble(f"execution {execution.name}", found, expected, "Stop it.")
        elif epoch > case.ledger.epoch and began_before:
            found = f"it is of epoch {epoch}; the ledger's is {case.ledger.epoch}"
            do = "Stop it; the next wake starts the right one."
            yield Trouble(f"execution {execution.name}", found, "no epoch to come", do)
        elif (
            epoch < case.ledger.epoch
            and execution.status == RUNNING
            and case.settled(execution.history.last_at or execution.started_at)
        ):
            found = f"it runs, and the ledger's epoch is {case.ledger.epoch}"
            do = "Stop it; it ends by itself once it looks at the ledger."
            yield Trouble(f"execution {execution.name}", found, "an end with its epoch", do)
    if len(running) > 1 and case.settled(max(e.started_at for e in running)):
        names = ", ".join(sorted(e.name for e in running))
        do = "Stop all but the newest; nothing is launched twice, but all hold launch slots."
        yield Trouble("dispatch", f"{names} run", "one at a time", do)


def who_waits_is_dispatched(case: Case) -> Iterator[Trouble]:
    """Where somebody waits in the queue, or a batch is unfinished, a dispatcher works."""
    if any(
        e.status == RUNNING or (e.ended_at is not None and not case.settled(e.ended_at))
        for e in case.dispatchers
    ):
        return
    do = "Let the platform run for a minute: its schedule wakes the dispatcher. Then look again."
    for record in case.live():
        if record.queued_at is not None and case.settled(max(record.queued_at, record.updated_at)):
            found = f"queued since {record.queued_at.isoformat()}, and no dispatcher works"
            yield Trouble(f"request {record.request}", found, "a dispatcher", do)
    for batch, state in case.ledger.batches.values():
        if state in {BatchState.OPEN, BatchState.SEALED} and case.settled(batch.created_at):
            found = f"{state} since {batch.created_at.isoformat()}, and no dispatcher works"
            yield Trouble(f"batch {batch.batch}", found, "a dispatcher that finishes it", do)


def _epoch(execution: ExecutionSeen) -> int | None:
    tail = execution.name.removeprefix("dispatch-")
    return int(tail) if tail.isdecimal() else None
