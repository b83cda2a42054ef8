"""The walk: whatever passes by itself, in whatever state and however long, needs no person.

Every state of both machines is walked through with every such error lasting far longer than the
state's own retries, and every port with an outage of hours. The onboarding ends as if nothing had
happened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from atelier.contracts import ids
from atelier.contracts.clock import Clock
from atelier.contracts.errors import ServiceUnavailable, WaitError, descendants
from atelier.contracts.request import normalise, read_input
from atelier.contracts.status import TERMINAL, Status
from tasks import cancel, starting
from tests.fakes.crashing import PORTS
from tests.fakes.running import NEVER, RunningMachines
from tests.fakes.world import World, new_world
from workflows.engine.engine import TaskCall
from workflows.machines.asl import load

HOUR = 3600.0
OUTAGE_SECONDS = 3 * HOUR
"""Longer than 30 patient retries."""
IN_ORDER = ("Register", "LaunchTraining", "LaunchRound", "SyncCheckpoints", "PublishModel")
ERRORS = [*(leaf.name() for leaf in descendants(WaitError)), "Lambda.Unknown", "Sandbox.Timedout"]
"""All that a state retries of ours, and two that it does not."""
TURNS_UP = {"RecordFailure": 2, "Announce": 2}


def functions() -> set[str]:
    """Return the functions behind every Task state of both machines."""
    states = [*load("onboarding")["States"].values(), *load("dispatch")["States"].values()]
    named = [s["Parameters"]["FunctionName"] for s in states if s["Type"] == "Task"]
    return {name.removeprefix("${").removesuffix("Function}") for name in named}


def test_every_function_is_on_the_walk():
    assert functions() == {*IN_ORDER, *TURNS_UP}


def begin(machines: RunningMachines, photos: int = 5) -> str:
    """Start an onboarding as the API does; return its request."""
    world = machines.world
    world.upload(photos=photos)
    wish = read_input(world.asked())
    record, _ = starting.start(wish, normalise(wish, now=world.clock.now()), ports=machines.ports)
    return record.request


def ended(machines: RunningMachines, request: str) -> Callable[[], bool]:
    name = ids.execution_name(request, 1)

    def look() -> bool:
        # Asked after every step: what costs little comes first.
        if machines.world.ports.executions.describe("onboarding", name).status == "RUNNING":
            return False
        return machines.world.read(request).status in TERMINAL

    return look


def outage(function: str, error: str, clock: Clock) -> Callable[[TaskCall], str | None]:
    """Let a function fail from its first call on, for hours."""
    first: list[datetime] = []

    def fault(call: TaskCall) -> str | None:
        if call.function != function:
            return None
        first[:] = first or [clock.now()]
        over = clock.now() - first[0] >= timedelta(seconds=OUTAGE_SECONDS)
        return None if over else error

    return fault


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("function", IN_ORDER)
def test_an_error_that_outlasts_the_retries_of_a_state_needs_nobody(function, error):
    with new_world() as world:
        machines = RunningMachines(world, fault=outage(function, error, world.clock))
        request = begin(machines)
        machines.go_on(20 * HOUR, until=ended(machines, request))
        assert world.read(request).status is Status.READY
        assert world.outbox() == ["onboarding.ready"]
        if function != "LaunchRound":
            execution = machines.ports.executions.describe("onboarding", f"{request}-1")
            assert execution.status == "SUCCEEDED"
        assert world.read(request).attempt == 1


@pytest.mark.parametrize("function", ["Register", "SyncCheckpoints", "PublishModel", "LaunchRound"])
def test_a_function_that_does_not_answer_for_hours_needs_nobody(function):
    with new_world() as world:
        machines = RunningMachines(world, fault=outage(function, NEVER, world.clock))
        request = begin(machines)
        machines.go_on(20 * HOUR, until=ended(machines, request))
        assert world.read(request).status is Status.READY


@pytest.mark.parametrize("error", [*ERRORS, NEVER])
def test_a_failure_that_cannot_be_recorded_for_hours_is_recorded_then(error):
    with new_world() as world:
        machines = RunningMachines(world, fault=outage("RecordFailure", error, world.clock))
        request = begin(machines, photos=2)
        machines.go_on(20 * HOUR, until=ended(machines, request))
        record = world.read(request)
        assert record.status is Status.FAILED
        assert record.failure is not None
        assert record.failure.error == "PhotosRejected"
        assert world.outbox() == ["onboarding.failed"]


@pytest.mark.parametrize("error", [*ERRORS, NEVER])
def test_a_model_is_ready_whether_or_not_anybody_can_be_told(error):
    with new_world() as world:
        machines = RunningMachines(world, fault=outage("Announce", error, world.clock))
        request = begin(machines)
        machines.go_on(3 * HOUR, until=ended(machines, request))
        assert world.read(request).status is Status.READY
        machines.go_on(OUTAGE_SECONDS)
        assert [told.type for told in world.notifications.delivered] == ["onboarding.ready"]


class Down:
    """A port that does not answer while an outage lasts."""

    def __init__(self, port: Any, clock: Clock, begins: float, ends: float) -> None:
        self._port, self._clock = port, clock
        now = clock.now()
        self._down = (now + timedelta(seconds=begins), now + timedelta(seconds=ends))

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        if not callable(method):
            return method

        def call(*given: Any, **named: Any) -> Any:
            if self._down[0] <= self._clock.now() < self._down[1]:
                raise ServiceUnavailable(f"{name} does not answer")
            return method(*given, **named)

        return call


@pytest.mark.parametrize("port", [name for name in PORTS if name != "endpoint"])
@pytest.mark.parametrize("begins", [1, 299, 301, 602])
def test_a_port_that_is_down_for_hours_needs_nobody(port, begins):
    with new_world() as world:
        machines = RunningMachines(world)
        request = begin(machines)
        down = Down(getattr(machines.ports, port), world.clock, begins, OUTAGE_SECONDS)
        machines.ports = replace(machines.ports, **{port: down})
        machines.go_on(20 * HOUR, until=ended(machines, request))
        assert world.read(request).status is Status.READY
        machines.go_on(OUTAGE_SECONDS)
        assert [told.type for told in world.notifications.delivered] == ["onboarding.ready"]
        assert len(world.jobs.jobs) == 1


def test_a_cancel_whose_process_died_ends_the_execution_by_itself(world: World):
    machines = RunningMachines(world)
    request = begin(machines)
    world.jobs.refusals = [ServiceUnavailable("no answer")] * 1000
    machines.go_on(60)
    down = Down(machines.ports.executions, world.clock, 0, 30)
    with pytest.raises(ServiceUnavailable):
        cancel.run({"request": request}, ports=replace(machines.ports, executions=down))
    assert world.read(request).untold
    machines.go_on(2 * HOUR, until=ended(machines, request))
    assert world.read(request).status is Status.CANCELLED
    assert not world.read(request).untold
    assert machines.ports.executions.describe("onboarding", f"{request}-1").status == "FAILED"


@pytest.mark.parametrize("state", ["LaunchTraining", "PublishModel"])
def test_a_fork_beside_an_execution_that_is_redriven_has_one_outcome(state):
    with new_world() as world:
        machines = RunningMachines(world, fault=outage(state, "Lambda.Unknown", world.clock))
        request = begin(machines)
        executions = machines.ports.executions
        original = ids.execution_name(request, 1)

        def failed() -> bool:
            return executions.describe("onboarding", original).status == "FAILED"

        machines.go_on(OUTAGE_SECONDS, until=failed)
        assert failed()
        carried = {"request": request, "attempt": 1, "deadline_seconds": 7200, "known": False}
        training = {"attempt": 1, "job": "j", "host": "algo-1", "wait_seconds": 1, "turn": 0}
        fork = {"onboarding": carried, "training": {**training, "state": "trained"}}
        executions.start("onboarding", "fork", {**world.asked(), **fork, "resume_at": state})
        machines.go_on(30 * HOUR, until=ended(machines, request))
        machines.go_on(3 * HOUR)
        record = world.read(request)
        assert (record.status, record.attempt) == (Status.READY, 1)
        assert world.outbox() == ["onboarding.ready"]
        assert len(world.jobs.jobs) == 1
        assert executions.describe("onboarding", "fork").status != "RUNNING"
