"""An execution outlives its process, whichever transaction was the last."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest

from tests.engine.world import World, callback, task
from workflows.engine.engine import (
    ExecutionAlreadyExists,
    MemoryHistoryStore,
    SqliteHistoryStore,
    TaskFailure,
    TaskRunnerClosed,
    TaskSuccess,
    TaskTimedOut,
)

STATES = {
    "Begin": {"Type": "Pass", "Parameters": {"id.$": "States.UUID()"}, "Next": "Work"},
    "Work": task(
        "flaky",
        Retry=[{"ErrorEquals": ["Busy"], "IntervalSeconds": 2, "JitterStrategy": "FULL"}],
        Next="Wait",
    ),
    "Wait": {"Type": "Wait", "Seconds": 30, "Next": "Ask"},
    "Ask": callback(
        "ask", TimeoutSeconds=60, Retry=[{"ErrorEquals": ["States.Timeout"]}], Next="Fan"
    ),
    "Fan": {
        "Type": "Map",
        "ItemsPath": "$.items",
        "MaxConcurrency": 2,
        "ItemProcessor": {
            "StartAt": "Each",
            "States": {
                "Each": task("echo", Next="Nap"),
                "Nap": {"Type": "Wait", "Seconds": 3, "End": True},
            },
        },
        "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Refuse"}],
        "Next": "Refuse",
    },
    "Refuse": task("refuse", Catch=[{"ErrorEquals": ["Refused"], "Next": "End"}], Next="End"),
    "End": {"Type": "Succeed"},
}


class Crash(BaseException):
    """The process is gone."""


class DyingStore:
    """A store whose process dies at its n-th transaction: just before it, or just after."""

    def __init__(self, store, *, at: int, before: bool) -> None:
        self._store = store
        self._left = at
        self._before = before
        self._dead = False

    def __getattr__(self, name: str):
        if self._dead:
            raise Crash
        return getattr(self._store, name)

    def commit(self, entries) -> None:
        self._left -= 1
        if self._left == 0:
            self._dead = True
            if not self._before:
                self._store.commit(entries)
        if self._dead:
            raise Crash
        self._store.commit(entries)


class Person:
    """Somebody who lets the first request of a callback lapse, and answers the second."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.answered = False

    def asked(self, payload: dict) -> TaskSuccess:
        if payload["token"] not in self.tokens:
            self.tokens.append(payload["token"])
        return TaskSuccess(None)

    def act(self, world: World) -> None:
        if len(self.tokens) == 2 and not self.answered:
            # Whether the answer was taken before the process died shows now, as with AWS's API.
            with suppress(TaskTimedOut):
                world.engine.send_task_success(
                    self.tokens[1], {"items": [{"n": 1}, {"n": 2}, {"n": 3}]}
                )
            self.answered = True


def give_functions(world: World, person: Person) -> None:
    """Functions whose answer depends on nothing but what they are called with."""
    world.functions.code["ask"] = person.asked
    world.functions.code["refuse"] = lambda _payload: TaskFailure("Refused", "no")
    start = world.functions.start

    def flaky_by_attempt(call, report):
        if call.function == "flaky":
            busy = call.retry_count < 2
            report(TaskFailure("Busy") if busy else TaskSuccess("done"))
        else:
            start(call, report)

    world.functions.start = flaky_by_attempt


def live(world: World, person: Person) -> None:
    """Let time pass until the execution has ended; the person acts at every full second."""
    world.engine.run_due()
    while (world.clock.now() - world.clock.start).total_seconds() < 300:
        if world.clock.now().microsecond == 0:
            person.act(world)
        world.engine.run_for(1 - world.clock.now().microsecond / 1e6)


def run_through(world: World, person: Person, store) -> tuple[int, list]:
    """Run the machine, beginning a new process whenever one dies; return how many died."""
    deaths = 0
    definition = {"StartAt": "Begin", "States": STATES}
    for _ in range(5):
        try:
            give_functions(world, person)
            world.engine.register("machine", definition)
            world.engine.recover()
            with suppress(ExecutionAlreadyExists):
                world.engine.start_execution("machine", name="one", input={"n": 1})
            live(world, person)
            break
        except Crash:
            deaths += 1
            world.store = store
            world.crash()
    arn = "arn:aws:states:local:000000000000:execution:machine:one"
    return deaths, world.history(arn)


def undisturbed() -> tuple[list, int]:
    store = MemoryHistoryStore()
    world = World(store, batch=1)
    _, history = run_through(world, Person(), store)
    arn = "arn:aws:states:local:000000000000:execution:machine:one"
    return history, len(store.journal(arn))


def test_the_scenario_meets_retries_waits_callbacks_branches_and_catchers():
    history, transactions = undisturbed()
    types = {event["type"] for event in history}
    assert types >= {"TaskFailed", "TaskTimedOut", "WaitStateExited", "MapStateSucceeded"}
    assert history[-1]["type"] == "ExecutionSucceeded"
    assert transactions > 15


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_whichever_transaction_is_the_last_the_history_becomes_the_same(before):
    expected, transactions = undisturbed()
    for at in range(1, transactions + 1):
        store = MemoryHistoryStore()
        world = World(DyingStore(store, at=at, before=before), batch=1)
        deaths, history = run_through(world, Person(), store)
        assert deaths == 1, f"at transaction {at}"
        assert history == expected, f"at transaction {at}"


def test_a_file_serves_the_next_process_as_it_served_the_last(tmp_path):
    path = tmp_path / "executions.sqlite3"
    store = SqliteHistoryStore(path)
    world = World(store)
    arn = world.start({"Ask": callback()})
    token = world.functions.calls[0].token
    store.close()
    world.store = SqliteHistoryStore(path)
    world.crash()
    assert world.engine.recover().recovered == (arn,)
    assert world.functions.calls == []
    world.engine.send_task_success(token, {"after": "the crash"})
    assert world.status(arn) == "SUCCEEDED"
    world.store.close()


def test_a_task_without_outcome_is_issued_again_under_the_same_id(world):
    world.functions.answers("work", None)
    arn = world.start({"Work": task(TimeoutSeconds=50)})
    first = world.functions.calls[0]
    before = world.types(arn)
    world.clock.advance(20)
    world.crash()
    world.functions.answers("work", None)
    world.engine.recover()
    assert world.functions.calls == [first]
    assert world.types(arn) == before
    world.engine.run_until_idle()
    assert world.times(arn, "TaskTimedOut") == [50]


def test_timers_that_came_due_meanwhile_fire_at_once(world):
    arn = world.start({"Wait": {"Type": "Wait", "Seconds": 60, "End": True}})
    world.clock.advance(500)
    world.crash()
    world.engine.recover()
    world.engine.run_due()
    assert world.times(arn, "WaitStateExited") == [500]


def test_a_running_execution_keeps_its_definition(world):
    first = {"Wait": {"Type": "Wait", "Seconds": 5, "Next": "End"}, "End": {"Type": "Succeed"}}
    arn = world.start(first)
    world.crash()
    world.engine.register(
        "machine", {"StartAt": "Fail", "States": {"Fail": {"Type": "Fail", "Error": "New"}}}
    )
    world.engine.recover()
    world.engine.run_until_idle()
    assert world.status(arn) == "SUCCEEDED"


def test_an_execution_that_cannot_go_on_fails_and_the_others_go_on(world):
    wait = {"Wait": {"Type": "Wait", "Seconds": 5, "End": True}}
    spoilt = world.start(wait, name="spoilt")
    sound = world.start(wait, name="sound")
    record = world.store._records[spoilt]
    other = record.definition.replace('"Seconds":5', '"Seconds":5,"Unknown":1')
    world.store._records[spoilt] = replace(record, definition=other)
    world.crash()
    recovery = world.engine.recover()
    world.engine.run_until_idle()
    assert recovery.recovered == (sound,)
    assert list(recovery.abandoned) == [spoilt]
    assert world.status(sound) == "SUCCEEDED"
    record = world.engine.describe_execution(spoilt)
    assert (record.status, record.error) == ("FAILED", "States.Runtime")
    assert world.types(spoilt)[-1] == "ExecutionFailed"


def test_a_journal_that_leads_elsewhere_now_is_not_continued(world):
    arn = world.start({"Wait": {"Type": "Wait", "Seconds": 5, "End": True}})
    record = world.store._records[arn]
    other = record.definition.replace('"Wait":{', '"Other":{').replace(
        '"StartAt":"Wait"', '"StartAt":"Other"'
    )
    world.store._records[arn] = replace(record, definition=other)
    world.crash()
    recovery = world.engine.recover()
    assert "led to" in recovery.abandoned[arn]
    assert world.status(arn) == "FAILED"


def test_a_transaction_that_fails_leaves_the_execution_as_the_journal_has_it(world):
    arn = world.start({"Ask": callback()})
    token = world.functions.calls[0].token
    commit = world.store.commit

    def full(_entries):
        world.store.commit = commit
        raise OSError("the disk is full")

    world.store.commit = full
    with pytest.raises(OSError, match="full"):
        world.engine.send_task_success(token, 1)
    assert world.status(arn) == "RUNNING"
    world.engine.send_task_success(token, 2)
    assert world.engine.describe_execution(arn).output == "2"


def test_an_execution_is_taken_up_when_it_is_called_before_the_recovery(world):
    arn = world.start({"Ask": callback(Next="Again"), "Again": callback()})
    token = world.functions.calls[0].token
    world.crash()
    world.engine.send_task_success(token, {})
    assert [call.state for call in world.functions.calls] == ["Again"]
    world.crash()
    world.engine.stop_execution(arn)
    assert world.status(arn) == "ABORTED"


def test_a_call_that_a_closing_runner_does_not_take_is_issued_by_the_next_process(world):
    def closing(_payload):
        raise TaskRunnerClosed

    world.functions.code["work"] = closing
    arn = world.start({"Work": task()})
    assert world.status(arn) == "RUNNING"
    world.crash()
    world.engine.recover()
    world.engine.run_due()
    assert world.status(arn) == "SUCCEEDED"
