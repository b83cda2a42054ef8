"""The ports: everything a task may ask of a platform. AWS is one platform, local the other.

Every port is a narrow protocol; both platforms pass the same contract tests
(`tests/contracts/`). Errors are the tree's (`atelier.contracts.errors`), never a library's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from threading import BoundedSemaphore
from typing import Any, Protocol

from atelier.contracts.base_models import BASE_MODELS
from atelier.contracts.clock import Clock
from atelier.contracts.durations import Measurement
from atelier.contracts.records import (
    Batch,
    BatchState,
    DispatchState,
    ModelRecord,
    ModelVersion,
    Notification,
    RequestRecord,
)
from atelier.contracts.status import Stamp, Status, Verdict
from tasks.turns import Turns

DECODES_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What is known of an object without reading it: key, size, ETag, last change (UTC)."""

    key: str
    bytes: int
    etag: str
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class UploadForm:
    """A POST form for one photo: where to send it, the fields to send with it, until when."""

    url: str
    fields: Mapping[str, str]
    expires_at: datetime


class Objects(Protocol):
    """The bucket, with S3's semantics: whole objects, atomic writes, strong reads, flat keys."""

    def put(
        self,
        key: str,
        body: bytes,
        *,
        content_type: str = "application/octet-stream",
        if_absent: bool = False,
    ) -> ObjectInfo:
        """Write an object whole.

        Raises:
            ObjectExists: `if_absent` and the key has an object.
        """
        ...

    def read(self, key: str, *, max_bytes: int | None = None) -> bytes:
        """Read an object whole.

        Raises:
            ObjectMissing: there is none.
            ContractBroken: it is larger than `max_bytes`.
        """
        ...

    def info(self, key: str) -> ObjectInfo | None:
        """Return what is known of an object, or None when there is none."""
        ...

    def list(self, prefix: str, *, after: str = "", limit: int = 1000) -> Sequence[ObjectInfo]:
        """Return up to `limit` objects below a prefix with keys after `after`, sorted by key."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens when there is none."""
        ...

    def upload_form(
        self, key: str, *, content_type: str, max_bytes: int, expires_at: datetime
    ) -> UploadForm:
        """Return a form that lets anyone who holds it write this one object until it expires."""
        ...


@dataclass(frozen=True, slots=True)
class Changed:
    """The result of a conditional write: what was decided, and the record as it now stands."""

    verdict: Verdict
    record: RequestRecord


class Ledger(Protocol):
    """The tables that know every request and model. Reads are consistent, writes conditional."""

    # requests

    def create(self, record: RequestRecord) -> tuple[RequestRecord, bool]:
        """Write a request unless its id is there; return the stored one and whether it is new."""
        ...

    def read(self, request: str) -> RequestRecord:
        """Return a request.

        Raises:
            NotFound: there is none.
        """
        ...

    def advance(
        self,
        request: str,
        stamp: Stamp,
        *,
        notification: Notification | None = None,
        **changes: Any,
    ) -> Changed:
        """Move a request to `stamp` and set `changes`, if `judge` says that it applies.

        `changes` are fields of `RequestRecord`. Entering queued with `queued_at` puts it into the
        queue; any later status takes it out. `entered` and `updated_at` are kept by the ledger. A
        notification is written in the same transaction, and only if the change applies.

        Raises:
            NotFound: there is no such request.
        """
        ...

    def annotate(self, request: str, *, attempt: int, **changes: Any) -> Changed:
        """Set fields without a change of status, while `attempt` is current and not terminal.

        The verdict is APPLIES or STALE.
        """
        ...

    def release(self, request: str, *, attempt: int, batch: str) -> Changed:
        """Put a request that `batch` claimed, and that is not launching yet, back into the queue.

        The one way back in a life; it keeps the place in the queue (`queued_at`).
        """
        ...

    def retry(self, request: str, *, execution: str) -> Changed:
        """Begin the next attempt of a failed or cancelled request, on a person's word."""
        ...

    def queued(self, *, limit: int) -> Sequence[RequestRecord]:
        """Return who waits in the queue: highest priority first, then longest wait."""
        ...

    def list_requests(
        self,
        *,
        tenant: str,
        owner: str | None = None,
        statuses: frozenset[Status] | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> tuple[Sequence[RequestRecord], str | None]:
        """Return a page of a tenant's requests, newest first, and the next page's cursor."""
        ...

    def scan_requests(
        self, *, unfinished: bool, cursor: str | None = None, limit: int = 50
    ) -> tuple[Sequence[RequestRecord], str | None]:
        """Return a page of all tenants' requests in no order, and the next page's cursor.

        Unfinished are those that live, and those whose end not everybody was told of
        (`mark_told`); what is finished costs nothing then. Whoever is there from the first page to
        the last is seen; nobody is seen twice by following the cursors.

        Raises:
            InvalidRequest: the cursor is none of ours, or `limit` is below 1.
        """
        ...

    def scan_place(self) -> str | None:
        """Return the cursor that was kept for whoever looks at unfinished requests next."""
        ...

    def keep_scan_place(self, cursor: str | None) -> None:
        """Keep where the next look at unfinished requests goes on; None is the beginning."""
        ...

    def mark_told(self, request: str, *, attempt: int) -> Changed:
        """Note that everybody who works on an ended request was told.

        Raises:
            NotFound: there is no such request.
        """
        ...

    def requests_of_job(self, job: str) -> Sequence[RequestRecord]:
        """Return the requests that a training job carries or carried last."""
        ...

    # models

    def publish(
        self,
        request: str,
        stamp: Stamp,
        *,
        model: ModelRecord,
        version: ModelVersion,
        notification: Notification,
    ) -> Changed:
        """Make a request ready and its version current, in one transaction with its notification.

        `model` is the model as it will be, `version` its newest; the write applies only if the
        stored model has exactly the versions before it.

        Raises:
            LedgerContention: another version was published meanwhile; read and try again.
        """
        ...

    def model(self, owner: str, model: str) -> ModelRecord:
        """Return one model of an owner.

        Raises:
            NotFound: there is none.
        """
        ...

    def models(self, *, owner: str) -> Sequence[ModelRecord]:
        """Return an owner's models by name."""
        ...

    def list_models(self, *, tenant: str) -> Sequence[ModelRecord]:
        """Return a tenant's models by owner and name."""
        ...

    def touch_model(self, owner: str, model: str, *, used_at: datetime) -> None:
        """Note that a model was used; best effort, an older time changes nothing."""
        ...

    # outbox

    def undelivered(
        self, *, limit: int, after: Notification | None = None
    ) -> Sequence[Notification]:
        """Return notifications that nobody delivered yet, oldest first; those behind `after`."""
        ...

    def notification(self, notification: str) -> tuple[Notification, datetime | None] | None:
        """Return a notification and when it was delivered, or None when there is none."""
        ...

    def mark_delivered(self, notification: str, *, at: datetime) -> None:
        """Note a delivery; a second one changes nothing."""
        ...

    # durations

    def measure(self, measurement: Measurement) -> None:
        """Keep what an onboarding took, among the newest of its base model and preset.

        The same onboarding counts once, however often it is measured.
        """
        ...

    def measurements(self, *, base: str, preset: str) -> Sequence[Measurement]:
        """Return what the last onboardings took, newest first; at most KEPT_MEASUREMENTS."""
        ...

    # dispatch

    def dispatch_state(self) -> DispatchState:
        """Return the dispatcher's epoch and doorbell."""
        ...

    def ring(self) -> DispatchState:
        """Ring the doorbell: the running round will scan once more."""
        ...

    def close_epoch(self, *, epoch: int, doorbell: int | None) -> bool:
        """Begin the next epoch if `epoch` is current and, unless None, nobody rang since."""
        ...

    def reserve_launch(self, *, interval_seconds: float) -> datetime:
        """Reserve the next launch slot; slots are at least `interval_seconds` apart, in UTC.

        A slot far in the future was reserved before the clock was set back: slots then begin anew.
        """
        ...

    def create_batch(self, batch: Batch) -> tuple[Batch, BatchState]:
        """Write a batch once; return the stored one and how far it came."""
        ...

    def move_batch(self, batch: str, *, to: BatchState) -> BatchState:
        """Move a batch forward; return its state.

        Open → sealed → launched; open or sealed → released.
        """
        ...

    def open_batches(self) -> Sequence[tuple[Batch, BatchState]]:
        """Return batches that are open or sealed: what a dispatcher that died left behind."""
        ...


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """A training job as DescribeTrainingJob tells it.

    Attributes:
        name: unique for ever in an account and Region.
        status: InProgress, Completed, Failed, Stopping, Stopped.
        secondary_status: SageMaker's finer word.
        failure_reason: at most 1,024 characters, or empty.
        hyperparameters: as it was created with.
        created_at, ended_at: UTC.
        billable_seconds: what is paid for, per instance.
    """

    name: str
    status: str
    secondary_status: str
    failure_reason: str
    hyperparameters: Mapping[str, str]
    created_at: datetime
    ended_at: datetime | None
    billable_seconds: int


class TrainingJobs(Protocol):
    """SageMaker's training service."""

    def create(self, definition: Mapping[str, Any]) -> None:
        """Create a job from CreateTrainingJob's request.

        Raises:
            Throttled: more than one request per second in the account.
            QuotaExceeded: no instance left in the account's quota.
            CapacityMissing: no instance of the type in the Region.
            JobNameTaken: a job of that name exists.
            InvalidRequest: the definition breaks SageMaker's rules.
        """
        ...

    def describe(self, name: str) -> TrainingJob:
        """Return a job.

        Raises:
            NotFound: there is none.
            Throttled: more than five requests per second.
        """
        ...

    def stop(self, name: str) -> None:
        """Ask a job to stop: SIGTERM, 120 s, SIGKILL. Nothing happens to an ended job.

        Raises:
            NotFound: there is none.
            Throttled: more than one request per second.
        """
        ...


class Endpoint(Protocol):
    """The shared multi-model endpoint."""

    def invoke(
        self,
        target_model: str,
        body: bytes,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> bytes:
        """Invoke one target model and return the response's body.

        Raises:
            ModelNotReady: still loading after 60 s; loading goes on.
            NotFound: no artifact of that name.
            AdapterRejected: the artifact does not unpack, or the container refuses to load it.
            Throttled: too many requests; facts: retry_after_seconds.
            InvalidRequest: the container refused the body (its 4xx), with its own words.
            ServiceUnavailable: the endpoint or the container is not there now.
        """
        ...


class Notifications(Protocol):
    """How a tenant is told: SNS and webhooks, or the local platform's own log."""

    def deliver(self, notification: Notification) -> None:
        """Deliver once; raise to have it repeated later.

        Raises:
            ServiceUnavailable: not delivered.
        """
        ...


@dataclass(frozen=True, slots=True)
class Execution:
    """An execution as DescribeExecution tells it.

    `status` is RUNNING, SUCCEEDED, FAILED, TIMED_OUT or ABORTED.
    """

    arn: str
    machine: str
    name: str
    status: str
    error: str | None = None
    cause: str | None = None


class Executions(Protocol):
    """Step Functions, as far as tasks and the API need it. `machine` is our short name."""

    def start(self, machine: str, name: str, given: Mapping[str, Any]) -> Execution:
        """Start an execution; the same name and input while it runs is the same execution.

        Raises:
            AlreadyExists: the name was used, by another input or by an execution that ended.
            NotFound: there is no such machine.
            InvalidRequest: no execution may have this name, or the input is no JSON.
        """
        ...

    def describe(self, machine: str, name: str) -> Execution:
        """Return an execution.

        Raises:
            NotFound: there is none.
        """
        ...

    def stop(self, machine: str, name: str, *, error: str, cause: str) -> None:
        """Abort an execution at once; nothing happens to an ended one.

        Raises:
            NotFound: there is none.
        """
        ...

    def redrive(self, machine: str, name: str) -> Execution:
        """Let an execution that failed, timed out or was aborted go on where it did.

        It keeps its definition, input and history; the states that did not complete are worked on
        again, with new task tokens and as many retries as at first (AWS's RedriveExecution).

        Raises:
            NotFound: there is none.
            InvalidRequest: it runs or has succeeded, ended more than 14 days ago, or was redriven
                1,000 times.
        """
        ...

    def succeed_task(self, token: str, output: Mapping[str, Any]) -> bool:
        """Complete a callback; False when it timed out or is known no more, which is done, too.

        Raises:
            InvalidRequest: the output is no JSON; the callback waits on.
        """
        ...

    def fail_task(self, token: str, *, error: str, cause: str) -> bool:
        """Fail a callback; False as above.

        Raises:
            InvalidRequest: the cause has more than 32,768 characters; the callback waits on.
        """
        ...


@dataclass(frozen=True, slots=True)
class TaskSettings:
    """What an operator sets for the tasks of a deployment.

    Attributes:
        launches_per_second: ceiling of CreateTrainingJob.
        round_seconds: how long one LaunchRound works before it hands over.
        max_lone_failures: after so many failures that nothing but the task can be the reason of,
            it is poisonous.
        max_interruptions: so often training may be interrupted through nobody's fault.
        tasks_per_job: so many people, at most, share a training job.
        quiet_seconds: when nothing was heard of a request or a job for so long, Reconcile asks.
        role_arn, training_image: for CreateTrainingJob.
        bucket_url: where job and endpoint find objects: `s3://<bucket>/`.
        least_wait_seconds, most_wait_seconds: bounds of WaitForCheckpoint.
        base_models: ids of the base models whose weights this deployment has; requests for others
            are refused.
    """

    launches_per_second: float = 1.0
    round_seconds: float = 50.0
    max_lone_failures: int = 2
    max_interruptions: int = 20
    tasks_per_job: int = 1
    quiet_seconds: float = 120.0
    role_arn: str = "arn:aws:iam::000000000000:role/atelier-training"
    training_image: str = "000000000000.dkr.ecr.us-east-1.amazonaws.com/atelier-training:local"
    bucket_url: str = "s3://atelier/"
    least_wait_seconds: int = 1
    most_wait_seconds: int = 300
    base_models: tuple[str, ...] = tuple(BASE_MODELS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Everything a task is given: one value per platform, bound in its composition root.

    `decoding` holds how many photos this process decodes at once: one of them takes up to a quarter
    of a gigabyte, and people send fifty. `deliveries` has a turn for each notification, so that
    those who announce one at the same moment deliver it once.
    """

    ledger: Ledger
    objects: Objects
    training_jobs: TrainingJobs
    endpoint: Endpoint
    notifications: Notifications
    executions: Executions
    clock: Clock
    settings: TaskSettings
    decoding: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(DECODES_AT_ONCE))
    deliveries: Turns = field(default_factory=Turns)
