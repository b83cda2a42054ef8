"""A parsed definition: frozen states, everything in them compiled once.

Source: https://docs.aws.amazon.com/step-functions/latest/dg/concepts-amazon-states-language.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from workflows.engine.choices import Test
from workflows.engine.paths import Path
from workflows.engine.templates import Expression, Template


class Pattern(StrEnum):
    """How a task's end is known."""

    REQUEST_RESPONSE = ""
    RUN_A_JOB = ".sync"
    CALLBACK = ".waitForTaskToken"


@dataclass(frozen=True, slots=True)
class Resource:
    """What a Task state calls.

    Attributes:
        arn: The resource as written.
        service: The integrated service, `lambda` or `aws-sdk:dynamodb`.
        action: What is called, with its pattern: `invoke.waitForTaskToken`.
        pattern: How the task's end is known.
        direct: Whether this is a bare Lambda ARN, whose history has events of its own.
    """

    arn: str
    service: str
    action: str
    pattern: Pattern
    direct: bool = False


@dataclass(frozen=True, slots=True)
class Retrier:
    """One entry of Retry, its defaults filled in."""

    errors: tuple[str, ...]
    interval_seconds: float = 1
    max_attempts: int = 3
    backoff_rate: float = 2.0
    max_delay_seconds: float | None = None
    full_jitter: bool = False


@dataclass(frozen=True, slots=True)
class Catcher:
    """One entry of Catch; `result_path` is where the error goes, None for nowhere."""

    errors: tuple[str, ...]
    next: str
    result_path: Path | None
    assign: Template | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Base:
    """What every state has.

    Attributes:
        name: The state's name.
        input_path: What of the input the state sees; None gives it `{}`.
        output_path: What of the result goes on; None lets `{}` go on.
        next: The state that follows; None ends the machine or branch.
        assign: The variables that the state sets.
    """

    name: str
    input_path: Path | None
    output_path: Path | None
    next: str | None
    assign: Template | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PassState(_Base):
    """Hands on its input, a constant, or a template."""

    parameters: Template | None
    result: Template | None
    result_path: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SucceedState(_Base):
    """Ends its machine or branch well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailState(_Base):
    """Ends its machine or branch with an error."""

    error: str | Expression | None
    cause: str | Expression | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitState(_Base):
    """Waits for seconds or until a time, given or found."""

    seconds: int | Path | None
    timestamp: datetime | Path | None


@dataclass(frozen=True, slots=True)
class Rule:
    """One choice rule."""

    test: Test
    next: str
    assign: Template | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceState(_Base):
    """Goes on where the first rule that holds points; `next` is the Default."""

    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Working(_Base):
    """What states have that produce a result and may fail."""

    parameters: Template | None
    result_selector: Template | None
    result_path: Path | None
    retry: tuple[Retrier, ...]
    catch: tuple[Catcher, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskState(_Working):
    """Calls something outside the machine."""

    resource: Resource
    credentials: Template | None
    timeout_seconds: int | Path | None
    heartbeat_seconds: int | Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelState(_Working):
    """Runs every branch on the same input; its result is the array of theirs."""

    branches: tuple[Machine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MapState(_Working):
    """Runs one machine per item, in this history; `parameters` is the ItemSelector."""

    items_path: Path | None
    processor: Machine
    max_concurrency: int | Path


State: TypeAlias = (
    PassState
    | SucceedState
    | FailState
    | WaitState
    | ChoiceState
    | TaskState
    | ParallelState
    | MapState
)


@dataclass(frozen=True, slots=True)
class Machine:
    """A state machine, a branch, or an item processor.

    Attributes:
        start_at: Where it starts.
        states: Its states by name.
        timeout_seconds: How long an execution may take; None for as long as AWS allows.
    """

    start_at: str
    states: Mapping[str, State]
    timeout_seconds: int | None = None


KINDS: Mapping[type, str] = {
    PassState: "Pass",
    SucceedState: "Succeed",
    FailState: "Fail",
    WaitState: "Wait",
    ChoiceState: "Choice",
    TaskState: "Task",
    ParallelState: "Parallel",
    MapState: "Map",
}
"""The Type field by class, which is also how the state's events are called."""
