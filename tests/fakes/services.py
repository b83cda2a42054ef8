"""The services that tasks call and tests script: jobs, executions, endpoint, notifications."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from atelier.contracts.clock import Clock
from atelier.contracts.errors import (
    AlreadyExists,
    AtelierError,
    JobNameTaken,
    NotFound,
    ServiceUnavailable,
)
from atelier.contracts.records import Notification
from tasks.ports import Execution, TrainingJob


@dataclass
class ScriptedTrainingJobs:
    """A training service whose jobs stand still until a test moves them.

    Attributes:
        refusals: raised by the next calls of `create`, one each; None lets one through.
        lose_answers: of so many next successes the answer is lost on its way back.
    """

    clock: Clock
    definitions: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    jobs: dict[str, TrainingJob] = field(default_factory=dict)
    created_at: list[datetime] = field(default_factory=list)
    refusals: list[AtelierError | None] = field(default_factory=list)
    lose_answers: int = 0

    def create(self, definition: Mapping[str, Any]) -> None:
        if self.refusals and (refusal := self.refusals.pop(0)) is not None:
            raise refusal
        name = definition["TrainingJobName"]
        if name in self.jobs:
            raise JobNameTaken(f"training job {name} exists", job=name)
        now = self.clock.now()
        self.created_at.append(now)
        self.definitions[name] = definition
        self.jobs[name] = TrainingJob(
            name, "InProgress", "Starting", "", dict(definition["HyperParameters"]), now, None, 0
        )
        if self.lose_answers:
            self.lose_answers -= 1
            raise ServiceUnavailable("the answer was lost")

    def describe(self, name: str) -> TrainingJob:
        if name not in self.jobs:
            raise NotFound(f"no training job {name}", kind="training job", name=name)
        return self.jobs[name]

    def stop(self, name: str) -> None:
        self.finish(self.describe(name).name, "Stopped")

    def finish(self, name: str, status: str, reason: str = "") -> None:
        self.jobs[name] = replace(
            self.jobs[name], status=status, secondary_status=status, failure_reason=reason
        )


@dataclass
class ScriptedExecutions:
    """Executions that start and stand still; tokens are completed once."""

    executions: dict[tuple[str, str], Execution] = field(default_factory=dict)
    inputs: dict[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    succeeded: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    failed: dict[str, tuple[str, str]] = field(default_factory=dict)

    def start(self, machine: str, name: str, given: Mapping[str, Any]) -> Execution:
        key = (machine, name)
        if key not in self.executions:
            self.executions[key] = Execution(f"arn:{machine}:{name}", machine, name, "RUNNING")
            self.inputs[key] = given
        elif self.executions[key].status != "RUNNING" or self.inputs[key] != given:
            raise AlreadyExists(f"execution {name}", kind="execution", name=name)
        return self.executions[key]

    def describe(self, machine: str, name: str) -> Execution:
        if (machine, name) not in self.executions:
            raise NotFound(f"no execution {name}", kind="execution", name=name)
        return self.executions[machine, name]

    def stop(self, machine: str, name: str, *, error: str, cause: str) -> None:
        if self.describe(machine, name).status == "RUNNING":
            self.finish(machine, name, "ABORTED")

    def finish(self, machine: str, name: str, status: str) -> None:
        key = (machine, name)
        self.executions[key] = replace(self.executions[key], status=status)

    def succeed_task(self, token: str, output: Mapping[str, Any]) -> bool:
        if token in self.succeeded or token in self.failed:
            return False
        self.succeeded[token] = dict(output)
        return True

    def fail_task(self, token: str, *, error: str, cause: str) -> bool:
        if token in self.succeeded or token in self.failed:
            return False
        self.failed[token] = (error, cause)
        return True


@dataclass
class HeardNotifications:
    """Everything that was delivered, and how often; `down` refuses."""

    delivered: list[Notification] = field(default_factory=list)
    down: set[str] = field(default_factory=set)

    def deliver(self, notification: Notification) -> None:
        if notification.tenant in self.down:
            raise ServiceUnavailable("the webhook does not answer")
        self.delivered.append(notification)


class NoEndpoint:
    """An endpoint that no task may call."""

    def invoke(
        self,
        target_model: str,
        body: bytes,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> bytes:
        raise AssertionError("no task invokes the endpoint")
