"""Reading a history: what is kept of it, and every flaw that it may have."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from infra.doctor.histories import HistoryReader, carried_by
from tests.engine.world import World, callback, task
from workflows.engine.engine import TaskFailure, TaskSuccess

START = datetime(2026, 1, 1, tzinfo=UTC)
TASK = {"resourceType": "lambda", "resource": "invoke", "timeoutInSeconds": 60}
GOOD = (
    (1, 0, "ExecutionStarted", None),
    (2, 0, "TaskStateEntered", {"name": "Register"}),
    (3, 2, "TaskScheduled", TASK),
    (4, 3, "TaskStarted", None),
    (5, 4, "TaskFailed", {"error": "Throttled"}),
    (6, 5, "TaskScheduled", TASK),
    (7, 6, "TaskStarted", None),
    (8, 7, "TaskSubmitted", None),
    (9, 8, "TaskSucceeded", {"output": "{}"}),
    (10, 9, "TaskStateExited", None),
    (11, 10, "ExecutionSucceeded", None),
)


def read(events, *, running=False):
    reader = HistoryReader()
    for number, previous, kind, details in events:
        at = START + timedelta(seconds=number)
        reader.take(number, previous, kind, at, details)
    return reader.history(running=running)


def changed(place, **changes):
    """Return the good history with one event changed."""
    names = ("number", "previous", "kind", "details")
    event = dict(zip(names, GOOD[place], strict=True)) | changes
    return (*GOOD[:place], tuple(event.values()), *GOOD[place + 1 :])


def test_a_whole_history_has_no_flaw_and_tells_when_tasks_ended():
    history = read(GOOD)
    assert history.flaws == ()
    assert history.events == 11
    assert history.last_at == START + timedelta(seconds=11)
    assert {number: (at - START).seconds for number, at in history.closed.items()} == {3: 5, 6: 9}


def test_a_task_that_waits_is_open_with_its_state_and_timeout():
    history = read(GOOD[:8], running=True)
    assert history.flaws == ()
    [(number, task)] = history.open.items()
    assert (number, task.state, task.timeout_seconds) == (6, "Register", 60)


@pytest.mark.parametrize(
    ("events", "running", "said"),
    [
        ((), False, "no events"),
        (GOOD[:4] + GOOD[5:], False, "event 6 follows event 4"),
        (changed(4, previous=5), False, "event 5 follows from event 5"),
        (changed(4, previous=2), False, "belongs to no task"),
        (changed(8, previous=5), False, "ended twice"),
        (GOOD[:8] + changed(8, kind="TaskStateExited")[8:], False, "event 6 has no outcome"),
        (changed(5, kind="ExecutionFailed"), False, "comes after ExecutionFailed"),
        (changed(8, details={"output": "x" * 262_145}), False, "more than 262,144 bytes"),
        (GOOD[:8], False, "its record says that it has ended"),
        (GOOD, True, "its record says that it runs"),
    ],
)
def test_a_flaw_is_named(events, running, said):
    assert any(said in flaw for flaw in read(events, running=running).flaws)


def test_time_that_goes_back_is_a_flaw():
    reader = HistoryReader()
    reader.take(1, 0, "ExecutionStarted", START, None)
    reader.take(2, 0, "PassStateEntered", START - timedelta(seconds=1), {"name": "A"})
    assert any("comes before" in flaw for flaw in reader.history(running=True).flaws)


def test_a_redriven_execution_goes_on_after_its_end():
    failed = (
        *GOOD[:3],
        (4, 3, "TaskStarted", None),
        (5, 4, "ExecutionAborted", None),
        (6, 5, "ExecutionRedriven", None),
        (7, 6, "TaskScheduled", TASK),
        (8, 7, "TaskStarted", None),
        (9, 8, "TaskSucceeded", {"output": "{}"}),
        (10, 9, "TaskStateExited", None),
        (11, 10, "ExecutionSucceeded", None),
    )
    assert read(failed).flaws == ()


def test_few_flaws_of_one_history_stand_for_all():
    assert len(read([(n, 0, "X", None) for n in range(9, 100, 9)]).flaws) == 5


@pytest.mark.parametrize(
    ("input_text", "request_id"),
    [
        ('{"user_id": "ada"}', "named"),
        ('{"resume_at": "Ready", "onboarding": {"request": "forked"}}', "forked"),
        ('{"resume_at": "Ready", "onboarding": 3}', "named"),
        ('{"resume_at": ', "named"),
    ],
)
def test_an_execution_carries_what_a_forks_input_names_else_its_name(input_text, request_id):
    assert carried_by("named", input_text) == request_id


def test_what_our_engine_writes_has_no_flaws_also_when_it_is_redriven_or_stopped():
    for end in ("succeeded", "redriven", "stopped", "waiting"):
        world = World()
        world.functions.answers("work", TaskFailure("Down", "away"))
        states = {"Work": task(Next="Ask"), "Ask": callback()}
        if end != "redriven":
            world.functions.answers("work", TaskSuccess("done"))
        arn = world.run(states, {"n": 1})
        if end == "redriven":
            world.functions.answers("work", TaskSuccess("done"))
            world.engine.redrive_execution(arn)
            world.engine.run_due()
        if end in {"succeeded", "redriven"}:
            world.engine.send_task_success(world.functions.calls[-1].payload["token"], {})
            world.engine.run_due()
        if end == "stopped":
            world.engine.stop_execution(arn)
        running = world.engine.describe_execution(arn).status == "RUNNING"
        reader = HistoryReader()
        for event in world.store.events(arn, beyond=0, limit=100, reverse=False):
            reader.take(event.id, event.previous_id, event.type, event.timestamp, event.details)
        history = reader.history(running=running)
        assert (end, history.flaws) == (end, ())
        assert bool(history.open) == (end == "waiting")
