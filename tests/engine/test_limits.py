"""The limits: 256 KiB of data, 25,000 events.

https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
"""

from __future__ import annotations

import json

import pytest

from tests.engine.world import task
from workflows.engine.engine import InvalidExecutionInput, TaskFailure, TaskSuccess

LIMIT = 262_144


def sized(size_bytes: int) -> str:
    """Return a string whose JSON takes `size_bytes`."""
    return "x" * (size_bytes - 2)


def test_an_input_may_weigh_256_kib_and_not_a_byte_more(world):
    states = {"End": {"Type": "Succeed"}}
    assert world.status(world.run(states, sized(LIMIT))) == "SUCCEEDED"
    with pytest.raises(InvalidExecutionInput):
        world.start(states, sized(LIMIT + 1), name="two")
    with pytest.raises(InvalidExecutionInput):
        world.start(states, "ö" * (LIMIT // 2), name="three")


def test_a_result_that_is_too_large_fails_the_task_and_is_caught_by_its_name_only(world):
    world.functions.answers("work", TaskSuccess(sized(LIMIT)))
    caught = {"Type": "Pass", "End": True}
    by_all = task(Catch=[{"ErrorEquals": ["States.ALL"], "Next": "Caught"}])
    by_name = task(Catch=[{"ErrorEquals": ["States.DataLimitExceeded"], "Next": "Caught"}])
    arn = world.run({"Work": by_all, "Caught": caught})
    record = world.engine.describe_execution(arn)
    assert record.error == "States.DataLimitExceeded"
    assert "TaskFailed" in world.types(arn)
    arn = world.run({"Work": by_name, "Caught": caught}, name="two")
    assert json.loads(world.engine.describe_execution(arn).output)["Error"] == record.error


def test_an_output_that_grows_too_large_fails_its_state(world):
    grow = {"Type": "Pass", "Parameters": {"a.$": "$", "b.$": "$"}, "End": True}
    arn = world.run({"Grow": grow}, sized(LIMIT // 2))
    record = world.engine.describe_execution(arn)
    assert record.error == "States.DataLimitExceeded"
    assert record.cause.startswith("The state/task 'Grow' returned a result")


def test_an_input_of_a_branch_that_grows_too_large_fails_the_map(world):
    each = {
        "Type": "Map",
        "ItemSelector": {"a.$": "$", "b.$": "$"},
        "ItemProcessor": {"StartAt": "P", "States": {"P": {"Type": "Pass", "End": True}}},
        "End": True,
    }
    arn = world.run({"Each": each}, [sized(LIMIT // 2)])
    assert world.engine.describe_execution(arn).error == "States.DataLimitExceeded"


def test_a_caught_error_that_does_not_fit_beside_the_input_ends_the_execution(world):
    world.functions.answers("work", TaskSuccess(sized(LIMIT)))
    catch = [
        {"ErrorEquals": ["States.DataLimitExceeded"], "Next": "Caught", "ResultPath": "$.error"}
    ]
    states = {
        "Work": task(Catch=catch, Parameters={"FunctionName": "work"}),
        "Caught": {"Type": "Succeed"},
    }
    arn = world.run(states, {"data": sized(LIMIT - 50)})
    assert world.status(arn) == "FAILED"


def test_the_25000th_event_is_the_executions_end(world):
    loop = {"Type": "Pass", "Next": "Loop"}
    arn = world.run({"Loop": loop})
    record = world.engine.describe_execution(arn)
    assert (record.error, record.cause) == (
        "States.Runtime",
        "The execution reached the maximum number of history events (25000).",
    )
    last = world.engine.get_execution_history(arn, max_results=1, reverse=True).items[0]
    assert (last.id, last.type) == (25_000, "ExecutionFailed")


HALF = "\ud800"


def test_half_a_character_is_refused_where_it_comes_in(world):
    with pytest.raises(InvalidExecutionInput):
        world.start({"Work": task()}, {"text": HALF})
    world.functions.answers("work", TaskSuccess({"text": HALF}))
    arn = world.run({"Work": task()})
    assert world.engine.describe_execution(arn).error == "Runtime.MarshalError"


def test_half_a_character_that_is_made_inside_ends_its_own_execution_only(world, caplog):
    states = {
        "Make": {
            "Type": "Pass",
            "Parameters": {"made.$": "States.StringToJson($.text)"},
            "End": True,
        }
    }
    arn = world.run(states, {"text": '"\\ud800"'})
    assert world.status(arn) == "FAILED"
    assert world.status(world.run(states, {"text": "1"}, name="two")) == "SUCCEEDED"
    assert "could not take in" in caplog.text


def test_a_cause_is_cut_to_what_a_history_carries(world):
    world.functions.answers("work", TaskFailure("E" * 300, HALF + "c" * 40_000))
    arn = world.run({"Work": task()})
    record = world.engine.describe_execution(arn)
    assert (len(record.error), len(record.cause)) == (256, 32_768)


def test_an_input_that_is_nested_without_end_is_refused(world):
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidExecutionInput):
        world.start({"Work": task()}, deep)
