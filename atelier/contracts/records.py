"""What the ledger holds: requests, models and their versions, batches, the outbox, dispatch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from atelier.contracts.consent import Consent
from atelier.contracts.documents import Document
from atelier.contracts.request import MAX_PHOTOS, OnboardingRequest
from atelier.contracts.status import Stamp, Status


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request ended without a model: the error tree's fields, for people and programs."""

    error: str
    message: str
    do: str
    facts: Mapping[str, Any] = field(default_factory=dict)


class JobOutcome(StrEnum):
    """How a training job ended, all of SageMaker's terminal states in three words."""

    COMPLETED = "completed"
    FAILED = "failed"
    STOPPED = "stopped"
    """Stopped by us, MaxRuntimeExceeded, MaxWaitTimeExceeded, or interrupted for good."""


@dataclass(frozen=True, slots=True)
class RequestRecord(Document):
    """One onboarding request in the `requests` table.

    Attributes:
        given: the request as it was asked for.
        attempt, status, job: its stamp (`atelier.contracts.status`).
        execution: name of the execution that carries this attempt's series.
        dataset: id of the re-encoded photos, once registered.
        photos_used: how many photos the dataset has; 0 before it is registered.
        photos_left_out: file name of each photo that cannot be used → why, for people.
        photos_notes: file name of each photo that is used and could be better → how, for people.
        photos_advice: what would make the set better, one sentence each; it refuses nothing.
        consent: under which the dataset was made, once registered: the upload's own if it has one.
        batch, host: which batch claimed it, and which host of the job trains it.
        queued_at: set exactly while it waits in the queue; the sparse index's sort key.
        token: callback token of LaunchTraining, while it waits; never shown, never logged.
        waiting_for: one sentence for the person who waits, or empty.
        step, steps, loss, eta_seconds: last synced progress.
        looks, look_at: how often its job was looked at, and when it is looked at next.
        job_outcome, job_reason: how its job ended, once that is known.
        lone_failures: how often training failed and nothing but the task itself can be the reason.
        interruptions: how often its training was lost through nobody's fault.
        alone: whether its next job may train nobody else: a job that it shared has failed.
        company_seconds: estimated cost of the others on its host, which it waits for, too.
        resume_from: key of the resumable checkpoint that the next attempt begins with, or None.
        failure: why it ended without a model.
        version: the published version, when ready.
        asked: the execution's input as it was given, to start that execution again.
        redrives, redriven_at: how often, and when last, this attempt's execution was redriven, by
            itself after an error that passes or on a person's word.
        retried_at: when a person last began it again; its deadline counts from then.
        untold: it ended without a model, and whoever works on it may not know yet.
        entered: when each status was entered, for people and measurements.
        created_at, updated_at: UTC.
    """

    SCHEMA = "atelier.request-record"
    VERSION = 2
    NEW_FIELDS = MappingProxyType(
        {
            2: frozenset({"looks", "look_at", "photos_notes", "photos_advice", "consent"})
            | {"interruptions", "alone", "company_seconds", "asked", "redrives", "redriven_at"}
            | {"retried_at", "untold"}
        }
    )

    given: OnboardingRequest
    attempt: int
    status: Status
    execution: str
    created_at: datetime
    updated_at: datetime
    job: str | None = None
    dataset: str | None = None
    batch: str | None = None
    host: str | None = None
    queued_at: datetime | None = None
    token: str | None = None
    waiting_for: str = ""
    step: int = 0
    steps: int = 0
    loss: float | None = None
    eta_seconds: float | None = None
    looks: int = 0
    look_at: datetime | None = None
    job_outcome: JobOutcome | None = None
    job_reason: str = ""
    lone_failures: int = 0
    resume_from: str | None = None
    failure: Failure | None = None
    version: str | None = None
    entered: Mapping[str, datetime] = field(default_factory=dict)
    photos_used: int = 0
    photos_left_out: Mapping[str, str] = field(default_factory=dict)
    photos_notes: Mapping[str, str] = field(default_factory=dict)
    photos_advice: tuple[str, ...] = ()
    consent: Consent | None = None
    interruptions: int = 0
    alone: bool = False
    company_seconds: float = 0.0
    asked: Mapping[str, Any] | None = None
    redrives: int = 0
    redriven_at: datetime | None = None
    retried_at: datetime | None = None
    untold: bool = False

    def __post_init__(self) -> None:
        """Check that no more photos are told of than a set may have."""
        if not 0 <= self.photos_used + len(self.photos_left_out) <= MAX_PHOTOS:
            raise ValueError(
                f"{self.photos_used} photos used and {len(self.photos_left_out)} left out; "
                f"a set has at most {MAX_PHOTOS}"
            )

    @property
    def request(self) -> str:
        """The request's id."""
        return self.given.request

    @property
    def stamp(self) -> Stamp:
        """The point in its life, as `judge` compares it."""
        return Stamp(self.attempt, self.status, self.job)


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One published version: where its artifact lies and what it was made from.

    Attributes:
        version: `v<n>-<digest8>`.
        artifact: object key of the archive.
        digest: SHA-256 of the adapter file in it.
        bytes: size of the archive.
        request: the onboarding that made it.
        rank: of its adapter.
        instance_prompt: the words that call the subject.
        created_at: UTC.
    """

    version: str
    artifact: str
    digest: str
    bytes: int
    request: str
    rank: int
    instance_prompt: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ModelRecord(Document):
    """One model of one owner in the `models` table.

    Attributes:
        owner, tenant, user: whose.
        model: its name.
        base: id of the base model of every version.
        trigger, subject: the words that call the subject in prompts.
        current: the version that is served.
        versions: every version, oldest first.
        dataset: id of the photos behind the current version.
        created_at, updated_at, used_at: UTC; used_at is None until the first image.
    """

    SCHEMA = "atelier.model-record"

    owner: str
    tenant: str
    user: str
    model: str
    base: str
    trigger: str
    subject: str
    current: str
    versions: tuple[ModelVersion, ...]
    dataset: str
    created_at: datetime
    updated_at: datetime
    used_at: datetime | None = None

    @property
    def current_version(self) -> ModelVersion:
        """The version that is served."""
        return next(v for v in self.versions if v.version == self.current)


@dataclass(frozen=True, slots=True)
class Notification(Document):
    """A row of the outbox: written in one transaction with what it tells; delivered at least once.

    Attributes:
        id: derived from request and type: deliveries repeat, ids do not.
        tenant: who is told.
        type: `onboarding.ready`, `onboarding.failed`, `onboarding.cancelled`.
        data: below 20 KB; links, never images.
        created_at: UTC.
    """

    SCHEMA = "atelier.notification"

    id: str
    tenant: str
    type: str
    data: Mapping[str, Any]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Batch(Document):
    """Requests that share one training job; written once, before its requests are marked.

    Attributes:
        batch: derived from its members.
        members: (request, attempt) pairs.
        attempt: of the job; part of its name.
        epoch: of the dispatch that made it.
        created_at: UTC.
    """

    SCHEMA = "atelier.batch"

    batch: str
    members: tuple[tuple[str, int], ...]
    attempt: int
    epoch: int
    created_at: datetime


class BatchState(StrEnum):
    """How far a batch came: open → sealed → launched.

    An open or sealed batch is released when none of its requests needs its job any more.
    """

    OPEN = "open"
    SEALED = "sealed"
    LAUNCHED = "launched"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class DispatchState:
    """The dispatcher's own item: which epoch runs, and how often the doorbell rang."""

    epoch: int
    doorbell: int
