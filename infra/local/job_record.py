"""A training job's record, and what SageMaker tells of it: Describe, list entries and events.

Sources: sagemaker/latest/APIReference `API_DescribeTrainingJob`;
sagemaker/latest/dg `automating-sagemaker-with-eventbridge`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from atelier.contracts.clock import to_iso
from infra.local.programs import ProcessIdentity
from tasks.ports import TrainingJob


class JobStatus(StrEnum):
    """TrainingJobStatus."""

    IN_PROGRESS = "InProgress"
    STOPPING = "Stopping"
    COMPLETED = "Completed"
    FAILED = "Failed"
    STOPPED = "Stopped"


class Secondary(StrEnum):
    """SecondaryStatus, as far as this platform goes through it."""

    STARTING = "Starting"
    DOWNLOADING = "Downloading"
    TRAINING = "Training"
    UPLOADING = "Uploading"
    INTERRUPTED = "Interrupted"
    STOPPING = "Stopping"
    COMPLETED = "Completed"
    FAILED = "Failed"
    STOPPED = "Stopped"
    MAX_RUNTIME_EXCEEDED = "MaxRuntimeExceeded"


STATUS_OF: dict[Secondary, JobStatus] = {
    Secondary.STARTING: JobStatus.IN_PROGRESS,
    Secondary.DOWNLOADING: JobStatus.IN_PROGRESS,
    Secondary.TRAINING: JobStatus.IN_PROGRESS,
    Secondary.UPLOADING: JobStatus.IN_PROGRESS,
    Secondary.INTERRUPTED: JobStatus.IN_PROGRESS,
    Secondary.STOPPING: JobStatus.STOPPING,
    Secondary.COMPLETED: JobStatus.COMPLETED,
    Secondary.FAILED: JobStatus.FAILED,
    Secondary.STOPPED: JobStatus.STOPPED,
    Secondary.MAX_RUNTIME_EXCEEDED: JobStatus.STOPPED,
}
AGAIN = "Again after: "
"""How the message begins that says why a job is Starting another time."""
ENDED = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.STOPPED})

_MESSAGES: dict[Secondary, str] = {
    Secondary.STARTING: "Preparing the hosts of the training job",
    Secondary.DOWNLOADING: "Downloading input data and checkpoints",
    Secondary.TRAINING: "Training program is running",
    Secondary.UPLOADING: "Uploading model and output",
    Secondary.INTERRUPTED: "The instances were lost; the training job begins again",
    Secondary.STOPPING: "Stopping the training job",
    Secondary.COMPLETED: "Training job completed",
    Secondary.FAILED: "Training job failed",
    Secondary.STOPPED: "Training job stopped",
    Secondary.MAX_RUNTIME_EXCEEDED: "Training job stopped at its longest allowed run time",
}


@dataclass(frozen=True, slots=True)
class Transition:
    """One secondary status and how long it held; `ended_at` is None for the present one."""

    status: Secondary
    started_at: datetime
    ended_at: datetime | None
    message: str


@dataclass(frozen=True, slots=True)
class JobRecord:
    """What is known of a training job.

    Attributes:
        name, arn: unique for ever.
        definition: CreateTrainingJob's request as it came.
        instance_type, instance_count: what was chosen of its preferences.
        secondary: where it stands.
        stop_as: how it ends once it is stopping; None while nobody asked.
        failure_reason: at most 1,024 characters, or empty.
        created_at, modified_at: UTC.
        started_at: its hosts were ready, from here on they are billed.
        ended_at: terminal since then.
        transitions: every secondary status so far, oldest first.
        retries: how often it began again after an internal error. An interruption does not count:
            instances that were lost, or a platform that went down.
        ran_seconds: how long its programs ran before an interruption, as far as it is known.
        processes: host → its running program, to find what a crash left.
        model_artifacts: URL of the uploaded model, or empty.
    """

    name: str
    arn: str
    definition: Mapping[str, Any]
    instance_type: str
    instance_count: int
    secondary: Secondary
    created_at: datetime
    modified_at: datetime
    transitions: tuple[Transition, ...] = ()
    stop_as: Secondary | None = None
    failure_reason: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    retries: int = 0
    processes: Mapping[str, ProcessIdentity] | None = None
    model_artifacts: str = ""
    ran_seconds: float = 0.0

    @property
    def status(self) -> JobStatus:
        """Primary status, which the secondary implies."""
        return STATUS_OF[self.secondary]

    @property
    def ended(self) -> bool:
        """Nothing changes any more."""
        return self.status in ENDED

    @property
    def training_seconds(self) -> int:
        """From ready hosts to the end, rounded up; 0 for a job that never started."""
        if self.started_at is None or self.ended_at is None:
            return 0
        return max(0, math.ceil((self.ended_at - self.started_at).total_seconds()))

    def entering(self, secondary: Secondary, *, at: datetime, message: str = "") -> JobRecord:
        """Return the record one transition later."""
        before = self.transitions
        if before:
            before = (*before[:-1], replace(before[-1], ended_at=at))
        ended = STATUS_OF[secondary] in ENDED
        now = Transition(secondary, at, at if ended else None, message or _MESSAGES[secondary])
        return replace(
            self,
            secondary=secondary,
            modified_at=at,
            transitions=(*before, now),
            ended_at=at if ended else None,
            processes=None if ended else self.processes,
        )

    def told(self) -> TrainingJob:
        """Return what the port tells."""
        return TrainingJob(
            name=self.name,
            status=self.status.value,
            secondary_status=self.secondary.value,
            failure_reason=self.failure_reason,
            hyperparameters=dict(self.definition.get("HyperParameters", {})),
            created_at=self.created_at,
            ended_at=self.ended_at,
            billable_seconds=self.training_seconds,
        )


def describe_document(record: JobRecord) -> dict[str, Any]:
    """Return DescribeTrainingJob's response, times as epoch seconds (AWS JSON 1.1)."""
    document = _document(record, seconds)
    resources = dict(document["ResourceConfig"])
    if "InstancePreferences" in resources:
        resources["SelectedInstanceType"] = record.instance_type
        resources["SelectedInstanceCount"] = record.instance_count
    document["ResourceConfig"] = resources
    document.pop("Tags", None)
    if record.model_artifacts:
        document["ModelArtifacts"] = {"S3ModelArtifacts": record.model_artifacts}
    if record.started_at is not None and record.ended_at is not None:
        document["TrainingTimeInSeconds"] = record.training_seconds
        document["BillableTimeInSeconds"] = record.training_seconds
    return document


def summary_document(record: JobRecord) -> dict[str, Any]:
    """Return ListTrainingJobs' entry."""
    return {
        "TrainingJobName": record.name,
        "TrainingJobArn": record.arn,
        "CreationTime": seconds(record.created_at),
        "LastModifiedTime": seconds(record.modified_at),
        "TrainingJobStatus": record.status.value,
        "SecondaryStatus": record.secondary.value,
        **({"TrainingEndTime": seconds(record.ended_at)} if record.ended_at else {}),
    }


def state_change_event(
    record: JobRecord, *, event_id: str, account: str, region: str
) -> dict[str, Any]:
    """Return the EventBridge event of the record's present state, times as epoch milliseconds."""
    detail = _document(record, _milliseconds)
    if tags := detail.pop("Tags", None):
        detail["Tags"] = {tag["Key"]: tag["Value"] for tag in tags}
    return {
        "version": "0",
        "id": event_id,
        "detail-type": "SageMaker Training Job State Change",
        "source": "aws.sagemaker",
        "account": account,
        "time": to_iso(record.modified_at),
        "region": region,
        "resources": [record.arn],
        "detail": detail,
    }


def _document(record: JobRecord, time: Callable[[datetime], float]) -> dict[str, Any]:
    """Return what Describe and the event share."""
    document: dict[str, Any] = {
        **record.definition,
        "TrainingJobArn": record.arn,
        "TrainingJobStatus": record.status.value,
        "SecondaryStatus": record.secondary.value,
        "CreationTime": time(record.created_at),
        "LastModifiedTime": time(record.modified_at),
        "SecondaryStatusTransitions": [
            {
                "Status": step.status.value,
                "StartTime": time(step.started_at),
                **({"EndTime": time(step.ended_at)} if step.ended_at else {}),
                "StatusMessage": step.message,
            }
            for step in record.transitions
        ],
    }
    if record.failure_reason:
        document["FailureReason"] = record.failure_reason
    if record.started_at is not None:
        document["TrainingStartTime"] = time(record.started_at)
        if record.ended_at is not None:
            document["TrainingEndTime"] = time(record.ended_at)
    return document


def seconds(moment: datetime) -> float:
    """Return epoch seconds with milliseconds."""
    return round(moment.timestamp(), 3)


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
