"""What is going on inside an execution: branches, visits, task attempts, timers.

These records change as the execution advances; only `execution.Execution` touches them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from workflows.engine.definition import Machine, State
from workflows.engine.happenings import Purpose, StartTask
from workflows.engine.jsontext import Json


@dataclass(slots=True)
class Branch:
    """One run of one machine: the execution, a Parallel's branch, or a Map's iteration.

    Attributes:
        machine: What it runs.
        variables: The variables it sees: the outer ones, and its own.
        last_event: The event that its next one follows.
        parent: The visit that it belongs to; None for the execution itself.
        index: Which branch or item it is.
        item: The context object's `Map` inside an iteration.
        visit: The visit that is open.
        entering: The state that it enters when its turn comes, and the input.
    """

    machine: Machine
    variables: dict[str, Json]
    last_event: int
    parent: Visit | None = None
    index: int = 0
    item: Mapping[str, Json] | None = None
    visit: Visit | None = None
    entering: tuple[str, Json] | None = None


@dataclass(slots=True)
class Visit:
    """A state that was entered and not left yet.

    Attributes:
        branch: Where.
        state: Which.
        kind: Its Type.
        input: Its raw input.
        entered_event: The id of its …StateEntered event.
        entered_at: When.
        retries: How often each of its retriers was used.
        retry_count: How often it was retried in all.
        timer: The timer it waits for: a Wait's, or a retry's.
        attempt: The task attempt it waits for.
        fan: The branches it waits for.
        broken: The branches it waited for before one of them failed: a redrive goes on with them.
    """

    branch: Branch
    state: State
    kind: str
    input: Json
    entered_event: int
    entered_at: datetime
    retries: list[int]
    retry_count: int = 0
    timer: int | None = None
    attempt: Attempt | None = None
    fan: Fan | None = None
    broken: Fan | None = None


@dataclass(slots=True)
class Fan:
    """The branches of a Parallel or Map that is running.

    Attributes:
        items: The inputs or items, in order.
        results: The output of each that is done.
        begun: The event that began it.
        at_once: How many may be under way.
        open: Those under way, by index.
        started: How many were started.
        done: How many are done.
    """

    items: list[Json]
    results: list[Json]
    begun: int
    at_once: int
    open: dict[int, Branch] = field(default_factory=dict)
    started: int = 0
    done: int = 0


@dataclass(slots=True)
class Attempt:
    """A task attempt without outcome.

    Attributes:
        visit: Whose.
        request: What started it; `request.attempt` is its number.
        heartbeat_seconds: How long it may be silent once it was submitted.
        submitted: Whether the service has taken it and a callback is awaited.
        timeout_timer: The timer of its timeout.
        heartbeat_timer: The timer of its next heartbeat.
    """

    visit: Visit
    request: StartTask
    heartbeat_seconds: int | None
    submitted: bool = False
    timeout_timer: int | None = None
    heartbeat_timer: int | None = None


@dataclass(frozen=True, slots=True)
class Timer:
    """An armed timer; `visit` is None for the execution's own."""

    due: datetime
    purpose: Purpose
    visit: Visit | None
