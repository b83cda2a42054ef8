"""The life of an onboarding request, and which change may follow which.

    queued → claimed → launching → training → trained → publishing → ready
       any of these but ready → failed | cancelled;  anything → erased

Changes come late, doubled and out of order; `judge` is the one rule that every conditional write
follows: ordered by (attempt, rank) and, from launching on, bound to the job's name.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum


class Status(StrEnum):
    """Where a request stands."""

    QUEUED = "queued"
    CLAIMED = "claimed"
    LAUNCHING = "launching"
    TRAINING = "training"
    TRAINED = "trained"
    PUBLISHING = "publishing"
    READY = "ready"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ERASED = "erased"


RANK: dict[Status, int] = {
    Status.QUEUED: 0,
    Status.CLAIMED: 10,
    Status.LAUNCHING: 20,
    Status.TRAINING: 30,
    Status.TRAINED: 40,
    Status.PUBLISHING: 50,
    Status.FAILED: 90,
    Status.CANCELLED: 90,
    Status.READY: 90,
    Status.ERASED: 100,
}

TERMINAL = frozenset({Status.READY, Status.FAILED, Status.CANCELLED, Status.ERASED})
UNFINISHED = frozenset(Status) - TERMINAL
BOUND_TO_JOB = frozenset({Status.LAUNCHING, Status.TRAINING, Status.TRAINED, Status.PUBLISHING})
"""Statuses whose stamp must name the training job that it speaks of; a terminal one may."""
BEFORE_ANY_JOB = frozenset({Status.QUEUED, Status.CLAIMED})
"""Statuses in which no training job exists yet."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """A point in a request's life: which attempt, which status, and of which job."""

    attempt: int
    status: Status
    job: str | None = None

    def __post_init__(self) -> None:
        """Check that a job is named where there is one, and nowhere else."""
        if self.attempt < 1:
            raise ValueError(f"attempt {self.attempt}: attempts count from 1")
        if self.job is not None and self.status in BEFORE_ANY_JOB:
            raise ValueError(f"{self.status} names job {self.job}, but no job exists yet")
        if self.job is None and self.status in BOUND_TO_JOB:
            raise ValueError(f"{self.status} names no job; it must say of which it speaks")

    @property
    def order(self) -> tuple[int, int]:
        """(attempt, rank): what a later stamp exceeds."""
        return self.attempt, RANK[self.status]


class Verdict(Enum):
    """What a conditional write does with a change."""

    APPLIES = "applies"
    SAME = "same"
    STALE = "stale"


def judge(current: Stamp, new: Stamp) -> Verdict:
    """Decide whether `new` changes a request that stands at `current`.

    - Nothing follows erased; erased follows everything.
    - The same status of the same attempt is the same, unless it speaks of another job: then stale.
    - Within an attempt the rank rises, and both stamps speak of the same job if both name one.
    - The next attempt begins as queued, and only while the request is still alive: a person's
      retry after failed or cancelled is the ledger's own operation, not a stamp.
    """
    agree = current.job is None or new.job is None or current.job == new.job
    if (current.attempt, current.status) == (new.attempt, new.status) and agree:
        return Verdict.SAME
    if current.status is Status.ERASED:
        return Verdict.STALE
    if new.status is Status.ERASED:
        return Verdict.APPLIES
    if current.status in TERMINAL:
        return Verdict.STALE
    if new.attempt != current.attempt:
        begins = new.attempt == current.attempt + 1 and new.status is Status.QUEUED
        return Verdict.APPLIES if begins else Verdict.STALE
    return Verdict.APPLIES if agree and new.order > current.order else Verdict.STALE
