"""Storage that fails: nothing is lost, nothing happens twice, and memory never runs ahead."""

from __future__ import annotations

import logging
import threading

import pytest

from atelier.contracts.clock import SystemClock
from tests.engine.faulty_store import Fault, FaultyStore
from tests.engine.world import World, callback, task
from workflows.engine.engine import (
    ExecutionDoesNotExist,
    ExecutionNotRedrivable,
    StorageBroken,
    StorageError,
    TaskFailure,
    TaskSuccess,
    TaskTimedOut,
)

FAULTS = [Fault.BEFORE, Fault.AFTER]
ONE = "arn:aws:states:local:000000000000:execution:machine:one"


@pytest.fixture
def faulty() -> World:
    return World(FaultyStore())


def fails(call, *given, **named) -> None:
    with pytest.raises(StorageError):
        call(*given, **named)


def test_an_outcome_that_could_not_be_stored_is_stored_later(faulty):
    faulty.functions.answers("work", None, TaskSuccess({}))
    arn = faulty.start({"Work": task(Next="More"), "More": task()})
    [call] = faulty.functions.calls
    faulty.functions.reports[call.id](TaskSuccess("done"))
    faulty.store.commits = Fault.BEFORE
    for _ in range(5):
        fails(faulty.engine.run_due)
        assert faulty.types(arn)[-1] == "TaskStarted"
    faulty.store.heal()
    faulty.engine.run_due()
    assert faulty.types(arn).count("TaskSucceeded") == 2
    assert [each.state for each in faulty.functions.calls] == ["Work", "More"]


def test_an_outcome_whose_storing_was_not_confirmed_is_stored_once(faulty):
    faulty.functions.answers("work", None, TaskSuccess({}))
    arn = faulty.start({"Work": task(Next="More"), "More": task()})
    [call] = faulty.functions.calls
    faulty.functions.reports[call.id](TaskSuccess("done"))
    faulty.store.commits = Fault.AFTER
    fails(faulty.engine.run_due)
    faulty.store.heal()
    faulty.engine.run_due()
    assert faulty.types(arn).count("TaskSucceeded") == 2
    assert [each.state for each in faulty.functions.calls] == ["Work", "More"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_timer_that_could_not_be_stored_fires_later_once(faulty, fault):
    arn = faulty.start(
        {
            "Wait": {"Type": "Wait", "Seconds": 5, "Next": "Again"},
            "Again": {"Type": "Wait", "Seconds": 5, "End": True},
        }
    )
    faulty.clock.advance(5)
    faulty.store.commits = fault
    fails(faulty.engine.run_due)
    faulty.store.heal()
    faulty.engine.run_until_idle()
    assert faulty.times(arn, "WaitStateExited") == [5, 10]
    assert faulty.status(arn) == "SUCCEEDED"


def test_a_long_spell_does_not_pile_up_timers(faulty):
    states = {"Wait": {"Type": "Wait", "Seconds": 5, "End": True}}
    arns = [faulty.start(states, name=f"n{number}") for number in range(10)]
    faulty.clock.advance(5)
    faulty.store.commits = Fault.BEFORE
    for _ in range(20):
        fails(faulty.engine.run_due)
    faulty.store.heal()
    committed = []
    commit = faulty.store.sound.commit
    faulty.store.sound.commit = lambda entries: (committed.extend(entries), commit(entries))
    faulty.engine.run_due()
    assert len(committed) == len(arns)
    assert {faulty.status(arn) for arn in arns} == {"SUCCEEDED"}


def test_tasks_that_run_in_this_process_are_not_issued_again(faulty):
    faulty.functions.answers("slow", None)
    faulty.functions.answers("quick", None)
    branches = [{"StartAt": name, "States": {name: task(name)}} for name in ("slow", "quick")]
    arn = faulty.start({"Fan": {"Type": "Parallel", "Branches": branches, "End": True}})
    slow, quick = faulty.functions.calls
    faulty.functions.reports[quick.id](TaskSuccess(1))
    faulty.store.commits = Fault.BEFORE
    fails(faulty.engine.run_due)
    faulty.store.heal()
    faulty.engine.run_due()
    faulty.functions.reports[slow.id](TaskSuccess(2))
    faulty.engine.run_due()
    assert faulty.functions.calls == [slow, quick]
    assert faulty.status(arn) == "SUCCEEDED"


def test_a_start_that_could_not_be_stored_has_not_happened_and_may_be_repeated(faulty):
    faulty.engine.register("machine", {"StartAt": "Ask", "States": {"Ask": callback()}})
    faulty.store.commits = Fault.BEFORE
    fails(faulty.engine.start_execution, "machine", name="one", input={})
    with pytest.raises(ExecutionDoesNotExist):
        faulty.engine.describe_execution(ONE)
    assert (faulty.functions.calls, faulty.events) == ([], [])
    faulty.store.heal()
    faulty.engine.run_due()
    faulty.engine.start_execution("machine", name="one", input={})
    faulty.engine.run_due()
    assert len(faulty.functions.calls) == 1


def test_a_start_whose_confirmation_was_lost_goes_on_by_itself(faulty):
    faulty.engine.register("machine", {"StartAt": "Work", "States": {"Work": task()}})
    faulty.store.commits = Fault.AFTER
    fails(faulty.engine.start_execution, "machine", name="one", input={})
    faulty.store.heal()
    assert faulty.engine.start_execution("machine", name="one", input={}).arn == ONE
    faulty.engine.run_due()
    assert faulty.status(ONE) == "SUCCEEDED"
    assert len(faulty.functions.calls) == 1


@pytest.mark.parametrize("fault", FAULTS)
def test_an_answer_that_could_not_be_stored_may_be_repeated(faulty, fault):
    arn = faulty.start({"Ask": callback()})
    token = faulty.functions.calls[0].token
    faulty.store.commits = fault
    fails(faulty.engine.send_task_success, token, 1)
    faulty.store.heal()
    if fault is Fault.BEFORE:
        assert faulty.status(arn) == "RUNNING"
        faulty.engine.send_task_success(token, 1)
    else:
        with pytest.raises(TaskTimedOut):
            faulty.engine.send_task_success(token, 1)
    assert faulty.engine.describe_execution(arn).output == "1"
    assert faulty.types(arn).count("TaskSucceeded") == 1


@pytest.mark.parametrize("fault", FAULTS)
def test_a_stop_that_could_not_be_stored_may_be_repeated(faulty, fault):
    arn = faulty.start({"Ask": callback()})
    faulty.store.commits = fault
    fails(faulty.engine.stop_execution, arn, error="Cancelled")
    faulty.store.heal()
    faulty.engine.stop_execution(arn, error="Cancelled")
    assert faulty.types(arn).count("ExecutionAborted") == 1


@pytest.mark.parametrize("fault", FAULTS)
def test_a_redrive_that_could_not_be_stored_may_be_repeated(faulty, fault):
    faulty.functions.answers("work", TaskFailure("Down"))
    arn = faulty.run({"Work": task()})
    faulty.functions.answers("work", TaskSuccess({}))
    faulty.store.commits = fault
    fails(faulty.engine.redrive_execution, arn)
    faulty.store.heal()
    if fault is Fault.BEFORE:
        assert faulty.status(arn) == "FAILED"
        faulty.engine.redrive_execution(arn)
    else:
        with pytest.raises(ExecutionNotRedrivable):
            faulty.engine.redrive_execution(arn)
    faulty.engine.run_due()
    assert faulty.status(arn) == "SUCCEEDED"
    assert faulty.types(arn).count("ExecutionRedriven") == 1


def test_an_end_whose_storing_was_not_confirmed_is_told_all_the_same(faulty):
    arn = faulty.start({"Ask": callback()})
    faulty.store.commits = Fault.AFTER
    fails(faulty.engine.send_task_success, faulty.functions.calls[0].token, 1)
    faulty.store.heal()
    faulty.engine.run_due()
    assert [event["detail"]["status"] for event in faulty.events] == ["RUNNING", "SUCCEEDED"]
    assert faulty.status(arn) == "SUCCEEDED"


def test_a_store_that_cannot_be_read_either_changes_nothing(faulty):
    arn = faulty.start({"Ask": callback(TimeoutSeconds=60)})
    token = faulty.functions.calls[0].token
    faulty.store.commits, faulty.store.reads_fail = Fault.BEFORE, True
    fails(faulty.engine.send_task_success, token, 1)
    fails(faulty.engine.send_task_success, token, 1)
    fails(faulty.engine.start_execution, "machine", name="two", input={})
    fails(faulty.engine.stop_execution, arn)
    fails(faulty.engine.describe_execution, arn)
    fails(faulty.engine.recover)
    fails(faulty.engine.run_due)
    faulty.store.heal()
    faulty.engine.send_task_success(token, 2)
    assert faulty.engine.describe_execution(arn).output == "2"


def test_a_timer_of_an_execution_that_was_forgotten_still_fires(faulty):
    arn = faulty.start({"Ask": callback(TimeoutSeconds=60)})
    faulty.store.commits = Fault.BEFORE
    fails(faulty.engine.send_task_success, faulty.functions.calls[0].token, 1)
    faulty.store.heal()
    faulty.engine.run_until_idle()
    assert faulty.times(arn, "TaskTimedOut") == [60]


def test_an_execution_that_broke_is_ended_once_that_can_be_stored(faulty):
    arn = faulty.start({"Ask": callback()})
    faulty.engine._host._live[arn].execution.advance = None
    faulty.store.commits = Fault.BEFORE
    faulty.engine._host.deliver(arn, object())
    fails(faulty.engine.run_due)
    assert faulty.status(arn) == "RUNNING"
    faulty.store.heal()
    faulty.engine.run_due()
    record = faulty.engine.describe_execution(arn)
    assert (record.status, record.error) == ("FAILED", "States.Runtime")


class Spell:
    """Lets a store fail for some commits, then heal; says when it has."""

    def __init__(self, store: FaultyStore, commits: int) -> None:
        self.over = threading.Event()
        self._store, self._left = store, commits
        self._commit = store.commit
        store.commit = self.commit

    def commit(self, entries) -> None:
        self._left -= 1
        self._store.commits = Fault.BEFORE if self._left >= 0 else Fault.NONE
        self._commit(entries)
        self.over.set()


def test_serving_outlasts_a_spell_and_says_so_once(caplog):
    caplog.set_level(logging.INFO, logger="workflows.engine")
    world = World(FaultyStore(), clock=SystemClock())
    world.functions.answers("work", None)
    arn = world.start({"Work": task()})
    [call] = world.functions.calls
    spell, stop = Spell(world.store, 3), threading.Event()
    world.functions.reports[call.id](TaskSuccess("done"))
    serving = threading.Thread(target=world.engine.serve, args=(stop,))
    serving.start()
    assert spell.over.wait(30)
    stop.set()
    serving.join(30)
    assert world.status(arn) == "SUCCEEDED"
    told = [record.getMessage() for record in caplog.records]
    assert len([text for text in told if "the disk is full" in text]) == 1
    assert len([text for text in told if "go on" in text]) == 1


def test_serving_ends_when_the_file_is_damaged(faulty):
    faulty.functions.answers("work", None)
    faulty.start({"Work": task()})

    def damaged(_entries):
        raise StorageBroken("executions.sqlite3 is damaged")

    faulty.store.commit = damaged
    [report] = faulty.functions.reports.values()
    report(TaskSuccess("done"))
    with pytest.raises(StorageBroken, match="damaged"):
        faulty.engine.serve(threading.Event())
