"""The services that tasks call and tests script: jobs, executions, endpoint, notifications.

Each passes the contract tests of its port (`tests/contracts/`), beside the platforms' own.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from atelier.contracts.clock import Clock
from atelier.contracts.errors import (
    AlreadyExists,
    AtelierError,
    InvalidRequest,
    JobNameTaken,
    NotFound,
    ServiceUnavailable,
)
from atelier.contracts.records import Notification
from infra.local.job_definition import read_definition
from tasks.ports import Execution, TaskSettings, TrainingJob
from tests.fakes.crashing import Crash
from workflows.machines.asl import MACHINES

ENDED = frozenset({"Completed", "Failed", "Stopped"})
FAILURE_REASON_CHARACTERS = 1024
CAUSE_CHARACTERS = 32_768
REDRIVES = 1000
EXECUTION_NAME = re.compile(r"[\w.+=@!()'-]{1,80}")


@dataclass
class ScriptedTrainingJobs:
    """A training service whose jobs stand still until a test moves them.

    Attributes:
        refusals: raised by the next calls of `create`, one each; None lets one through.
        describe_refusals, stop_refusals: the same for `describe` and `stop`.
        lose_answers: of so many next successes the answer is lost on its way back.
        kill_callers: of so many next successes the caller dies before the answer arrives.
    """

    clock: Clock
    definitions: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    jobs: dict[str, TrainingJob] = field(default_factory=dict)
    created_at: list[datetime] = field(default_factory=list)
    refusals: list[AtelierError | None] = field(default_factory=list)
    describe_refusals: list[AtelierError] = field(default_factory=list)
    stop_refusals: list[AtelierError] = field(default_factory=list)
    lose_answers: int = 0
    kill_callers: int = 0

    def create(self, definition: Mapping[str, Any]) -> None:
        if self.refusals and (refusal := self.refusals.pop(0)) is not None:
            raise refusal
        name = read_definition(definition, bucket_urls=[TaskSettings().bucket_url]).name
        if name in self.jobs:
            raise JobNameTaken(f"training job {name} exists", job=name)
        now = self.clock.now()
        self.created_at.append(now)
        self.definitions[name] = definition
        given = dict(definition.get("HyperParameters", {}))
        self.jobs[name] = TrainingJob(name, "InProgress", "Starting", "", given, now, None, 0)
        if self.kill_callers:
            self.kill_callers -= 1
            raise Crash
        if self.lose_answers:
            self.lose_answers -= 1
            raise ServiceUnavailable("the answer was lost")

    def describe(self, name: str) -> TrainingJob:
        if self.describe_refusals:
            raise self.describe_refusals.pop(0)
        return self._find(name)

    def stop(self, name: str) -> None:
        if self.stop_refusals:
            raise self.stop_refusals.pop(0)
        if self._find(name).status not in ENDED:
            self.finish(name, "Stopped")

    def finish(self, name: str, status: str, reason: str = "") -> None:
        job, now = self.jobs[name], self.clock.now()
        self.jobs[name] = replace(
            job,
            status=status,
            secondary_status=status,
            failure_reason=reason[:FAILURE_REASON_CHARACTERS],
            ended_at=now,
            billable_seconds=math.ceil((now - job.created_at).total_seconds()),
        )

    def _find(self, name: str) -> TrainingJob:
        if name not in self.jobs:
            raise NotFound(f"no training job {name}", kind="training job", name=name)
        return self.jobs[name]


@dataclass
class ScriptedExecutions:
    """Executions of our machines that start and stand still; tokens are completed once.

    Attributes:
        executions, inputs: by machine and name.
        succeeded, failed: what tokens were completed with.
        overdue: tokens that nobody waits with any more.
        redriven: how often each execution went on after an end.
    """

    executions: dict[tuple[str, str], Execution] = field(default_factory=dict)
    inputs: dict[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    succeeded: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    failed: dict[str, tuple[str, str]] = field(default_factory=dict)
    overdue: set[str] = field(default_factory=set)
    redriven: Counter[tuple[str, str]] = field(default_factory=Counter)

    def start(self, machine: str, name: str, given: Mapping[str, Any]) -> Execution:
        key = (machine, name)
        if machine not in MACHINES:
            raise NotFound(f"no machine {machine}", kind="state machine", name=machine)
        if not EXECUTION_NAME.fullmatch(name):
            raise InvalidRequest(f"{name!r} names no execution", where="name")
        _check_json(given)
        if key not in self.executions:
            self.executions[key] = Execution(f"arn:{machine}:{name}", machine, name, "RUNNING")
            self.inputs[key] = dict(given)
        elif self.executions[key].status != "RUNNING" or self.inputs[key] != given:
            raise AlreadyExists(f"execution {name}", kind="execution", name=name)
        return self.executions[key]

    def describe(self, machine: str, name: str) -> Execution:
        if (machine, name) not in self.executions:
            raise NotFound(f"no execution {name}", kind="execution", name=name)
        return self.executions[machine, name]

    def stop(self, machine: str, name: str, *, error: str, cause: str) -> None:
        if self.describe(machine, name).status == "RUNNING":
            self.finish(machine, name, "ABORTED", error=error, cause=cause)

    def redrive(self, machine: str, name: str) -> Execution:
        execution = self.describe(machine, name)
        if execution.status not in {"FAILED", "TIMED_OUT", "ABORTED"}:
            raise InvalidRequest(f"execution {name} is {execution.status}", where="status")
        if self.redriven[machine, name] == REDRIVES:
            raise InvalidRequest(f"execution {name} was redriven {REDRIVES} times", where="status")
        self.redriven[machine, name] += 1
        self.finish(machine, name, "RUNNING")
        return self.executions[machine, name]

    def finish(
        self,
        machine: str,
        name: str,
        status: str,
        *,
        error: str | None = None,
        cause: str | None = None,
    ) -> None:
        before = self.executions[machine, name]
        self.executions[machine, name] = replace(before, status=status, error=error, cause=cause)

    def forget(self) -> None:
        """Lose every start, as if none had arrived."""
        self.executions.clear()
        self.inputs.clear()

    def succeed_task(self, token: str, output: Mapping[str, Any]) -> bool:
        if not self._awaits(token):
            return False
        _check_json(output)
        self.succeeded[token] = dict(output)
        return True

    def fail_task(self, token: str, *, error: str, cause: str) -> bool:
        if not self._awaits(token):
            return False
        if len(cause) > CAUSE_CHARACTERS:
            raise InvalidRequest(f"a cause of {len(cause)} characters", where="cause")
        self.failed[token] = (error, cause)
        return True

    def _awaits(self, token: str) -> bool:
        return token not in self.succeeded.keys() | self.failed.keys() | self.overdue


def _check_json(given: Mapping[str, Any]) -> None:
    try:
        json.dumps(dict(given), allow_nan=False)
    except (TypeError, ValueError) as problem:
        raise InvalidRequest(f"no JSON: {problem}", where="$") from problem


@dataclass
class HeardNotifications:
    """Everything that was delivered, and how often; `down` are tenants whose webhooks refuse."""

    delivered: list[Notification] = field(default_factory=list)
    down: set[str] = field(default_factory=set)

    def deliver(self, notification: Notification) -> None:
        if notification.tenant in self.down:
            raise ServiceUnavailable("the webhook does not answer")
        self.delivered.append(notification)


@dataclass
class ScriptedEndpoint:
    """An endpoint that answers with what a test put there, and that nobody may ask before.

    Attributes:
        answer: what every target model answers.
        refusals: raised by the next invocations, one each.
        asked: target models and bodies, refused ones, too.
    """

    answer: bytes | None = None
    refusals: list[AtelierError] = field(default_factory=list)
    asked: list[tuple[str, bytes]] = field(default_factory=list)

    def invoke(
        self,
        target_model: str,
        body: bytes,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> bytes:
        self.asked.append((target_model, body))
        if self.refusals:
            raise self.refusals.pop(0)
        assert self.answer is not None, "nobody expected that the endpoint is asked"
        return self.answer
