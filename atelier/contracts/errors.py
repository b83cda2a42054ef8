"""The error tree, sorted by what can be done about it.

    AtelierError
    ├── FinalError                 ends the onboarding: caught, recorded, announced
    │   ├── CallerError            whoever asked can put it right
    │   │   ├── InvalidRequest     a field is wrong: where, found, allowed
    │   │   ├── PhotosRejected     the photos do not make a model; each says why
    │   │   ├── ConsentMissing     nobody said that these photos may be used
    │   │   ├── NotFound           no such thing for this tenant
    │   │   ├── AlreadyExists      the name is taken
    │   │   └── IdempotencyConflict  the same key came with another input
    │   ├── StoppedError           somebody or a limit ended it on purpose
    │   │   ├── Cancelled
    │   │   ├── DeadlinePassed
    │   │   ├── OwnerErased
    │   │   └── InterruptedTooOften
    │   └── DefectError            the work itself fails, however often it is tried
    │       ├── PoisonousTask
    │       └── AdapterRejected
    ├── WaitError                  the same again later works: retried with backoff
    │   ├── Throttled
    │   ├── QuotaExceeded
    │   ├── CapacityMissing
    │   ├── ServiceUnavailable
    │   ├── ModelNotReady
    │   └── LedgerContention
    └── BrokenError                our own promise is broken: fails in place, redrive after the fix
        ├── ContractBroken
        ├── ObjectMissing
        ├── ObjectExists
        └── JobNameTaken

A class name is its error name in the state machines; Retry and Catch lists are derived here and
never typed by hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How a state retries an error: the fields of an ASL retrier.

    Delay before retry n is `min(interval_seconds * backoff_rate**(n-1), max_delay_seconds)`, drawn
    uniformly from zero to that (full jitter).
    """

    interval_seconds: int
    max_attempts: int
    backoff_rate: float
    max_delay_seconds: int


QUICK = RetryPolicy(interval_seconds=1, max_attempts=6, backoff_rate=2.0, max_delay_seconds=20)
PATIENT = RetryPolicy(interval_seconds=5, max_attempts=30, backoff_rate=2.0, max_delay_seconds=120)


class AtelierError(Exception):
    """Anything that goes wrong in a way we know.

    Attributes:
        do: what the caller can do next, one sentence.
        facts: numbers and names behind the message, JSON values.
    """

    do: str = "Look at the execution's history; nothing was lost."

    def __init__(self, message: str, *, do: str | None = None, **facts: Any) -> None:
        """Keep the message for people and the facts for programs."""
        super().__init__(message)
        self.message = message
        if do is not None:
            self.do = do
        self.facts: Mapping[str, Any] = facts

    @classmethod
    def name(cls) -> str:
        """Return the ASL error name."""
        return cls.__name__

    def to_dict(self) -> dict[str, Any]:
        """Return what is stored and shown: error, message, do, facts."""
        return {
            "error": self.name(),
            "message": self.message,
            "do": self.do,
            "facts": dict(self.facts),
        }


class FinalError(AtelierError):
    """Ends the onboarding."""


class CallerError(FinalError):
    """Whoever asked can put it right and ask again."""


class InvalidRequest(CallerError):
    """A field of the input is wrong; facts: where, found, allowed."""

    do = "Correct the field and send the request again."


class PhotosRejected(CallerError):
    """The photos do not make a model; facts: photos (name → reason), accepted, needed."""

    do = "Replace the photos that are named and send the set again."


class ConsentMissing(CallerError):
    """No consent is recorded for these photos."""

    do = "Record the person's consent with the upload; nothing trains without it."


class NotFound(CallerError):
    """There is no such thing for this tenant; facts: kind, name."""

    do = "Check the name; a tenant sees only what is its own."


class AlreadyExists(CallerError):
    """The name is taken; facts: kind, name."""

    do = "Choose another name, or ask for a new version."


class IdempotencyConflict(CallerError):
    """The same idempotency key came before with another input; facts: request."""

    do = "Use a new Idempotency-Key for a new request."


class StoppedError(FinalError):
    """Somebody, or a limit that somebody set, ended it."""


class Cancelled(StoppedError):
    """The request was cancelled."""

    do = "Retry it when it is wanted after all."


class DeadlinePassed(StoppedError):
    """The request's deadline passed before it was done; facts: deadline."""

    do = "Retry it: it then has as long again as at first. Or start one with a later deadline."


class OwnerErased(StoppedError):
    """The person's data was erased."""

    do = "Nothing remains to be done; an erased person can be onboarded anew."


class InterruptedTooOften(StoppedError):
    """Its training was interrupted as often as is allowed, through nobody's fault; facts: times."""

    do = "Retry it; capacity comes and goes, and training goes on from its last checkpoint."


class DefectError(FinalError):
    """The work itself fails, however often it is tried."""


class PoisonousTask(DefectError):
    """Training failed alone as often as is allowed; facts: attempts, last."""

    do = "Look at the last failure; other photos or another preset may train."


class AdapterRejected(DefectError):
    """The trained adapter file breaks the rules of adapter files; facts: where, found, allowed."""

    do = "Report it with the request id; the file was not published."


class WaitError(AtelierError):
    """The same call works later; retried by itself."""

    retry: ClassVar[RetryPolicy] = QUICK
    do = "Wait; it is tried again by itself."


class Throttled(WaitError):
    """The service asks for fewer calls per second."""

    retry = PATIENT


class QuotaExceeded(WaitError):
    """An account quota is used up; facts: quota."""

    retry = PATIENT


class CapacityMissing(WaitError):
    """No instance of the type is free in the Region; facts: instance_type."""

    retry = PATIENT


class ServiceUnavailable(WaitError):
    """A service did not answer or answered that it cannot now."""


class ModelNotReady(WaitError):
    """The endpoint is still loading the model."""

    retry = PATIENT


class LedgerContention(WaitError):
    """Others changed the same item at the same moment."""


class BrokenError(AtelierError):
    """A promise of our own is broken: the state fails in place and can be redriven."""


class ContractBroken(BrokenError):
    """A document of ours does not read; facts: where."""


class ObjectMissing(BrokenError):
    """An object that must be there is not; facts: key."""


class ObjectExists(BrokenError):
    """A write-once object is there already; facts: key."""


class JobNameTaken(BrokenError):
    """A training job of that name exists with another definition; facts: job."""


LAMBDA_TRANSIENT_ERRORS = (
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    "Lambda.TooManyRequestsException",
)
"""What AWS's guide says to retry on any Lambda-backed state (sfn-best-practices)."""

LOST_INVOCATIONS = (
    "States.Timeout",
    "States.HeartbeatTimeout",
    "Sandbox.Timedout",
    "Lambda.Unknown",
)
"""How a function that was killed, froze or ran out of time looks from its state
(https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html,
https://docs.aws.amazon.com/lambda/latest/dg/troubleshooting-invocation.html)."""

ASL_ERRORS = (
    "States.ALL",
    "States.TaskFailed",
    "States.Timeout",
    "States.HeartbeatTimeout",
    "States.DataLimitExceeded",
    "States.Runtime",
    "States.Permissions",
    "States.ExceedToleratedFailureThreshold",
    "States.ItemReaderFailed",
    "States.ResultWriterFailed",
    "States.QueryEvaluationError",
    "States.Http.Socket",
)
"""Names that the language itself defines (concepts-error-handling)."""


def descendants(root: type[AtelierError]) -> Iterator[type[AtelierError]]:
    """Yield the leaves under `root` in the order in which the tree is drawn.

    The tree is closed: a subclass defined elsewhere does not grow the machines' Catch lists.
    """
    children = [child for child in root.__subclasses__() if child.__module__ == __name__]
    if not children:
        yield root
    for child in children:
        yield from descendants(child)


def final_error_names() -> list[str]:
    """Return the names that a state machine catches on the way to RecordFailure."""
    return [leaf.name() for leaf in descendants(FinalError)]


def passing_error_names() -> frozenset[str]:
    """Return the names of errors that pass by themselves, however long they last.

    An execution that such an error stopped needs nobody: it is redriven.
    """
    ours = {leaf.name() for leaf in descendants(WaitError)}
    return frozenset(ours | set(LAMBDA_TRANSIENT_ERRORS) | set(LOST_INVOCATIONS))


def retriers() -> list[tuple[list[str], RetryPolicy]]:
    """Return (error names, policy) pairs for every Task state, most patient last."""
    by_policy: dict[RetryPolicy, list[str]] = {QUICK: [], PATIENT: []}
    for leaf in descendants(WaitError):
        policy = leaf.retry if issubclass(leaf, WaitError) else QUICK
        by_policy.setdefault(policy, []).append(leaf.name())
    by_policy[QUICK].extend(LAMBDA_TRANSIENT_ERRORS)
    return [(names, policy) for policy, names in by_policy.items() if names]


def known_error_names() -> frozenset[str]:
    """Return every name that a Retry or Catch of ours may mention."""
    ours = {leaf.name() for leaf in descendants(AtelierError)}
    return frozenset(ours | set(LAMBDA_TRANSIENT_ERRORS) | set(ASL_ERRORS))


def error_class(name: str) -> type[AtelierError] | None:
    """Return the class of an error name, or None when the name is not ours."""
    return next((leaf for leaf in descendants(AtelierError) if leaf.name() == name), None)
