"""What Reconcile does about a request: decided without a port, by a table that reads as a whole.

A request is looked at when nothing was written about it for a while. The first row that applies
says what is done; a request that no row names is left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from atelier.contracts.errors import final_error_names, passing_error_names
from atelier.contracts.progress import Progress
from atelier.contracts.records import RequestRecord
from atelier.contracts.status import BEFORE_ANY_JOB, TERMINAL, Status
from tasks.endings import overdue
from tasks.ports import Execution

FIRST_REDRIVE_SECONDS = 30.0
LONGEST_REDRIVE_SECONDS = 1800.0
"""An execution may be redriven 1,000 times; at this pace the deadline comes long before."""

IN_A_JOB = frozenset({Status.LAUNCHING, Status.TRAINING})


class Mend(Enum):
    """What is done about a request."""

    NOTHING = "it goes on by itself"
    TELL = "tell whoever works on it that it has ended"
    START = "start its execution, which never began"
    SETTLE = "settle it as its execution ended"
    REDRIVE = "let its execution go on where an error that passes stopped it"
    EXPIRE = "end it, because its deadline has passed"
    RECORD = "end it with the error that its execution could not record"
    ASK_OPERATOR = "say who has to look at it"
    RESCUE = "free it from a batch that nobody works on"
    ANSWER = "complete its token again, in case nobody listened"


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that has been quiet, as the ledger and Step Functions know it.

    Attributes:
        record: the request.
        execution: the one that carries it, or None when there is none.
        batch_is_open: whether a dispatcher still works on its batch.
        now: UTC.
    """

    record: RequestRecord
    execution: Execution | None
    batch_is_open: bool
    now: datetime

    @property
    def status(self) -> str:
        """The execution's status; empty when there is none."""
        return self.execution.status if self.execution else ""

    @property
    def error(self) -> str:
        """The name of the error that the execution ended with; empty when there is none."""
        return (self.execution.error or "") if self.execution else ""

    @property
    def is_late(self) -> bool:
        """Whether its deadline has passed; what is trained already is never late."""
        early = self.record.status in BEFORE_ANY_JOB | IN_A_JOB
        return early and overdue(self.record, now=self.now) is not None


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table: what is seen, in words and as a condition, and what is done."""

    seen: str
    applies: Callable[[Seen], bool]
    mend: Mend


TABLE: tuple[Row, ...] = (
    Row("it has ended", lambda s: s.record.status in TERMINAL, Mend.TELL),
    Row("its execution is unknown, too late", lambda s: not s.execution and s.is_late, Mend.EXPIRE),
    Row("its execution is unknown", lambda s: s.execution is None, Mend.START),
    Row(
        "its execution was ended from outside",
        lambda s: s.status in {"ABORTED", "TIMED_OUT"},
        Mend.SETTLE,
    ),
    Row(
        "its execution failed, too late", lambda s: s.status == "FAILED" and s.is_late, Mend.EXPIRE
    ),
    Row(
        "its execution failed by an error that passes",
        lambda s: s.status == "FAILED" and s.error in passing_error_names(),
        Mend.REDRIVE,
    ),
    Row(
        "its execution failed by a final error",
        lambda s: s.status == "FAILED" and s.error in final_error_names(),
        Mend.RECORD,
    ),
    Row(
        "its execution failed by anything else, or ended without it",
        lambda s: s.status in {"FAILED", "SUCCEEDED"},
        Mend.ASK_OPERATOR,
    ),
    Row(
        "it waits beyond its deadline",
        lambda s: s.record.status in BEFORE_ANY_JOB and s.is_late,
        Mend.EXPIRE,
    ),
    Row(
        "nobody works on its batch",
        lambda s: s.record.status is Status.CLAIMED and not s.batch_is_open,
        Mend.RESCUE,
    ),
    Row(
        "it is in a job, and its execution may not know",
        lambda s: s.record.status in IN_A_JOB and s.record.token is not None,
        Mend.ANSWER,
    ),
)


def decide(seen: Seen) -> Mend:
    """Return what is done about a request that has been quiet."""
    return next((row.mend for row in TABLE if row.applies(seen)), Mend.NOTHING)


def is_quiet(record: RequestRecord, *, now: datetime, seconds: float) -> bool:
    """Return whether nothing was written about a request for so long."""
    return (now - record.updated_at).total_seconds() >= seconds


def job_is_silent(
    record: RequestRecord, progress: Progress | None, *, now: datetime, seconds: float
) -> bool:
    """Return whether nothing was heard of a request's job for so long, though it has not ended."""
    if record.status not in IN_A_JOB or record.job_outcome is not None:
        return False
    words = [record.entered.get(status.value) for status in IN_A_JOB]
    words.append(progress.updated_at if progress else None)
    last = max((word for word in words if word is not None), default=record.created_at)
    return (now - last).total_seconds() >= seconds


def redrive_is_due(record: RequestRecord, *, now: datetime) -> bool:
    """Return whether an execution may be redriven once more: each time after twice as long."""
    if record.redriven_at is None:
        return True
    pause = FIRST_REDRIVE_SECONDS * 2.0 ** min(record.redrives - 1, 20)
    return (now - record.redriven_at).total_seconds() >= min(pause, LONGEST_REDRIVE_SECONDS)
