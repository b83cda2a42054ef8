"""SyncCheckpoints: bring what the training host left in the bucket into the ledger.

One item and one object, and once it is done its adapter: never DescribeTrainingJob, whose five
requests per second the whole account shares.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from atelier.contracts.errors import LedgerContention
from atelier.contracts.progress import Progress, TrainingState
from atelier.contracts.records import RequestRecord
from atelier.contracts.status import BEFORE_ANY_JOB, TERMINAL, Stamp, Status, Verdict
from tasks.attempts import begin_next, damage_of, read_progress
from tasks.blame import loss_of
from tasks.endings import WRITES, ended, overdue, stop_training
from tasks.payload import text, whole_number
from tasks.planning import wait_for
from tasks.ports import Ports

TRAINED = frozenset({Status.TRAINED, Status.PUBLISHING, Status.READY})
BEGUN = frozenset({TrainingState.TRAINING, TrainingState.SAMPLING, TrainingState.DONE})


def run(given: Mapping[str, Any], *, ports: Ports) -> dict[str, Any]:
    """Look at a request's training: `{"request", "turn"}` → the state's data with `turn` + 1.

    `state` is `running` (wait and look again), `trained`, or `requeue` (its job is lost).

    Raises:
        PoisonousTask: it was lost as often as is allowed.
        FinalError: the request has ended, or its deadline has passed.
    """
    request, turn = text(given, "request"), whole_number(given, "turn") + 1
    for _ in range(WRITES):
        record = ports.ledger.read(request)
        if record.status in TRAINED:
            return _output(record, "trained", turn, 1)
        if record.status in TERMINAL:
            raise ended(record)
        if record.status in BEFORE_ANY_JOB:
            return _output(record, "requeue", turn, 1)
        # Read after the record: the last words of a job that has ended are in the bucket by then.
        progress = read_progress(record, objects=ports.objects)
        now = ports.clock.now()
        wait = wait_for(
            record,
            eta_seconds=_eta_seconds(progress, now=now),
            turn=turn,
            now=now,
            settings=ports.settings,
        )
        look = {"looks": turn, "look_at": now + timedelta(seconds=wait)}
        verdict, record, state = _settle(record, progress, look, ports=ports)
        if verdict is not Verdict.STALE:
            return _output(record, state, turn, wait)
    raise LedgerContention(f"request {request} moved on {WRITES} times")


def _settle(
    record: RequestRecord, progress: Progress | None, look: Mapping[str, Any], *, ports: Ports
) -> tuple[Verdict, RequestRecord, str]:
    """Write what progress says, in one write; return its verdict and where training stands.

    `look` is when the job is looked at next, written while it is not done.
    """
    ledger, loss = ports.ledger, None
    if progress is not None and progress.state is TrainingState.DONE:
        loss = damage_of(record, progress, objects=ports.objects)
        if loss is None:
            stamp = Stamp(record.attempt, Status.TRAINED, record.job)
            changed = ledger.advance(record.request, stamp, **_noted(progress))
            return changed.verdict, changed.record, "trained"
    if passed := overdue(record, now=ports.clock.now()):
        stop_training(record, ports=ports)
        raise passed
    if loss := loss or loss_of(record, progress):
        changed = begin_next(record, loss, ports=ports)
        return changed.verdict, changed.record, "requeue"
    noted = {**(_noted(progress) if progress else {}), **look}
    begun = progress is not None and progress.state in BEGUN
    if record.status is Status.LAUNCHING and begun:
        stamp = Stamp(record.attempt, Status.TRAINING, record.job)
        changed = ledger.advance(record.request, stamp, **noted)
    else:
        changed = ledger.annotate(record.request, attempt=record.attempt, **noted)
    return changed.verdict, changed.record, "running"


def _noted(progress: Progress) -> dict[str, Any]:
    return {
        "step": progress.step,
        "steps": progress.steps,
        "loss": progress.loss,
        "eta_seconds": progress.eta_seconds,
    }


def _output(record: RequestRecord, state: str, turn: int, wait: int) -> dict[str, Any]:
    return {
        "attempt": record.attempt,
        "job": record.job,
        "host": record.host,
        "wait_seconds": wait,
        "turn": turn,
        "state": state,
    }


def _eta_seconds(progress: Progress | None, *, now: datetime) -> float | None:
    """Return what the host expects to take from now on; its word has aged since it was written."""
    if progress is None or progress.eta_seconds is None:
        return None
    age = max(0.0, (now - progress.updated_at).total_seconds())
    return max(0.0, progress.eta_seconds - age)
