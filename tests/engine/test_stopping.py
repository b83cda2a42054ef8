"""StopExecution works at once, whatever the execution waits for.

https://docs.aws.amazon.com/step-functions/latest/apireference/API_StopExecution.html
"""

from __future__ import annotations

import pytest

from tests.engine.world import callback, task
from workflows.engine.engine import ExecutionDoesNotExist, InvalidArn, TaskFailure, TaskTimedOut

WAITING = {
    "in a wait": {"Wait": {"Type": "Wait", "Seconds": 60, "End": True}},
    "in a retry": {"Work": task("busy", Retry=[{"ErrorEquals": ["Busy"], "IntervalSeconds": 60}])},
    "in a callback": {"Ask": callback(TimeoutSeconds=60)},
    "in a running task": {"Work": task("endless", TimeoutSeconds=60)},
    "in branches": {
        "Fan": {
            "Type": "Parallel",
            "Branches": [
                {"StartAt": "Work", "States": {"Work": task("endless")}},
                {"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 60, "End": True}}},
            ],
            "End": True,
        }
    },
}


@pytest.mark.parametrize("where", WAITING)
def test_an_execution_stops_at_once(world, where):
    world.functions.answers("busy", TaskFailure("Busy"))
    world.functions.answers("endless", None)
    arn = world.start(WAITING[where])
    world.engine.run_for(5)
    stopped = world.engine.stop_execution(arn, error="Cancelled", cause="nobody wants it")
    record = world.engine.describe_execution(arn)
    assert (record.status, record.error, record.cause) == (
        "ABORTED",
        "Cancelled",
        "nobody wants it",
    )
    assert (stopped - record.start_date).total_seconds() == 5
    before = world.history(arn)
    assert before[-1]["type"] == "ExecutionAborted"
    world.engine.run_until_idle()
    assert world.history(arn) == before


def test_a_stopped_executions_tasks_are_cancelled_and_its_tokens_are_over(world):
    world.functions.answers("endless", None)
    arn = world.start({"Work": task("endless")})
    world.engine.stop_execution(arn)
    assert world.functions.cancelled == [world.functions.calls[0].id]
    asking = world.start({"Ask": callback()}, name="two")
    world.engine.stop_execution(asking)
    with pytest.raises(TaskTimedOut):
        world.engine.send_task_success(world.functions.calls[-1].token, {})


def test_stopping_without_words_leaves_none(world):
    arn = world.start(WAITING["in a wait"])
    world.engine.stop_execution(arn)
    assert world.history(arn)[-1]["executionAbortedEventDetails"] == {}
    assert "error" not in world.engine.describe_execution(arn).to_dict()


def test_stopping_what_has_ended_changes_nothing(world):
    arn = world.run({"Done": {"Type": "Succeed"}})
    before = world.engine.describe_execution(arn)
    assert world.engine.stop_execution(arn, error="Late") == before.stop_date
    assert world.engine.describe_execution(arn) == before


def test_what_does_not_exist_cannot_be_stopped(world):
    with pytest.raises(ExecutionDoesNotExist):
        world.engine.stop_execution("arn:aws:states:local:000000000000:execution:machine:none")
    with pytest.raises(InvalidArn):
        world.engine.stop_execution("none")


def test_a_runner_that_cannot_cancel_keeps_nothing_from_ending(world):
    def stuck(_call_id):
        raise RuntimeError("stuck")

    world.functions.answers("work", None)
    world.functions.cancel = stuck
    arn = world.start({"Work": task()})
    world.engine.stop_execution(arn)
    assert world.status(arn) == "ABORTED"
