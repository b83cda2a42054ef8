"""Retry: the next attempt of what ended without a model begins once, and survives every crash."""

from __future__ import annotations

import pytest

from atelier.contracts.errors import InvalidRequest, NotFound
from atelier.contracts.request import OnboardingInput, normalise, read_input
from atelier.contracts.status import Stamp, Status
from tasks import announce, cancel, launch_training, reconcile, register, retry
from tasks.ports import Ports
from tasks.starting import start
from tests.fakes.crashing import Crash, dying
from tests.fakes.world import World


def wish(world: World, **given: object) -> OnboardingInput:
    world.upload()
    return read_input(world.asked(**given))


def ask(given: OnboardingInput, world: World) -> str:
    request = normalise(given, now=world.clock.now())
    return start(given, request, ports=world.ports)[0].request


def go_on(world: World, request: str) -> None:
    """Run the first states of the request's execution, until it waits in the queue."""
    name = world.read(request).execution
    given = world.executions.inputs["onboarding", name]
    register.run({"given": given, "execution": name}, ports=world.ports)
    token = f"token-of-{name}"
    launch_training.run({"request": request, "token": token}, ports=world.ports)


def cancelled(world: World, **given: object) -> str:
    request = ask(wish(world, **given), world)
    go_on(world, request)
    cancel.run({"request": request}, ports=world.ports)
    return request


def again(world: World, request: str, ports: Ports | None = None) -> dict[str, object]:
    return retry.run({"request": request}, ports=ports or world.ports)


def running(world: World) -> list[str]:
    return sorted(n for (_, n), e in world.executions.executions.items() if e.status == "RUNNING")


def test_what_was_cancelled_begins_its_next_attempt_with_the_same_words(world):
    request = cancelled(world)
    assert again(world, request) == {
        "request": request,
        "status": "queued",
        "attempt": 2,
        "execution": f"{request}-2",
    }
    inputs = world.executions.inputs
    assert inputs["onboarding", f"{request}-2"] == inputs["onboarding", f"{request}-1"]
    go_on(world, request)
    assert [r.request for r in world.ledger.queued(limit=9)] == [request]


def test_nothing_works_beside_the_next_attempt(world):
    request = cancelled(world)
    again(world, request)
    assert running(world) == [f"{request}-2"]
    assert f"token-of-{request}-1" in world.executions.failed


def test_each_attempt_is_told_its_own_end_once(world):
    request = cancelled(world)
    again(world, request)
    go_on(world, request)
    cancel.run({"request": request}, ports=world.ports)
    announce.run({}, ports=world.ports)
    assert world.outbox() == ["onboarding.cancelled", "onboarding.cancelled"]
    assert len({told.id for told in world.notifications.delivered}) == 2


def test_an_attempt_after_a_lost_training_takes_the_number_that_follows(world):
    request = cancelled(world)
    again(world, request)
    world.ledger.advance(request, Stamp(3, Status.QUEUED))
    world.ledger.advance(request, Stamp(3, Status.FAILED))
    assert again(world, request)["execution"] == f"{request}-4"


@pytest.mark.parametrize("status", [Status.QUEUED, Status.CLAIMED, Status.READY, Status.ERASED])
def test_what_has_not_ended_so_is_refused_with_what_to_do(world, status):
    request = ask(wish(world), world)
    if status is not Status.QUEUED:
        world.ledger.advance(request, Stamp(1, status))
    with pytest.raises(InvalidRequest, match=status.value) as refused:
        again(world, request)
    assert refused.value.do == retry.INSTEAD.get(status, retry.UNDER_WAY)
    assert world.read(request).attempt == 1


def test_nobody_retries_what_is_not_there(world):
    with pytest.raises(NotFound):
        again(world, "r" + "a" * 26)


def test_of_two_who_retry_at_once_one_begins_the_attempt(world):
    request = cancelled(world)
    seen = world.read(request)
    first, second = (retry.begin_next(seen, ports=world.ports) for _ in range(2))
    assert first[0].attempt == second[0].attempt == 2
    assert running(world) == [f"{request}-2"]


def test_who_retries_an_attempt_that_ended_meanwhile_begins_nothing(world):
    request = cancelled(world)
    seen = world.read(request)
    retry.begin_next(seen, ports=world.ports)
    cancel.run({"request": request}, ports=world.ports)
    record, began = retry.begin_next(seen, ports=world.ports)
    assert (record.attempt, record.status, began) == (2, Status.CANCELLED, False)
    assert running(world) == []


def test_who_dies_after_any_call_is_finished_by_asking_again_or_by_reconcile(world):
    for dies_after in range(1, 20):
        request = cancelled(world, seed=dies_after)
        ports, calls = dying(world.ports, after=dies_after)
        try:
            again(world, request, ports)
        except Crash:
            world.clock.advance(world.ports.settings.quiet_seconds + 1)
            reconcile.run({}, ports=world.ports)
            if world.read(request).status is Status.CANCELLED:
                again(world, request)
        record = world.read(request)
        assert (record.attempt, record.status) == (2, Status.QUEUED)
        assert running(world) == [f"{request}-2"]
        world.executions.stop("onboarding", f"{request}-2", error="Stopped", cause="seen")
        if calls.calls < dies_after:
            return
    pytest.fail("retrying makes more calls than it should")


def test_asking_again_starts_what_nobody_started_and_revives_nothing_that_ended(world):
    given = wish(world)
    request = ask(given, world)
    cancel.run({"request": request}, ports=world.ports)
    assert ask(given, world) == request
    assert world.read(request).status is Status.CANCELLED
    world.ledger.retry(request, execution=f"{request}-2")
    ask(given, world)
    assert running(world) == [f"{request}-2"]
