"""Cancel, RecordFailure and Announce: how onboardings end, and who is told."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from atelier.contracts import ids
from atelier.contracts.errors import (
    LedgerContention,
    NotFound,
    OwnerErased,
    PoisonousTask,
    ServiceUnavailable,
)
from atelier.contracts.records import Notification
from atelier.contracts.status import Stamp, Status, Verdict
from tasks import (
    announce,
    cancel,
    launch_training,
    publish_model,
    record_failure,
    register,
    sync_checkpoints,
)
from tasks.endings import due, end
from tasks.ports import Changed
from tests.fakes.crashing import CallCount, CountedPort
from tests.fakes.world import World


def record(world: World, error: dict[str, Any], execution: str = "by-hand", **data: Any) -> Any:
    given = {"execution": execution, "given": {**world.asked(), **data, "error": error}}
    return record_failure.run(given, ports=world.ports)


def poisonous() -> dict[str, str]:
    cause = {
        "errorType": "PoisonousTask",
        "errorMessage": "training failed 2 times",
        "do": "Look at the last failure.",
        "facts": {"attempts": 2},
    }
    return {"Error": "PoisonousTask", "Cause": json.dumps(cause)}


def controls(world: World) -> int:
    return len(world.objects.list("control/"))


def test_a_failure_is_recorded_with_its_facts_and_notified_once(world):
    request = world.launched()
    for _ in range(2):
        result = record(world, poisonous(), onboarding={"request": request})
        assert result == {
            "request": request,
            "error": "PoisonousTask",
            "message": "training failed 2 times",
            "do": "Look at the last failure.",
            "facts": {"attempts": 2},
        }
    failed = world.read(request)
    assert failed.status is Status.FAILED
    assert failed.failure is not None
    assert failed.failure.facts == {"attempts": 2}
    assert world.outbox() == ["onboarding.failed"]
    assert controls(world) == 1


def test_a_timeout_of_launch_training_is_the_deadlines_passing(world):
    request = world.queued()
    result = record(world, {"Error": "States.Timeout", "Cause": ""}, onboarding={})
    assert (result["request"], result["error"]) == (request, "DeadlinePassed")
    assert world.ledger.queued(limit=9) == []


def test_a_failure_before_the_request_was_returned_finds_it_by_its_execution(world):
    request = world.registered()
    result = record(world, {"Error": "PhotosRejected", "Cause": "no JSON"})
    assert (result["request"], result["message"]) == (request, "no JSON")
    assert world.read(request).status is Status.FAILED


def test_an_input_too_broken_to_make_a_request_fails_alone(world):
    given = {"user_id": "", "error": {"Error": "InvalidRequest", "Cause": "{}"}}
    result = record_failure.run({"execution": "x", "given": given}, ports=world.ports)
    assert (result["request"], result["error"]) == ("", "InvalidRequest")
    nothing = announce.run({"request": "", "outcome": "failed"}, ports=world.ports)
    assert nothing == {"undelivered": 0}


def test_a_second_execution_of_a_running_request_fails_without_touching_it(world):
    request = world.queued(execution="first")
    result = record(world, {"Error": "AlreadyExists", "Cause": "{}"}, execution="second")
    assert (result["request"], result["error"]) == ("", "AlreadyExists")
    assert world.read(request).status is Status.QUEUED


def test_a_late_repetition_does_not_end_the_next_attempt(world):
    request = world.queued(execution="first")
    record(world, poisonous(), "first", onboarding={"request": request})
    payload = {"given": world.asked(), "execution": "second"}
    register.run(payload, ports=world.ports)
    record(world, poisonous(), "first", onboarding={"request": request})
    assert world.read(request).status is Status.QUEUED


def test_a_fork_ends_the_request_that_it_carries_on(world):
    request = world.launched()
    fork = {"onboarding": {"request": request}, "resume_at": "SyncCheckpoints"}
    assert record(world, poisonous(), "fork-1", **fork)["request"] == request
    assert world.read(request).status is Status.FAILED


def test_the_first_reason_stands(world):
    request = world.queued()
    cancel.run({"request": request}, ports=world.ports)
    result = record(world, poisonous(), onboarding={"request": request})
    assert result["error"] == "Cancelled"
    assert world.outbox() == ["onboarding.cancelled"]


def test_nothing_ends_what_is_ready(world):
    request = world.launched()
    world.train(request)
    sync_checkpoints.run({"request": request, "turn": 0}, ports=world.ports)
    publish_model.run({"request": request}, ports=world.ports)
    assert cancel.run({"request": request}, ports=world.ports)["cancelled"] is False
    record(world, poisonous(), onboarding={"request": request})
    assert world.read(request).status is Status.READY
    assert world.outbox() == ["onboarding.ready"]


@pytest.mark.parametrize("stage", ["registered", "queued", "launched"])
def test_cancelling_ends_a_request_wherever_it_stands(world, stage):
    request = getattr(world, stage)()
    result = cancel.run({"request": request}, ports=world.ports)
    assert result == {"request": request, "status": "cancelled", "cancelled": True}
    assert cancel.run({"request": request}, ports=world.ports) == result
    assert world.outbox() == ["onboarding.cancelled"]
    assert controls(world) == (1 if stage == "launched" else 0)
    assert set(world.executions.failed) == ({"token-1"} if stage == "queued" else set())


def test_cancelling_what_does_not_exist_says_so(world):
    with pytest.raises(NotFound):
        cancel.run({"request": "r" + "a" * 26}, ports=world.ports)


def test_a_cancelled_person_is_told_and_the_execution_ends_at_once(world):
    request = world.launched()
    execution = world.read(request).execution
    world.executions.start("onboarding", execution, {})
    cancel.run({"request": request}, ports=world.ports)
    assert world.executions.describe("onboarding", execution).status == "ABORTED"
    assert [told.type for told in world.notifications.delivered] == ["onboarding.cancelled"]


def test_an_execution_that_waits_for_its_launch_ends_through_its_own_failure_path(world):
    request = world.queued()
    execution = world.read(request).execution
    world.executions.start("onboarding", execution, {})
    cancel.run({"request": request}, ports=world.ports)
    assert world.executions.describe("onboarding", execution).status == "RUNNING"
    assert set(world.executions.failed) == {"token-1"}


def test_announcing_delivers_the_requests_own_notification_once(world):
    mine, other = world.queued("a", execution="a"), world.queued("b", execution="b")
    for request in (mine, other):
        name = world.read(request).execution
        record(world, poisonous(), name, onboarding={"request": request})
    for _ in range(2):
        announce.run({"request": mine, "outcome": "failed"}, ports=world.ports)
    (told,) = world.notifications.delivered
    assert (told.type, told.data["onboarding"]) == ("onboarding.failed", mine)
    assert "photos" not in told.data
    assert len(world.ledger.undelivered(limit=9)) == 1


def test_what_could_not_be_delivered_stays_in_the_outbox_and_is_swept(world):
    world.notifications.down = {"acme"}
    dead = world.queued("a", execution="a", tenant="acme")
    well = world.queued("b", execution="b", tenant="globex")
    for request in (dead, well):
        cancel.run({"request": request}, ports=world.ports)
    with pytest.raises(ServiceUnavailable):
        announce.run({"request": dead, "outcome": "failed"}, ports=world.ports)
    assert announce.run({}, ports=world.ports) == {"undelivered": 1}
    assert [n.tenant for n in world.notifications.delivered] == ["globex"]
    world.notifications.down = set()
    assert announce.run({}, ports=world.ports) == {"undelivered": 0}


def test_a_notification_far_down_the_outbox_is_delivered_by_its_id(world):
    world.notifications.down = {"acme"}
    for number in range(3):
        request = world.queued(
            f"u{number}", token=f"t{number}", execution=f"e{number}", tenant="acme"
        )
        cancel.run({"request": request}, ports=world.ports)
    mine = world.queued("me", token="mine", execution="mine")
    end(world.read(mine), PoisonousTask("x"), ports=world.ports)

    class NobodyReadsTheOutbox(CountedPort):
        def undelivered(self, **_: Any) -> Any:
            raise AssertionError("the outbox may have a million rows")

    ledger = NobodyReadsTheOutbox(world.ledger, CallCount(10**9))
    ports = replace(world.ports, ledger=ledger)
    announce.run({"request": mine, "outcome": "failed"}, ports=ports)
    assert [told.data["onboarding"] for told in world.notifications.delivered] == [mine]


def test_a_dead_receiver_starves_nobody_and_is_asked_once_a_sweep(world):
    asked: list[str] = []

    class Slow:
        def deliver(self, notification: Notification) -> None:
            asked.append(notification.tenant)
            if notification.tenant == "acme":
                world.clock.advance(20)
                raise ServiceUnavailable("no answer for 20 s")

    class Outbox:
        def undelivered(self, *, limit: int, after: Notification | None = None) -> Any:
            first = rows.index(after) + 1 if after else 0
            return rows[first : first + limit]

        def notification(self, name: str) -> tuple[Notification, datetime | None] | None:
            return next(((row, None) for row in rows if row.id == name), None)

        def mark_delivered(self, notification: str, *, at: datetime) -> None:
            """Nothing to note: the rows stand still."""

    tenants = ["acme"] * 19 + ["globex"]
    rows = [
        Notification(f"m{n:03d}", tenants[n % 20], "onboarding.ready", {}, world.clock.now())
        for n in range(announce.PAGE + 20)
    ]
    ports = replace(world.ports, notifications=Slow(), ledger=Outbox())
    left = announce.run({}, ports=ports)["undelivered"]
    assert asked.count("acme") == 1
    assert asked.count("globex") == len(rows) // 20
    assert left == len(rows) - len(rows) // 20


def test_a_retried_requests_deadline_counts_from_the_retry_and_moves_no_further(world):
    request = world.queued(execution="first", deadline_seconds=600)
    world.clock.advance(700)
    record(world, poisonous(), "first", onboarding={"request": request})
    payload = {"given": world.asked(deadline_seconds=600), "execution": "second"}
    register.run(payload, ports=world.ports)
    deadline = world.clock.now() + timedelta(seconds=600)
    for token in "abc":
        assert due(world.read(request)) == deadline
        launch_training.run({"request": request, "token": token}, ports=world.ports)
        world.dispatch()
        world.clock.advance(100)
        world.event(str(world.read(request).job), "Stopped")
        sync_checkpoints.run({"request": request, "turn": 0}, ports=world.ports)
    assert world.read(request).attempt == 5
    assert due(world.read(request)) == deadline


def test_each_attempts_end_is_a_notification_of_its_own(world):
    request = world.queued(execution="first")
    cancel.run({"request": request}, ports=world.ports)
    again = {"given": world.asked(), "execution": ids.execution_name(request, 2)}
    register.run(again, ports=world.ports)
    launch_training.run({"request": request, "token": "t"}, ports=world.ports)
    cancel.run({"request": request}, ports=world.ports)
    assert world.outbox() == ["onboarding.cancelled"] * 2


def test_every_state_of_an_erased_persons_execution_learns_it(world):
    request = world.launched()
    standing = world.read(request)
    world.ledger.advance(request, Stamp(standing.attempt, Status.ERASED, standing.job))
    for task, given in (
        (register, {"given": world.asked(), "execution": "by-hand"}),
        (launch_training, {"request": request, "token": "t"}),
        (sync_checkpoints, {"request": request, "turn": 0}),
        (publish_model, {"request": request}),
    ):
        with pytest.raises(OwnerErased):
            task.run(given, ports=world.ports)
    assert cancel.run({"request": request}, ports=world.ports)["cancelled"] is False
    assert world.outbox() == []


def test_what_kept_moving_on_is_tried_again_later(world):
    request = world.queued()
    before = world.read(request)

    class MovingOn:
        def advance(self, *_: Any, **__: Any) -> Changed:
            return Changed(Verdict.STALE, before)

    ports = replace(world.ports, ledger=MovingOn())
    with pytest.raises(LedgerContention):
        end(before, PoisonousTask("x"), ports=ports)
