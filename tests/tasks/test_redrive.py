"""Redrive: a person's word that the cause is gone, and why anything else is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from atelier.contracts.errors import InvalidRequest, NotFound
from atelier.contracts.status import Stamp, Status
from tasks import redrive, settle_execution
from tasks.ports import Execution, Ports
from tasks.redrive import AFTER_THE_END, ELSEWHERE, SAME_REDRIVE_SECONDS
from tests.fakes.services import ScriptedExecutions
from tests.fakes.world import World


def stands(world: World, status: str) -> str:
    request = world.launched()
    name = world.read(request).execution
    world.executions.start("onboarding", name, {})
    if status != "RUNNING":
        world.executions.finish("onboarding", name, status, error="ObjectMissing")
    return request


def test_what_failed_in_place_goes_on_and_nobody_waits_for_an_operator_any_more(world):
    request = stands(world, "FAILED")
    before = world.read(request)
    settle_execution.settle(before, "FAILED", "ObjectMissing", ports=world.ports)
    assert "atelier redrive" in world.read(request).waiting_for
    result = redrive.run({"request": request}, ports=world.ports)
    assert result == {
        "request": request,
        "status": "launching",
        "execution": before.execution,
    }
    assert world.executions.describe("onboarding", before.execution).status == "RUNNING"
    assert world.read(request).waiting_for == ""


@pytest.mark.parametrize("status", ["RUNNING", "SUCCEEDED", "ABORTED", "TIMED_OUT"])
def test_an_execution_that_did_not_fail_is_refused_with_what_to_do(world, status):
    request = stands(world, status)
    with pytest.raises(InvalidRequest) as refused:
        redrive.run({"request": request}, ports=world.ports)
    assert refused.value.do == ELSEWHERE[status]
    assert not world.executions.redriven


def test_an_execution_that_has_not_begun_is_refused_with_what_to_do(world):
    request = world.launched()
    with pytest.raises(InvalidRequest, match="not started") as refused:
        redrive.run({"request": request}, ports=world.ports)
    assert refused.value.do == ELSEWHERE[""]


@pytest.mark.parametrize("end", [Status.FAILED, Status.CANCELLED, Status.ERASED])
def test_what_has_ended_is_refused_with_what_to_do(world, end):
    request = stands(world, "FAILED")
    world.ledger.advance(request, Stamp(1, end))
    with pytest.raises(InvalidRequest, match=end) as refused:
        redrive.run({"request": request}, ports=world.ports)
    assert refused.value.do == AFTER_THE_END[end]
    assert not world.executions.redriven


def test_nobody_redrives_what_is_not_there(world):
    with pytest.raises(NotFound):
        redrive.run({"request": "r" + "a" * 26}, ports=world.ports)


@dataclass
class Raced(ScriptedExecutions):
    """Executions of which somebody else takes one away right before it is redriven."""

    meanwhile: Callable[[], None] = lambda: None

    def redrive(self, machine: str, name: str) -> Execution:
        self.meanwhile()
        return super().redrive(machine, name)


def raced(world: World, meanwhile: Callable[[], None]) -> Ports:
    executions = Raced(executions=world.executions.executions, meanwhile=meanwhile)
    return replace(world.ports, executions=executions)


def test_whoever_asks_again_a_moment_later_is_told_that_it_goes_on(world):
    request = stands(world, "FAILED")
    first = redrive.run({"request": request}, ports=world.ports)
    assert redrive.run({"request": request}, ports=world.ports) == first
    assert sum(world.executions.redriven.values()) == 1
    world.clock.advance(SAME_REDRIVE_SECONDS)
    with pytest.raises(InvalidRequest) as refused:
        redrive.run({"request": request}, ports=world.ports)
    assert refused.value.do == ELSEWHERE["RUNNING"]


def test_of_two_redrives_at_once_both_are_told_that_it_goes_on(world):
    request = stands(world, "FAILED")
    name = world.read(request).execution
    ports = raced(world, lambda: world.executions.finish("onboarding", name, "RUNNING"))
    assert redrive.run({"request": request}, ports=ports)["status"] == "launching"


@pytest.mark.parametrize("aborted", [True, False])
def test_a_redrive_that_a_cancel_overtakes_is_refused_in_words(world, aborted):
    request = stands(world, "FAILED")
    name = world.read(request).execution

    def cancelled() -> None:
        world.ledger.advance(request, Stamp(1, Status.CANCELLED))
        if not aborted:
            world.executions.finish("onboarding", name, "RUNNING")

    with pytest.raises(InvalidRequest, match="it is cancelled") as refused:
        redrive.run({"request": request}, ports=raced(world, cancelled))
    assert refused.value.do == AFTER_THE_END[Status.CANCELLED]
