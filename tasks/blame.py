"""Who pays for a training that was lost: the task, the company that it kept, or nobody.

A table of causes, read top to bottom, and what a cause means to a task that was alone in its job or
in company. Only what the task itself must be the reason of counts towards `PoisonousTask`; a kill,
a lost instance or a service's own fault never does.

The words are SageMaker's (FailureReason and SecondaryStatus of DescribeTrainingJob,
https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeTrainingJob.html).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from atelier.contracts.errors import passing_error_names
from atelier.contracts.progress import Progress, TrainingState
from atelier.contracts.records import JobOutcome, RequestRecord

EXIT_CODE = re.compile(r"exit code:?\s*(-?\d+)", re.IGNORECASE)
SIGNALLED = frozenset({137, -9, 9, 143, -15, 15})
"""Exit codes of a program that was killed (SIGKILL) or asked to leave (SIGTERM)."""


class Blame(Enum):
    """What a loss means to the request."""

    TASK = "task"
    """It counts: so many of them, and the task is poisonous."""
    COMPANY = "company"
    """Anybody in the job may be the reason: it does not count, but the next job is its own."""
    NOBODY = "nobody"
    """An interruption: it is trained again as if nothing had happened."""


class Cause(Enum):
    """What ended the training, as far as anybody can know."""

    NAMED = "the trainer named the task"
    IN_THE_JOB = "something in the job"
    FROM_OUTSIDE = "something outside the job"


BLAME: Mapping[tuple[Cause, bool], Blame] = {
    (Cause.NAMED, True): Blame.TASK,
    (Cause.NAMED, False): Blame.TASK,
    (Cause.IN_THE_JOB, True): Blame.TASK,
    (Cause.IN_THE_JOB, False): Blame.COMPANY,
    (Cause.FROM_OUTSIDE, True): Blame.NOBODY,
    (Cause.FROM_OUTSIDE, False): Blame.NOBODY,
}
"""(cause, whether the task was alone in its job) → who pays."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A training that will never be done.

    Attributes:
        why: one line for people.
        error: the error that the trainer named the task with, or None.
        stopped: whether the trainer said that it stopped the task on demand.
        damaged: whether it was done, and what it left is no longer there as it was written.
        outcome, reason: how its job ended, if that is known.
    """

    why: str
    error: str | None = None
    stopped: bool = False
    damaged: bool = False
    outcome: JobOutcome | None = None
    reason: str = ""

    @property
    def exit_code(self) -> int | None:
        """The program's exit code, if the job's reason tells it; the last one that it names."""
        found = EXIT_CODE.findall(self.reason)
        return int(found[-1]) if found else None


@dataclass(frozen=True, slots=True)
class Rule:
    """A kind of loss: what it is called, how it is known, and its cause."""

    name: str
    applies: Callable[[Loss], bool]
    cause: Cause


def _ended(outcome: JobOutcome, *words: str) -> Callable[[Loss], bool]:
    return lambda loss: (
        loss.outcome is outcome and (not words or any(word in loss.reason for word in words))
    )


RULES: tuple[Rule, ...] = (
    Rule("what it left was damaged", lambda loss: loss.damaged, Cause.FROM_OUTSIDE),
    Rule(
        "the trainer met an error that passes by itself",
        lambda loss: loss.error in passing_error_names(),
        Cause.FROM_OUTSIDE,
    ),
    Rule("the trainer named the task", lambda loss: loss.error is not None, Cause.NAMED),
    Rule(
        "the program was killed",
        lambda loss: loss.outcome is JobOutcome.FAILED and loss.exit_code in SIGNALLED,
        Cause.FROM_OUTSIDE,
    ),
    Rule(
        "the service failed, or had no instance",
        _ended(JobOutcome.FAILED, "InternalServerError", "CapacityError"),
        Cause.FROM_OUTSIDE,
    ),
    Rule("the program failed", _ended(JobOutcome.FAILED), Cause.IN_THE_JOB),
    Rule(
        "it ran longer than a job may",
        _ended(JobOutcome.STOPPED, "MaxRuntimeExceeded"),
        Cause.IN_THE_JOB,
    ),
    Rule("it was stopped or interrupted", _ended(JobOutcome.STOPPED), Cause.FROM_OUTSIDE),
    Rule(
        "the trainer left when it was asked to",
        lambda loss: loss.outcome is JobOutcome.COMPLETED and loss.stopped,
        Cause.FROM_OUTSIDE,
    ),
    Rule("the program ended without the task", _ended(JobOutcome.COMPLETED), Cause.IN_THE_JOB),
)
"""The first that applies tells the cause."""


def loss_of(record: RequestRecord, progress: Progress | None) -> Loss | None:
    """Return how this attempt's training was lost, or None while it may still be done.

    `progress` must have been read after `record`: a host's last words are in the bucket before its
    job's end is known. A host that was stopped may go on (an interrupted spot job restarts by
    itself); only its job's end decides.
    """
    outcome, reason = record.job_outcome, record.job_reason
    if progress is not None and progress.failure is not None:
        why = f"{progress.failure.error}: {progress.failure.message}"
        return Loss(why, error=progress.failure.error, outcome=outcome, reason=reason)
    done = progress is not None and progress.state is TrainingState.DONE
    if outcome is None or done:
        return None
    stopped = progress is not None and progress.state is TrainingState.STOPPED
    why = f"training job {record.job} {outcome.value}: {reason or 'no reason was given'}"
    return Loss(why, stopped=stopped, outcome=outcome, reason=reason)


def cause_of_loss(loss: Loss) -> Cause:
    """Return the cause of a loss, as the table tells it."""
    return next(rule.cause for rule in RULES if rule.applies(loss))


def blame(loss: Loss, *, alone: bool) -> Blame:
    """Return who pays for a loss of a task that was `alone` in its job, or in company."""
    return BLAME[cause_of_loss(loss), alone]
