"""Reconcile: whatever was lost on the way is found, and the request goes on or ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from atelier.contracts import ids
from atelier.contracts.errors import Throttled
from atelier.contracts.progress import TrainingState
from atelier.contracts.records import Batch, BatchState, JobOutcome
from atelier.contracts.request import normalise, read_input
from atelier.contracts.status import Stamp, Status
from tasks import announce, cancel, launch_training, reconcile, redrive, register, starting
from tests.fakes.crashing import Crash, crash_everywhere, dying
from tests.fakes.services import REDRIVES
from tests.fakes.world import World, answer, new_world

QUIET = 120


def look(world: World, *, after: float = QUIET) -> dict[str, Any]:
    """Let time pass, then look at everybody."""
    world.clock.advance(after)
    seen = reconcile.run({}, ports=world.ports)
    assert not seen.pop("more")
    return seen


def runs(world: World, request: str, status: str = "RUNNING", error: str | None = None) -> str:
    """Give a request's execution a status; return its name."""
    name = world.read(request).execution
    world.executions.start("onboarding", name, {})
    if status != "RUNNING":
        world.executions.finish("onboarding", name, status, error=error)
    return name


# executions that never began


def asked_and_died(world: World, user: str = "42", **given: Any) -> str:
    """Ask for an onboarding as the API does, and die between the ledger and Step Functions."""
    world.upload(user)
    wish = read_input(world.asked(user, **given))
    ports, _ = dying(world.ports, after=1)
    with pytest.raises(Crash):
        starting.start(wish, normalise(wish, now=world.clock.now()), ports=ports)
    (record,), _ = world.ledger.scan_requests(unfinished=True)
    return record.request


@pytest.mark.parametrize("given", [{}, {"idempotency_key": "k", "trigger": "sks", "seed": 7}])
def test_an_onboarding_that_never_began_begins_as_the_same_request(world, given):
    request = asked_and_died(world, **given)
    assert look(world, after=QUIET - 1)["mended"] == 0
    assert look(world, after=1)["mended"] == 1
    name = ids.execution_name(request, 1)
    given = world.executions.inputs["onboarding", name]
    registered = register.run({"given": given, "execution": name}, ports=world.ports)
    assert registered["request"] == request
    assert look(world)["mended"] == 0


@pytest.mark.parametrize("given", [{}, {"idempotency_key": "k", "deadline_seconds": 600}])
def test_the_api_and_a_reconciler_start_one_and_the_same_execution(world, given):
    request = asked_and_died(world, **given)
    look(world)
    wish = read_input(world.asked(**given))
    record, new = starting.start(wish, normalise(wish, now=world.clock.now()), ports=world.ports)
    assert (record.request, new) == (request, False)
    assert [name for _, name in world.executions.executions] == [record.execution]


def test_an_execution_by_hand_whose_history_is_gone_begins_again_under_its_name(world):
    request = world.registered(execution="by-hand")
    look(world)
    given = world.executions.inputs["onboarding", "by-hand"]
    again = register.run({"given": given, "execution": "by-hand"}, ports=world.ports)
    assert again["request"] == request


def test_a_request_too_old_to_begin_ends(world):
    request = asked_and_died(world, deadline_seconds=60)
    look(world)
    failure = world.read(request).failure
    assert failure is not None
    assert failure.error == "DeadlinePassed"


# executions that ended


@pytest.mark.parametrize(
    ("status", "left"), [("ABORTED", Status.CANCELLED), ("TIMED_OUT", Status.FAILED)]
)
def test_an_end_from_outside_that_nobody_heard_of_ends_the_request(world, status, left):
    request = world.queued()
    runs(world, request, status)
    look(world)
    assert world.read(request).status is left


def test_an_execution_that_a_passing_error_stopped_goes_on_ever_more_rarely(world):
    request = world.launched()
    name = runs(world, request, "FAILED", "States.Timeout")
    look(world)
    assert world.executions.redriven.total() == 1
    for times in range(2, 8):
        world.executions.finish("onboarding", name, "FAILED", error="ServiceUnavailable")
        look(world)
        if world.executions.redriven.total() < times:
            break
    assert 3 <= world.executions.redriven.total() < 7
    look(world, after=1800)
    assert world.executions.describe("onboarding", name).status == "RUNNING"


def test_an_execution_that_may_not_be_redriven_any_more_is_told(world):
    request = world.launched()
    name = runs(world, request, "FAILED", "States.Timeout")
    world.executions.redriven["onboarding", name] = REDRIVES
    for _ in range(2):
        look(world, after=3600)
        assert "cancel it" in world.read(request).waiting_for
    assert world.executions.describe("onboarding", name).status == "FAILED"


class LateStep:
    """Step Functions whose answer comes after somebody else did something."""

    def __init__(self, world: World, meanwhile: Callable[[], Any]) -> None:
        self._world, self._meanwhile = world, meanwhile

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world.executions, name)

    def describe(self, machine: str, name: str) -> Any:
        found = self._world.executions.describe(machine, name)
        self._meanwhile()
        return found


@pytest.mark.parametrize("task", [reconcile, redrive])
def test_who_begins_again_while_it_is_looked_at_is_not_joined_by_the_execution_before(world, task):
    request = world.launched()
    runs(world, request, "FAILED", "ServiceUnavailable")
    world.clock.advance(QUIET)

    def meanwhile() -> None:
        cancel.run({"request": request}, ports=world.ports)
        world.registered(execution="by-hand-again")

    late = replace(world.ports, executions=LateStep(world, meanwhile))
    answer(task.run, {"request": request})(late)
    assert not world.executions.redriven
    assert world.read(request).execution == "by-hand-again"


def test_what_needs_an_operator_is_told_once_with_the_command(world):
    request = world.launched()
    runs(world, request, "FAILED", "ObjectMissing")
    assert look(world)["mended"] == 1
    record = world.read(request)
    assert f"atelier redrive {request}" in record.waiting_for
    assert look(world)["mended"] == 0
    assert world.read(request).updated_at == record.updated_at
    assert not world.executions.redriven


def test_what_nobody_redrives_ends_with_its_deadline(world):
    request = world.queued(deadline_seconds=600)
    runs(world, request, "FAILED", "KeyError")
    look(world)
    assert world.read(request).status is Status.QUEUED
    look(world, after=600)
    assert world.read(request).status is Status.FAILED


def test_a_final_error_that_could_not_be_recorded_is_recorded(world):
    request = world.queued()
    runs(world, request, "FAILED", "PhotosRejected")
    look(world)
    failure = world.read(request).failure
    assert failure is not None
    assert failure.error == "PhotosRejected"


def test_a_stale_timeout_of_a_state_that_was_entered_again_does_not_outlast_the_deadline(world):
    request = world.queued(deadline_seconds=600)
    runs(world, request)
    look(world, after=601)
    assert world.read(request).status is Status.FAILED
    assert set(world.executions.failed) == {"token-1"}


# jobs


@pytest.mark.parametrize("status", ["Completed", "Failed", "Stopped"])
def test_a_job_whose_end_nobody_heard_of_is_asked_for(world, status):
    request = world.launched()
    runs(world, request)
    world.jobs.finish(str(world.read(request).job), status, "because")
    assert look(world, after=QUIET - 1)["mended"] == 0
    look(world, after=1)
    assert world.read(request).job_outcome is JobOutcome(status.lower())
    assert world.read(request).attempt == 1


def test_a_job_that_speaks_is_not_asked_for(world):
    request = world.launched()
    runs(world, request)
    world.jobs.describe_refusals = [Throttled("nobody may ask")]
    world.clock.advance(QUIET)
    world.progress(request, TrainingState.TRAINING, step=1)
    look(world, after=QUIET - 1)
    assert world.jobs.describe_refusals != []


def test_a_pack_is_asked_for_once(world_of_packs):
    world = world_of_packs
    people = [world.queued(u, token=u, execution=u) for u in "abc"]
    world.dispatch()
    for request in people:
        runs(world, request)
    world.jobs.finish(str(world.read(people[0]).job), "Failed", "InternalServerError")
    world.jobs.describe_refusals = []
    before = world.clock.now()
    look(world)
    assert (world.clock.now() - before).total_seconds() == QUIET
    assert [world.read(r).job_outcome for r in people] == [JobOutcome.FAILED] * 3


def test_asking_stops_when_the_service_asks_for_fewer_calls_and_goes_on_the_next_time(world):
    people = [world.launched(u, token=u, execution=u) for u in "abc"]
    for request in people:
        runs(world, request)
        world.jobs.finish(str(world.read(request).job), "Failed")
    world.jobs.describe_refusals = [Throttled("slower"), Throttled("never reached")]
    look(world)
    assert len(world.jobs.describe_refusals) == 1
    world.jobs.describe_refusals = []
    look(world)
    assert all(world.read(request).job_outcome for request in people)


def test_jobs_are_asked_for_a_few_a_second(world):
    for user in "abcdef":
        request = world.launched(user, token=user, execution=user)
        runs(world, request)
    before = world.clock.now()
    look(world)
    assert (world.clock.now() - before).total_seconds() >= QUIET + 5 * 0.4


def test_a_job_that_the_service_does_not_know_is_lost_through_nobodys_fault(world):
    request = world.launched()
    runs(world, request)
    world.jobs.jobs.clear()
    look(world)
    assert world.read(request).job_outcome is JobOutcome.FAILED
    assert launch_training.run({"request": request, "token": "again"}, ports=world.ports) == {}
    assert (world.read(request).interruptions, world.read(request).attempt) == (1, 2)


def test_a_launch_that_nobody_listened_to_is_answered_again(world):
    request = world.launched()
    runs(world, request)
    world.executions.succeeded.clear()
    look(world)
    assert world.executions.succeeded["token-1"]["job"] == world.read(request).job


# claims and ends


def test_a_claim_of_a_batch_that_nobody_works_on_goes_back_to_its_place(world):
    request = world.queued()
    runs(world, request)
    queued_at = world.read(request).queued_at
    world.ledger.advance(request, Stamp(1, Status.CLAIMED), batch="b" + "a" * 20)
    look(world)
    record = world.read(request)
    assert (record.status, record.batch, record.queued_at) == (Status.QUEUED, None, queued_at)


def test_a_claim_whose_job_runs_is_handed_over(world):
    request = world.queued()
    runs(world, request)
    world.jobs.kill_callers = 1
    with pytest.raises(Crash):
        world.dispatch()
    (batch, _), *_ = world.ledger.open_batches()
    world.ledger.move_batch(batch.batch, to=BatchState.RELEASED)
    look(world)
    assert world.read(request).status is Status.LAUNCHING
    assert "token-1" in world.executions.succeeded


def test_who_was_let_go_with_the_same_company_gets_another_job(world):
    request = world.queued()
    batch = ids.batch_of([(request, 1)])
    world.ledger.create_batch(Batch(batch, ((request, 1),), 1, 1, world.clock.now()))
    world.ledger.move_batch(batch, to=BatchState.RELEASED)
    world.dispatch()
    assert world.read(request).status is Status.LAUNCHING
    assert world.read(request).job != ids.job_name(batch, 1)


@pytest.mark.parametrize("point", [1, 2])
def test_an_end_that_not_everybody_heard_of_is_told_again(world, point):
    request = world.queued()
    runs(world, request)
    ports, _ = dying(world.ports, after=1 + point)
    with pytest.raises(Crash):
        cancel.run({"request": request}, ports=ports)
    assert world.read(request).untold
    look(world)
    assert set(world.executions.failed) == {"token-1"}
    assert not world.read(request).untold
    assert world.outbox() == ["onboarding.cancelled"]


# the whole


def test_somebody_who_cannot_be_mended_keeps_nobody_else_waiting(world):
    world.queued("a", token="a", execution="never started")
    request = world.queued("b", token="b", execution="b")
    world.ledger.annotate(world.ledger.queued(limit=1)[0].request, attempt=1, asked=None)
    runs(world, request, "ABORTED")
    look(world)
    assert world.read(request).status is Status.CANCELLED


def test_a_healthy_platform_is_left_alone(world):
    waiting, training = world.queued("a", token="a", execution="a"), world.launched("b")
    for request in (waiting, training):
        runs(world, request)
    before = [world.read(request) for request in (waiting, training)]
    assert look(world)["mended"] <= 1
    assert [world.read(r).stamp for r in (waiting, training)] == [r.stamp for r in before]


def test_pages_cover_everybody(world):
    people = [world.registered(f"u{n}", execution=f"e{n}") for n in range(45)]
    for request in people:
        runs(world, request, "ABORTED")
    assert look(world) == {"looked_at": 45, "mended": 45}
    assert {world.read(request).status for request in people} == {Status.CANCELLED}


def aborted_people(world: World, count: int) -> list[str]:
    """Return requests of executions that ended without anybody hearing of it."""
    people = [world.registered(f"u{n}", execution=f"e{n}") for n in range(count)]
    for request in people:
        runs(world, request, "ABORTED")
    world.clock.advance(QUIET)
    return people


class Slow:
    """Step Functions on a slow day."""

    def __init__(self, world: World, seconds: float) -> None:
        self._world, self._seconds = world, seconds

    def __getattr__(self, name: str) -> Any:
        self._world.clock.advance(self._seconds)
        return getattr(self._world.executions, name)


def test_a_call_whose_time_is_used_leaves_the_others_to_the_next_one(world):
    people = aborted_people(world, 25)
    slow = Slow(world, seconds=reconcile.LOOKING_SECONDS / reconcile.PAGE)
    first = reconcile.run({}, ports=replace(world.ports, executions=slow))
    assert first == {"more": True, "looked_at": 20, "mended": 20}
    second = reconcile.run({}, ports=world.ports)
    assert second == {"more": False, "looked_at": 5, "mended": 5}
    assert {world.read(request).status for request in people} == {Status.CANCELLED}
    assert world.ledger.scan_place() is None


def test_a_page_that_ends_its_reader_holds_up_nobody_behind_it(world):
    aborted_people(world, 25)
    ports, _ = dying(world.ports, after=5)
    with pytest.raises(Crash):
        reconcile.run({}, ports=ports)
    assert reconcile.run({}, ports=world.ports)["looked_at"] == 5
    assert look(world)["looked_at"] == 20


@pytest.mark.parametrize("place", ["", "rubbish"])
def test_a_place_that_another_version_kept_is_forgotten(world, place):
    request = world.queued()
    runs(world, request, "ABORTED")
    world.ledger.keep_scan_place(place)
    assert look(world)["mended"] == 1
    assert world.ledger.scan_place() is None


@pytest.fixture
def world_of_packs() -> Iterator[World]:
    with new_world(tasks_per_job=4) as world:
        yield world


# dying anywhere

Scene = Callable[[World], str]


def never_began(world: World) -> str:
    return asked_and_died(world)


def aborted(world: World) -> str:
    request = world.launched()
    runs(world, request, "ABORTED")
    return request


def job_ended(world: World) -> str:
    request = world.launched()
    runs(world, request)
    world.jobs.finish(str(world.read(request).job), "Failed", "no memory")
    return request


def claim_was_left(world: World) -> str:
    request = world.queued()
    runs(world, request)
    world.ledger.advance(request, Stamp(1, Status.CLAIMED), batch="b" + "a" * 20)
    return request


def end_was_not_told(world: World) -> str:
    request = world.launched()
    runs(world, request)
    ports, _ = dying(world.ports, after=2)
    with pytest.raises(Crash):
        cancel.run({"request": request}, ports=ports)
    announce.run({"request": request}, ports=world.ports)
    return request


def stuck(world: World) -> str:
    request = world.launched()
    runs(world, request, "FAILED", "ObjectMissing")
    return request


def too_late(world: World) -> str:
    request = world.queued(deadline_seconds=60)
    runs(world, request)
    return request


SCENES = (never_began, aborted, job_ended, claim_was_left, end_was_not_told, stuck, too_late)


@pytest.mark.parametrize("scene", SCENES)
def test_dying_after_any_port_call_and_looking_again_leaves_what_one_look_leaves(scene):
    @contextmanager
    def world() -> Iterator[World]:
        with new_world() as fresh:
            scene(fresh)
            fresh.clock.advance(QUIET)
            yield fresh

    def run(ports):
        answer(reconcile.run, {})(ports)
        # What is quiet is looked at again; what was mended is left alone.
        ports.clock.advance(QUIET)
        return answer(reconcile.run, {})(ports)

    def left(world: World) -> Any:
        return world.seen()

    assert crash_everywhere(lambda ports: bool(run(ports)), world, left) > 0
