"""Background: what stands behind an outlook, a line each: what has been, and what it rests on."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise

from atelier.contracts.durations import Phase
from atelier.contracts.progress import Progress, TrainingState
from atelier.contracts.records import RequestRecord
from atelier.contracts.status import TERMINAL, Status
from tasks.durations import Durations
from tasks.endings import due
from tasks.forecast import Ahead
from tasks.wording import moment, span


def lasted(record: RequestRecord, progress: Progress | None) -> list[tuple[str, float]]:
    """Return the parts of a life so far that have ended, in order, with their seconds."""
    host, entered = progress.entered if progress else {}, record.entered
    marks = [
        ("", record.created_at),
        # A new attempt enters its statuses anew: what was lost is no time in the queue.
        (
            "earlier attempts",
            entered.get(Status.QUEUED.value) if record.attempt > 1 else None,
        ),
        ("photos and queue", entered.get(Status.LAUNCHING.value)),
        (
            "the job's starts before and after an interruption"
            if TrainingState.STOPPED.value in host
            else "the job's start",
            host.get(TrainingState.TRAINING.value),
        ),
        ("training", host.get(TrainingState.SAMPLING.value)),
        ("adapter and samples", host.get(TrainingState.DONE.value)),
        (
            "waiting for a look" if host else "the training job",
            entered.get(Status.TRAINED.value),
        ),
        ("publishing", entered.get(Status.READY.value)),
    ]
    known = [(name, at) for name, at in marks if at is not None]
    return [
        (name, max(0.0, (at - before).total_seconds()))
        for (_, before), (name, at) in pairwise(known)
    ]


def past(record: RequestRecord, progress: Progress | None) -> tuple[str, ...]:
    """Return what has been: how long each part took, and what became of earlier attempts."""
    lines = []
    if parts := lasted(record, progress):
        lines.append("so far: " + ", ".join(f"{name} {span(took)}" for name, took in parts))
    if record.retried_at is not None:
        lines.append(f"retried by a person at {record.retried_at:%Y-%m-%d %H:%M:%S} UTC")
    if record.attempt > 1:
        were = "was" if record.interruptions == 1 else "were"
        lines.append(
            f"attempt {record.attempt}; of those before it, {record.lone_failures} failed by "
            f"themselves and {record.interruptions} {were} interrupted through nobody's fault"
        )
    if record.job:
        lines.append(f"training job: {record.job}")
    if record.status not in TERMINAL:
        if record.waiting_for:
            lines.append(f"told so far: {record.waiting_for}")
        lines.append(f"deadline: {due(record):%Y-%m-%d %H:%M:%S} UTC")
    return tuple(lines)


def basis(
    record: RequestRecord, *, ahead: Ahead, durations: Durations, now: datetime
) -> tuple[str, ...]:
    """Return what an outlook rests on, and who decides next.

    Args:
        record: the request; it has not ended.
        ahead: who goes before it.
        durations: what was measured of its base model and preset.
        now: UTC.
    """
    lines = []
    if ahead.place > 1 and record.status in {Status.QUEUED, Status.CLAIMED}:
        others = ahead.place - 1 - ahead.own
        lines.append(f"ahead in the queue: {ahead.own} of this tenant, {others} of others")
    lines += _expected(record, durations)
    lines.append(f"decides next: {_decides(record, now=now)}")
    return tuple(lines)


def _expected(record: RequestRecord, durations: Durations) -> list[str]:
    """Return how long each phase is expected to take: as measured, and as the table has it."""
    expected = {phase: durations.expect(record.given, phase) for phase in Phase}
    lines = []
    if counts := [found.measured for found in expected.values() if found.measured]:
        medians = "1 measured" if max(counts) == 1 else f"medians of up to {max(counts)} measured"
        parts = [f"{phase} {span(it.seconds)}" for phase, it in expected.items() if it.measured]
        lines.append(f"usual: {', '.join(parts)} ({medians})")
    if len(counts) < len(expected):
        parts = [f"{phase} {span(it.seconds)}" for phase, it in expected.items() if not it.measured]
        lines.append(f"by the table of costs, nothing measured yet: {', '.join(parts)}")
    return lines


def _decides(record: RequestRecord, *, now: datetime) -> str:
    match record.status:
        case Status.QUEUED if record.queued_at is None:
            return "Register, then LaunchTraining"
        case Status.QUEUED | Status.CLAIMED:
            return "the dispatcher (LaunchRound)"
        case Status.LAUNCHING | Status.TRAINING:
            look = record.look_at
            when = f", at {moment(look, now=now)}" if look else ""
            return f"SyncCheckpoints, in its look {record.looks + 1}{when}"
        case _:
            return "PublishModel"
