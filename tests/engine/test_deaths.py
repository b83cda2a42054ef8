"""kill -9 anywhere: at any call of the store, twice in a row, in the middle of the recovery."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

import pytest

from atelier.contracts.clock import ManualClock
from tests.engine.test_crashes import STATES, Crash, Person, give_functions, live
from tests.engine.world import World, callback, task
from workflows.engine.engine import (
    ExecutionAlreadyExists,
    MemoryHistoryStore,
    TaskSuccess,
    TaskTimedOut,
)

NAMES = ("one", "two")
ARN = "arn:aws:states:local:000000000000:execution:machine:"


class Mortal:
    """A store whose process dies at its n-th call, just before it or just after."""

    def __init__(self, store, *, at: int = 0, before: bool = True) -> None:
        self._store, self._left, self._before = store, at, before
        self.dead = False

    def __getattr__(self, name: str):
        method = getattr(self._store, name)
        if name == "token_key":
            return method

        def call(*given, **named):
            if self.dead:
                raise Crash
            self._left -= 1
            self.dead = self._left == 0
            if self.dead and self._before:
                raise Crash
            found = method(*given, **named)
            if self.dead:
                raise Crash
            return found

        return call


def live_through(deaths: Sequence[tuple[int, bool]]) -> tuple[dict, Counter, int]:
    """Run two executions through lives that end at these calls; the last life does not end.

    Returns each execution's history, how often each task was issued, and how many lives ended.
    """
    store = MemoryHistoryStore()
    people = [Person(), Person()]
    issued: Counter = Counter()
    died = 0
    world = World(store, batch=1)
    for at, before in [*deaths, (0, True)]:
        world.store = Mortal(store, at=at, before=before)
        world.crash()
        asked = world.functions
        try:
            serve_a_life(world, people)
        except Crash:
            died += 1
        once = Counter(call.id for call in asked.calls)
        assert set(once.values()) <= {1}, "issued twice in one life"
        issued += once
        if not world.store.dead:
            break
    world.store = store
    world.crash()
    return {name: world.history(ARN + name) for name in NAMES}, issued, died


def serve_a_life(world: World, people: list[Person]) -> None:
    by_execution = dict(zip(NAMES, people, strict=True))
    give_functions(world, people[0])
    start = world.functions.start

    def asked_of_its_own_person(call, report):
        if call.function == "ask":
            world.functions.code["ask"] = by_execution[call.execution_arn[len(ARN) :]].asked
        start(call, report)

    world.functions.start = asked_of_its_own_person
    world.engine.register("machine", {"StartAt": "Begin", "States": STATES})
    world.engine.recover()
    for name in NAMES:
        with suppress(ExecutionAlreadyExists):
            world.engine.start_execution("machine", name=name, input={"n": 1})

    class Everybody:
        @staticmethod
        def act(world: World) -> None:
            for person in people:
                person.act(world)

    live(world, Everybody())


@pytest.fixture(scope="module")
def undisturbed():
    histories, issued, died = live_through([])
    assert died == 0
    assert set(issued.values()) == {1}
    return histories


def check(undisturbed, deaths: Sequence[tuple[int, bool]]) -> int:
    histories, issued, died = live_through(deaths)
    assert histories == undisturbed, deaths
    assert max(issued.values()) <= 1 + died, deaths
    return died


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_process_may_die_at_any_call_of_the_store(undisturbed, before):
    at = 1
    while check(undisturbed, [(at, before)]):
        at += 1
    assert at > 40


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("again", [1, 2, 3, 4, 6], ids="call {} of the next life".format)
def test_it_may_die_again_in_the_middle_of_its_recovery(undisturbed, again, before):
    for at in range(3, 36, 3):
        assert check(undisturbed, [(at, before), (again, before), (again, not before)]) == 3


def test_recovering_twice_is_recovering_once(world):
    arns = [world.start({"Ask": callback()}, name=name) for name in NAMES]
    world.crash()
    world.functions.code["ask"] = lambda _payload: None
    assert world.engine.recover().recovered == tuple(arns)
    calls = list(world.functions.calls)
    assert world.engine.recover().recovered == ()
    assert world.functions.calls == calls


def test_an_answer_that_came_while_nobody_listened_counts_before_and_after_the_recovery(world):
    arns = [world.start({"Ask": callback()}, name=name) for name in NAMES]
    tokens = [call.token for call in world.functions.calls]
    world.crash()
    world.engine.send_task_success(tokens[0], "early")
    world.engine.recover()
    world.engine.send_task_success(tokens[1], "late")
    outputs = [world.engine.describe_execution(arn).output for arn in arns]
    assert outputs == ['"early"', '"late"']


def test_the_token_of_an_attempt_before_the_crash_is_refused_once_it_was_retried(world):
    retried = [{"ErrorEquals": ["States.Timeout"], "IntervalSeconds": 1}]
    arn = world.start({"Ask": callback(TimeoutSeconds=10, Retry=retried)})
    first = world.functions.calls[0].token
    world.crash()
    world.clock.advance(60)
    world.engine.recover()
    world.engine.run_for(1)
    second = world.functions.calls[-1].token
    with pytest.raises(TaskTimedOut):
        world.engine.send_task_success(first, 1)
    world.engine.send_task_success(second, 2)
    assert world.engine.describe_execution(arn).output == "2"


def wait(seconds: int) -> dict:
    return {"Wait": {"Type": "Wait", "Seconds": seconds, "End": True}}


def ended_in_order(world: World) -> list[str]:
    done = [event["detail"] for event in world.events if event["detail"]["status"] != "RUNNING"]
    return [detail["name"] for detail in done]


@pytest.mark.parametrize("away_seconds", [30, 86_400 * 3])
def test_what_fell_due_while_the_process_was_away_fires_once_in_the_order_of_time(
    world, away_seconds
):
    for name, seconds in (("third", 30), ("first", 10), ("second", 20)):
        world.start(wait(seconds), name=name)
    world.crash()
    world.clock.advance(away_seconds)
    world.engine.recover()
    world.engine.recover()
    world.engine.run_due()
    assert ended_in_order(world) == ["first", "second", "third"]
    assert all(
        world.types(record.arn).count("WaitStateExited") == 1
        for record in world.engine.list_executions().items
    )


def test_a_clock_that_jumps_by_days_fires_each_timer_once_in_the_order_of_time(world):
    for name, seconds in (("third", 86_400), ("first", 10), ("second", 3600)):
        world.start(wait(seconds), name=name)
    world.clock.advance(timedelta(days=9).total_seconds())
    world.engine.run_due()
    assert ended_in_order(world) == ["first", "second", "third"]
    assert world.engine._next_due() is None


def test_a_jump_over_a_tasks_timeout_and_the_executions_takes_the_earlier_first(world):
    world.functions.code["ask"] = lambda _payload: TaskSuccess(None)
    arn = world.start({"Ask": callback(TimeoutSeconds=10)}, TimeoutSeconds=100)
    world.clock.advance(86_400)
    world.engine.run_due()
    assert world.types(arn)[-2:] == ["TaskTimedOut", "ExecutionFailed"]


class StandingClock(ManualClock):
    """A clock that stands, whatever sleeps."""

    def advance(self, seconds: float) -> None:
        """Stand."""


def test_a_clock_that_stands_still_lets_everything_go_on_that_waits_for_no_time():
    world = World(clock=StandingClock())
    states = {
        "Work": task(Next="Nap"),
        "Nap": {"Type": "Wait", "Seconds": 0, "Next": "Ask"},
        "Ask": callback(),
    }
    arn = world.start(states)
    world.engine.send_task_success(world.functions.calls[-1].token, 1)
    assert world.status(arn) == "SUCCEEDED"
    waiting = world.start(wait(5), name="waiting")
    for _ in range(3):
        world.engine.run_due()
    assert world.status(waiting) == "RUNNING"
