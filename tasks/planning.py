"""Deciding, without a port: what a job trains, what it costs, and how long to wait for it."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from atelier.contracts.base_models import preset
from atelier.contracts.records import RequestRecord
from atelier.contracts.request import OnboardingRequest
from atelier.contracts.status import Status
from tasks.endings import due
from tasks.ports import TaskSettings

TURNS = 8
"""How often, at most, a job that keeps its estimate is looked at."""
LATE_SHARE = 8
"""A job that is late is looked at again after this share of the time it has taken so far."""
SLOWER = 2.0
LONGEST_INTERVAL_SECONDS = 16.0


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """One job to be: the requests of each host, by the host's rank."""

    hosts: tuple[tuple[RequestRecord, ...], ...]

    @property
    def members(self) -> tuple[tuple[str, int], ...]:
        """(request, attempt) of every task, in the hosts' order."""
        return tuple((r.request, r.attempt) for host in self.hosts for r in host)


def plan(queued: Sequence[RequestRecord], *, most: int = 1) -> tuple[PlannedJob, ...]:
    """Return the jobs for who waits, in the order in which to launch them.

    Up to `most` people share a job if they train alike: the same base model, resolution and
    hardware. Nobody is launched later for it: a job comes when its first member would have come.
    Whoever must be alone is.
    """
    jobs: list[list[RequestRecord]] = []
    filling: dict[Hashable, list[RequestRecord]] = {}
    for record in queued:
        if record.alone:
            jobs.append([record])
            continue
        kind = _kind(record.given)
        job = filling.get(kind)
        if job is None or len(job) >= most:
            job = filling[kind] = []
            jobs.append(job)
        job.append(record)
    return tuple(PlannedJob((tuple(job),)) for job in jobs)


def _kind(given: OnboardingRequest) -> Hashable:
    """Return what people who share a job have in common."""
    hardware = preset(given.base, given.preset).hardware
    return given.base, given.hyperparameters.resolution, hardware


@dataclass(frozen=True, slots=True)
class BaseCost:
    """What a base model's training takes on one device of its default instance.

    Attributes:
        start_seconds: from CreateTrainingJob to the first step: instance, image, base model.
        row_step_seconds: one row in one optimiser step.
        row_denoising_seconds: one image in one denoising step, guidance included.
    """

    start_seconds: float
    row_step_seconds: float
    row_denoising_seconds: float


BASE_COSTS: Mapping[str, BaseCost] = {
    # Two CPU cores, on the local platform.
    "tiny": BaseCost(start_seconds=8.0, row_step_seconds=0.02, row_denoising_seconds=0.02),
    # One A10G (g5); the start is a cold one.
    "sd15": BaseCost(start_seconds=240.0, row_step_seconds=0.12, row_denoising_seconds=0.12),
}


def estimated_cost_seconds(given: OnboardingRequest) -> float:
    """Return what a request's training and samples take on one device alone, without the start."""
    cost, tuned = BASE_COSTS[given.base], given.hyperparameters
    training = tuned.steps * tuned.batch_size * cost.row_step_seconds
    previews = tuned.steps // tuned.preview_every_steps if tuned.preview_every_steps else 0
    denoising = sum(s.denoising_steps for s in given.samples) + 25 * previews
    return round(training + denoising * cost.row_denoising_seconds + 1.0, 3)


def estimated_eta_seconds(record: RequestRecord, *, now: datetime) -> float:
    """Return how long a launched job will still take, by the estimate alone; 0 when it is late.

    Whoever shares a host takes as long as all on it together.
    """
    given = record.given
    start = BASE_COSTS[given.base].start_seconds
    whole = start + estimated_cost_seconds(given) + record.company_seconds
    return max(0.0, whole - elapsed_seconds(record, now=now))


def elapsed_seconds(record: RequestRecord, *, now: datetime) -> float:
    """Return how long ago the request's job was launched; 0 before that."""
    launched = record.entered.get(Status.LAUNCHING.value)
    launched = launched or record.entered.get(Status.TRAINING.value, now)
    return max(0.0, (now - launched).total_seconds())


def wait_seconds(
    *, eta_seconds: float, elapsed_seconds: float, turn: int, settings: TaskSettings
) -> int:
    """Return the whole seconds to wait before looking at a job for the time `turn` (0 first).

    - About half of what remains; the last time one second beyond it.
    - Never so little that a job that keeps its estimate needs more than `TURNS` looks: that, and
      only that, may exceed `most_wait_seconds`.
    - A job that is late is looked at ever more rarely, an eighth of its time so far.
    - Never less than `least_wait_seconds`.
    """
    eta, left = max(0.0, eta_seconds), TURNS - turn
    least, most = settings.least_wait_seconds, settings.most_wait_seconds
    if left <= 0 or eta <= 0:
        late = max(eta + 1, elapsed_seconds / LATE_SHARE)
        return math.ceil(min(max(late, least), most))
    if left == 1 or eta <= 2 * least:
        return math.ceil(max(eta + 1, least))
    return math.ceil(max(min(eta / 2, most), eta / left, least))


def wait_for(
    record: RequestRecord,
    *,
    eta_seconds: float | None,
    turn: int,
    now: datetime,
    settings: TaskSettings,
) -> int:
    """Return the wait for a request's job, by its own word or else the estimate.

    It ends with the request's deadline, if that comes first.
    """
    eta = estimated_eta_seconds(record, now=now) if eta_seconds is None else eta_seconds
    wait = wait_seconds(
        eta_seconds=eta,
        elapsed_seconds=elapsed_seconds(record, now=now),
        turn=turn,
        settings=settings,
    )
    remaining = math.ceil((due(record) - now).total_seconds())
    return max(1, min(wait, remaining))


def slower(interval_seconds: float) -> float:
    """Return the interval between launches after the service asked for fewer."""
    return min(interval_seconds * SLOWER, LONGEST_INTERVAL_SECONDS)
