"""What can happen to an execution from outside, and what it asks for: both as data.

Happenings are journalled with the events that they led to; folding an execution's happenings
again gives the same events, which is how it outlives its process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from enum import Enum, auto
from typing import Any, Final, TypeAlias

from workflows.engine.definition import Resource
from workflows.engine.jsontext import Json


@dataclass(frozen=True, slots=True)
class Started:
    """The execution begins: the first happening of each."""


@dataclass(frozen=True, slots=True)
class TaskReturned:
    """The called service answered; for a callback task that is only its submission."""

    attempt: int
    output: Json


@dataclass(frozen=True, slots=True)
class TaskErred:
    """The called service failed."""

    attempt: int
    error: str | None
    cause: str | None


@dataclass(frozen=True, slots=True)
class TaskLapsed:
    """A task's time ran out, as a recording tells it; live timers lead to the same."""

    attempt: int
    error: str
    cause: str | None = None


@dataclass(frozen=True, slots=True)
class CallbackSucceeded:
    """SendTaskSuccess."""

    attempt: int
    output: Json


@dataclass(frozen=True, slots=True)
class CallbackFailed:
    """SendTaskFailure."""

    attempt: int
    error: str | None
    cause: str | None


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """SendTaskHeartbeat."""

    attempt: int


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer is due."""

    timer: int


@dataclass(frozen=True, slots=True)
class Stopped:
    """StopExecution."""

    error: str | None
    cause: str | None


@dataclass(frozen=True, slots=True)
class Redriven:
    """RedriveExecution, for the `count`-th time: it goes on where it did not end well."""

    count: int


@dataclass(frozen=True, slots=True)
class Abandoned:
    """The engine cannot go on with this execution; the cause says why."""

    cause: str


Happening: TypeAlias = (
    Started
    | TaskReturned
    | TaskErred
    | TaskLapsed
    | CallbackSucceeded
    | CallbackFailed
    | Heartbeat
    | TimerFired
    | Stopped
    | Redriven
    | Abandoned
)

_CLASSES: Final[Mapping[str, type[Any]]] = {
    kind.__name__: kind
    for kind in (
        Started,
        TaskReturned,
        TaskErred,
        TaskLapsed,
        CallbackSucceeded,
        CallbackFailed,
        Heartbeat,
        TimerFired,
        Stopped,
        Redriven,
        Abandoned,
    )
}


def happening_to_dict(happening: Happening) -> dict[str, Json]:
    """Return a happening as JSON."""
    told = {field.name: getattr(happening, field.name) for field in fields(happening)}
    return {"happening": type(happening).__name__, **told}


def happening_from_dict(document: Mapping[str, Json]) -> Happening:
    """Read what `happening_to_dict` wrote."""
    told = dict(document)
    happening: Happening = _CLASSES[told.pop("happening")](**told)
    return happening


@dataclass(frozen=True, slots=True)
class StartTask:
    """Effect: begin a task attempt.

    Attributes:
        attempt: The attempt's number: the id of its Scheduled event.
        state: The Task state's name.
        resource: What to call.
        parameters: What to call it with.
        token: The attempt's task token.
        retry_count: How often the state was retried before.
    """

    attempt: int
    state: str
    resource: Resource
    parameters: Json
    token: str
    retry_count: int


@dataclass(frozen=True, slots=True)
class CancelTask:
    """Effect: nobody waits for this attempt any more."""

    attempt: int


class Purpose(Enum):
    """What a timer is for."""

    WAIT = auto()
    RETRY = auto()
    TIMEOUT = auto()
    HEARTBEAT = auto()
    EXECUTION = auto()


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Effect: let `TimerFired(timer)` happen at `due`."""

    timer: int
    due: datetime
    purpose: Purpose


Effect: TypeAlias = StartTask | CancelTask | SetTimer
