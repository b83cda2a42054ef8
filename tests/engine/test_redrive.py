"""Redrive: what did not end well goes on where it did not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.engine.world import World, callback, task
from workflows.engine.engine import (
    ExecutionDoesNotExist,
    ExecutionNotRedrivable,
    TaskFailure,
    TaskSuccess,
    TaskTimedOut,
)
from workflows.engine.history import EVENT_LIMIT

DOWN = TaskFailure("Down", "the network is away")
BUSY_TWICE = [{"ErrorEquals": ["Busy"], "IntervalSeconds": 1, "MaxAttempts": 2}]


def failed(world: World, states: dict | None = None, **top) -> str:
    """Run an execution whose second state fails."""
    world.functions.answers("work", DOWN)
    states = states or {"Begin": {"Type": "Pass", "Next": "Work"}, "Work": task()}
    return world.run(states, {"n": 1}, **top)


def linked(world: World, arn: str) -> list[tuple[str, str]]:
    """Return each event with the one that it follows."""
    events = world.history(arn)
    names = {0: "-", **{event["id"]: event["type"] for event in events}}
    return [(event["type"], names[event["previousEventId"]]) for event in events]


def test_the_state_that_failed_is_worked_on_again_and_the_history_goes_on(world):
    arn = failed(world)
    before = world.history(arn)
    world.functions.answers("work", TaskSuccess("done"))
    world.clock.advance(60)
    redriven_at = world.engine.redrive_execution(arn)
    world.engine.run_due()
    assert redriven_at == world.clock.now()
    assert world.history(arn)[: len(before)] == before
    assert linked(world, arn)[len(before) :] == [
        ("ExecutionRedriven", "ExecutionFailed"),
        ("TaskScheduled", "TaskStateEntered"),
        ("TaskStarted", "TaskScheduled"),
        ("TaskSucceeded", "TaskStarted"),
        ("TaskStateExited", "TaskSucceeded"),
        ("ExecutionSucceeded", "TaskStateExited"),
    ]
    assert world.history(arn)[len(before)]["executionRedrivenEventDetails"] == {"redriveCount": 1}
    assert world.engine.describe_execution(arn).output == '{"n":1,"done":{"result":"done"}}'


def test_an_execution_tells_whether_it_can_be_redriven_and_how_often_it_was(world):
    arn = failed(world, {"Work": task(Next="Ask"), "Ask": callback()})
    told = world.engine.describe_execution(arn).to_dict(world.clock.now())
    assert (told["redriveCount"], told["redriveStatus"]) == (0, "REDRIVABLE")
    assert "redriveStatusReason" not in told
    world.functions.answers("work", TaskSuccess({}))
    redriven_at = world.engine.redrive_execution(arn)
    told = world.engine.describe_execution(arn).to_dict(world.clock.now())
    assert (told["redriveCount"], told["redriveDate"]) == (1, redriven_at)
    assert (told["status"], told["redriveStatus"]) == ("RUNNING", "NOT_REDRIVABLE")
    assert told["redriveStatusReason"] == "Execution is RUNNING and cannot be redriven"
    assert not told.keys() & {"stopDate", "error", "cause"}


def test_a_redriven_execution_is_told_as_running_with_an_event_of_its_own(world):
    arn = failed(world)
    world.engine.redrive_execution(arn)
    world.engine.run_due()
    told = [event["detail"] for event in world.events]
    assert [(each["status"], each["redriveCount"]) for each in told] == [
        ("RUNNING", 0),
        ("FAILED", 0),
        ("RUNNING", 1),
        ("FAILED", 1),
    ]
    assert len({event["id"] for event in world.events}) == 4
    assert told[-1]["redriveStatus"] == "REDRIVABLE"


def test_retries_begin_anew(world):
    world.functions.answers("work", TaskFailure("Busy"))
    arn = world.run({"Work": task(Retry=BUSY_TWICE)})
    assert [call.retry_count for call in world.functions.calls] == [0, 1, 2]
    world.engine.redrive_execution(arn)
    world.engine.run_until_idle()
    assert [call.retry_count for call in world.functions.calls[3:]] == [0, 1, 2]
    assert world.status(arn) == "FAILED"


def test_the_token_of_the_attempt_before_is_refused_and_the_new_one_taken(world):
    arn = world.start({"Ask": callback()})
    old = world.functions.calls[-1].token
    world.engine.stop_execution(arn, error="Cancelled")
    world.engine.redrive_execution(arn)
    new = world.functions.calls[-1].token
    with pytest.raises(TaskTimedOut):
        world.engine.send_task_success(old, 1)
    assert new != old
    world.engine.send_task_success(new, 2)
    assert world.engine.describe_execution(arn).output == "2"


def test_an_execution_that_timed_out_has_its_whole_time_again(world):
    arn = world.run({"Ask": callback()}, TimeoutSeconds=100)
    assert world.status(arn) == "TIMED_OUT"
    world.clock.advance(1000)
    world.engine.redrive_execution(arn)
    world.engine.run_for(99)
    assert world.status(arn) == "RUNNING"
    world.engine.run_for(1)
    assert world.status(arn) == "TIMED_OUT"


def test_a_wait_waits_anew_and_one_for_a_past_moment_is_over(world):
    arn = world.start({"Wait": {"Type": "Wait", "Seconds": 30, "End": True}}, name="seconds")
    world.clock.advance(20)
    world.engine.stop_execution(arn)
    world.engine.redrive_execution(arn)
    world.engine.run_for(29)
    assert world.status(arn) == "RUNNING"
    world.engine.run_for(1)
    assert world.status(arn) == "SUCCEEDED"

    until = (world.clock.now() + timedelta(hours=1)).isoformat()
    arn = world.start({"Wait": {"Type": "Wait", "Timestamp": until, "End": True}}, name="moment")
    world.engine.stop_execution(arn)
    world.clock.advance(7200)
    world.engine.redrive_execution(arn)
    world.engine.run_due()
    assert world.status(arn) == "SUCCEEDED"


def test_a_fail_state_is_entered_again_and_fails_again(world):
    arn = world.run({"Fail": {"Type": "Fail", "Error": "Never"}})
    world.engine.redrive_execution(arn)
    world.engine.run_due()
    assert world.types(arn).count("FailStateEntered") == 2
    assert world.engine.describe_execution(arn).error == "Never"


def test_a_choice_that_found_no_way_is_asked_again(world):
    states = {
        "Which": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.n", "NumericEquals": 2, "Next": "End"}],
        },
        "End": {"Type": "Succeed"},
    }
    arn = world.run(states, {"n": 1})
    world.engine.redrive_execution(arn)
    world.engine.run_due()
    assert world.types(arn).count("ChoiceStateEntered") == 1
    assert world.types(arn).count("ExecutionFailed") == 2


def test_the_context_object_counts_redrives_and_uuids_are_fresh(world):
    states = {
        "Work": task(
            Parameters={
                "FunctionName": "work",
                "Payload": {
                    "redrives.$": "$$.Execution.RedriveCount",
                    "uuid.$": "States.UUID()",
                },
            }
        )
    }
    arn = failed(world, states)
    world.engine.redrive_execution(arn)
    world.engine.run_due()
    first, second = (call.payload for call in world.functions.calls)
    assert (first["redrives"], second["redrives"]) == (0, 1)
    assert first["uuid"] != second["uuid"]


def test_only_the_branches_that_did_not_succeed_go_on(world):
    world.functions.answers("bad", DOWN)
    states = {
        "Fan": {
            "Type": "Parallel",
            "Branches": [
                {"StartAt": "Good", "States": {"Good": task("good")}},
                {"StartAt": "Bad", "States": {"Bad": task("bad")}},
                {"StartAt": "Ask", "States": {"Ask": callback("ask")}},
            ],
            "End": True,
        }
    }
    arn = world.run(states)
    assert world.status(arn) == "FAILED"
    world.functions.calls.clear()
    world.functions.answers("bad", TaskSuccess("better"))
    world.engine.redrive_execution(arn)
    world.engine.run_due()
    assert [call.function for call in world.functions.calls] == ["bad", "ask"]
    world.engine.send_task_success(world.functions.calls[-1].token, "answer")
    record = world.engine.describe_execution(arn)
    assert record.output == '[{"done":{"result":{}}},{"done":{"result":"better"}},"answer"]'
    assert world.types(arn).count("ParallelStateStarted") == 1


def test_only_the_iterations_that_did_not_succeed_go_on_as_many_at_once_as_before(world):
    def odd_fail(payload):
        if down and payload["i"] == 2:
            return TaskFailure("Down")
        return TaskSuccess(payload["i"])

    down = [True]
    world.functions.code["each"] = odd_fail
    states = {
        "Map": {
            "Type": "Map",
            "MaxConcurrency": 2,
            "ItemProcessor": {"StartAt": "Each", "States": {"Each": task("each")}},
            "ResultSelector": {"all.$": "$[*].done.result"},
            "End": True,
        }
    }
    arn = world.run(states, [{"i": i} for i in range(6)])
    assert world.status(arn) == "FAILED"
    done = {call.payload["i"] for call in world.functions.calls} - {2, 3}
    world.functions.calls.clear()
    down.clear()
    world.engine.redrive_execution(arn)
    world.engine.run_due()
    again = [call.payload["i"] for call in world.functions.calls]
    assert sorted(again) == sorted(set(range(6)) - done)
    assert world.engine.describe_execution(arn).output == '{"all":[0,1,2,3,4,5]}'
    assert world.types(arn).count("MapStateStarted") == 1


def test_a_fan_inside_a_fan_goes_on_where_it_failed(world):
    inner = {
        "Inner": {
            "Type": "Map",
            "ItemsPath": "$.items",
            "ItemProcessor": {"StartAt": "Each", "States": {"Each": task("each")}},
            "ResultSelector": {"all.$": "$[*].done.result"},
            "End": True,
        }
    }
    states = {
        "Outer": {
            "Type": "Parallel",
            "Branches": [
                {"StartAt": "Side", "States": {"Side": task("side")}},
                {"StartAt": "Inner", "States": inner},
            ],
            "End": True,
        }
    }
    world.functions.code["each"] = lambda given: (
        TaskFailure("Down") if given["i"] == 1 else TaskSuccess(given["i"])
    )
    arn = world.run(states, {"items": [{"i": 0}, {"i": 1}, {"i": 2}]})
    assert world.status(arn) == "FAILED"
    world.functions.calls.clear()
    world.functions.code["each"] = lambda given: TaskSuccess(given["i"])
    world.engine.redrive_execution(arn)
    world.engine.run_due()
    record = world.engine.describe_execution(arn)
    assert record.status == "SUCCEEDED"
    assert record.output.endswith('{"all":[0,1,2]}]')
    assert "side" not in [call.function for call in world.functions.calls]


def test_a_fan_whose_data_was_too_large_runs_all_its_branches_again(world):
    world.functions.answers("large", TaskSuccess("x" * 200_000))
    branches = [{"StartAt": name, "States": {name: task("large")}} for name in ("Left", "Right")]
    arn = world.run({"Fan": {"Type": "Parallel", "Branches": branches, "End": True}})
    assert world.engine.describe_execution(arn).error == "States.DataLimitExceeded"
    world.functions.answers("large", TaskSuccess("small"))
    world.functions.calls.clear()
    world.engine.redrive_execution(arn)
    world.engine.run_due()
    assert len(world.functions.calls) == 2
    assert world.status(arn) == "SUCCEEDED"


def test_a_fan_is_retried_as_a_whole_after_a_redrive(world):
    world.functions.answers("bad", TaskFailure("Busy"))
    branches = [
        {"StartAt": "Good", "States": {"Good": task("good")}},
        {"StartAt": "Bad", "States": {"Bad": task("bad")}},
    ]
    fan = {"Type": "Parallel", "Branches": branches, "Retry": BUSY_TWICE, "End": True}
    arn = world.run({"Fan": fan})
    world.functions.calls.clear()
    world.engine.redrive_execution(arn)
    world.engine.run_until_idle()
    assert [call.function for call in world.functions.calls] == ["bad", *["good", "bad"] * 2]
    assert world.status(arn) == "FAILED"


@pytest.mark.parametrize("states", [{"End": {"Type": "Succeed"}}, {"Ask": callback()}], ids=len)
def test_what_runs_or_has_succeeded_is_not_redriven(world, states):
    arn = world.start(states)
    before = world.history(arn)
    with pytest.raises(ExecutionNotRedrivable, match="cannot be redriven"):
        world.engine.redrive_execution(arn)
    assert world.history(arn) == before


def test_what_nobody_started_is_not_redriven(world):
    with pytest.raises(ExecutionDoesNotExist):
        world.engine.redrive_execution("arn:aws:states:local:000000000000:execution:machine:nobody")


def test_an_execution_can_be_redriven_for_fourteen_days(world):
    arn = failed(world)
    world.clock.advance(timedelta(days=14).total_seconds())
    world.engine.redrive_execution(arn)
    world.engine.run_due()
    world.clock.advance(timedelta(days=14, seconds=1).total_seconds())
    with pytest.raises(ExecutionNotRedrivable, match="redrivable period exceeded"):
        world.engine.redrive_execution(arn)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"redrive_count": 1000}, "redriven 1000 times"),
        ({"event_count": EVENT_LIMIT - 1}, "history event limit"),
    ],
)
def test_the_limits_of_redrives_are_told(world, change, reason):
    record = replace(world.engine.describe_execution(failed(world)), **change)
    assert reason in record.why_not_redrivable(world.clock.now())
    (name, most), *_ = change.items()
    assert replace(record, **{name: most - 1}).why_not_redrivable(world.clock.now()) is None


def test_an_execution_that_opened_a_year_ago_is_not_redriven(world):
    arn = world.start({"Ask": callback()})
    world.clock.advance(timedelta(days=366).total_seconds())
    world.engine.stop_execution(arn)
    with pytest.raises(ExecutionNotRedrivable, match="max execution time"):
        world.engine.redrive_execution(arn)


def test_a_redrive_outlives_the_process_on_either_side_of_it(store):
    world = World(store)
    arn = failed(world)
    world.crash()
    world.functions.answers("work", None)
    world.engine.redrive_execution(arn)
    history = world.history(arn)
    world.crash()
    world.functions.answers("work", TaskSuccess("done"))
    assert world.engine.recover().recovered == (arn,)
    assert world.history(arn) == history
    world.engine.run_due()
    assert world.status(arn) == "SUCCEEDED"
    assert world.engine.describe_execution(arn).redrive_count == 1


def test_an_execution_whose_journal_leads_elsewhere_now_is_not_redriven(world):
    arn = failed(world)
    record = world.store._records[arn]
    other = record.definition.replace("Begin", "Other")
    world.store._records[arn] = replace(record, definition=other)
    with pytest.raises(ExecutionNotRedrivable, match="cannot go on"):
        world.engine.redrive_execution(arn)
    assert world.status(arn) == "FAILED"
