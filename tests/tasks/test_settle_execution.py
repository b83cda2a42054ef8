"""SettleExecution: what ends an execution from outside reaches its request, once."""

from __future__ import annotations

import json

import pytest

from atelier.contracts.status import Status
from tasks import cancel, settle_execution
from tests.fakes.world import World


def ended(world: World, request: str, status: str, **detail: object) -> dict[str, object]:
    name = world.read(request).execution
    return {"name": name, "status": status, "input": json.dumps(world.asked()), **detail}


def test_an_execution_stopped_by_hand_cancels_its_request_and_frees_its_slot(world):
    request = world.launched()
    event = ended(world, request, "ABORTED", error="Stopped")
    for _ in range(2):
        settle_execution.run(event, ports=world.ports)
    assert world.read(request).status is Status.CANCELLED
    assert world.outbox() == ["onboarding.cancelled"]
    assert len(world.objects.list("control/")) == 1


def test_an_execution_that_timed_out_is_its_requests_deadline_passing(world):
    request = world.queued()
    settle_execution.run(ended(world, request, "TIMED_OUT"), ports=world.ports)
    record = world.read(request)
    assert record.status is Status.FAILED
    assert record.failure is not None
    assert record.failure.error == "DeadlinePassed"


def test_a_request_whose_execution_failed_in_place_stays_alive_and_says_who_must_look(world):
    request = world.launched()
    before = world.read(request)
    event = ended(world, request, "FAILED", error="ObjectMissing")
    assert settle_execution.run(event, ports=world.ports) == {"settled": True}
    record = world.read(request)
    assert record.status is before.status
    assert "ObjectMissing" in record.waiting_for
    assert record.execution in record.waiting_for
    assert world.outbox() == []


@pytest.mark.parametrize("status", ["SUCCEEDED", "RUNNING"])
def test_an_execution_that_did_not_fail_settles_nothing(world, status):
    request = world.queued()
    event = ended(world, request, status)
    assert settle_execution.run(event, ports=world.ports) == {"settled": False}
    assert world.read(request).status is Status.QUEUED


def test_a_late_event_of_what_has_ended_changes_nothing(world):
    request = world.queued()
    cancel.run({"request": request}, ports=world.ports)
    before = world.read(request)
    for status in ("ABORTED", "TIMED_OUT", "FAILED"):
        event = ended(world, request, status)
        assert settle_execution.run(event, ports=world.ports) == {"settled": False}
    assert world.read(request) == before


@pytest.mark.parametrize("text", ["", "no JSON", "[]", '"text"'])
def test_an_execution_of_nobody_settles_nothing(world, text):
    event = {"name": "by-hand", "status": "ABORTED", "input": text}
    assert settle_execution.run(event, ports=world.ports) == {"settled": False}
