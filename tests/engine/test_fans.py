"""Parallel and Map states.

https://docs.aws.amazon.com/step-functions/latest/dg/state-parallel.html,
https://docs.aws.amazon.com/step-functions/latest/dg/state-map-inline.html
"""

from __future__ import annotations

import json

from tests.engine.world import callback, task
from workflows.engine.engine import TaskFailure, TaskSuccess

CAUGHT = {"Type": "Pass", "End": True}


def output(world, arn):
    return json.loads(world.engine.describe_execution(arn).output)


def machine(states: dict) -> dict:
    return {"StartAt": next(iter(states)), "States": states}


def parallel(*branches: dict, **fields) -> dict:
    return {"Type": "Parallel", "Branches": [machine(b) for b in branches], "End": True, **fields}


def mapping(states: dict, **fields) -> dict:
    return {"Type": "Map", "ItemProcessor": machine(states), "End": True, **fields}


def wait(seconds: int) -> dict:
    return {"Type": "Wait", "Seconds": seconds, "End": True}


def test_the_results_of_branches_come_in_the_order_of_branches(world):
    slow = {"Wait": {**wait(9), "OutputPath": "$.a"}}
    fast = {"Pass": {"Type": "Pass", "OutputPath": "$.b", "End": True}}
    arn = world.run({"Fan": parallel(slow, fast)}, {"a": 1, "b": 2})
    assert output(world, arn) == [1, 2]
    assert world.times(arn, "ParallelStateExited") == [9]


def test_a_failing_branch_aborts_its_siblings_and_is_caught(world):
    world.functions.answers("bad", TaskFailure("Bad", "luck"))
    world.functions.answers("endless", None)
    catch = [{"ErrorEquals": ["Bad"], "Next": "Caught", "ResultPath": "$.error"}]
    fan = parallel(
        {"Endless": task("endless")}, {"Bad": task("bad")}, {"Wait": wait(5)}, Catch=catch
    )
    arn = world.run({"Fan": fan, "Caught": CAUGHT}, {"kept": 1})
    assert output(world, arn) == {"kept": 1, "error": {"Error": "Bad", "Cause": "luck"}}
    types = world.types(arn)
    assert types.count("TaskStateAborted") == 2
    assert types.count("WaitStateAborted") == 1
    assert types.index("ParallelStateFailed") < types.index("ParallelStateExited")
    assert [call.function for call in world.functions.calls] == ["endless", "bad"]
    assert world.functions.cancelled == [world.functions.calls[0].id]
    assert world.times(arn, "ParallelStateFailed") == [0]


def test_a_retried_parallel_starts_every_branch_again(world):
    world.functions.answers("bad", TaskFailure("Bad"), TaskSuccess(1))
    retry = [{"ErrorEquals": ["Bad"], "IntervalSeconds": 3}]
    arn = world.run({"Fan": parallel({"Bad": task("bad")}, {"Good": task("good")}, Retry=retry)})
    assert world.times(arn, "ParallelStateStarted") == [0, 3]
    assert world.types(arn).count("ParallelStateFailed") == 0
    assert world.status(arn) == "SUCCEEDED"


def test_a_branch_sees_outer_variables_and_keeps_its_own(world):
    set_ = {"Type": "Pass", "Assign": {"mine": "inner"}, "Next": "Look"}
    look = {"Type": "Pass", "Parameters": {"o.$": "$outer", "m.$": "$mine"}, "End": True}
    states = {
        "Begin": {"Type": "Pass", "Assign": {"outer": "seen"}, "Next": "Fan"},
        "Fan": {**parallel({"Set": set_, "Look": look}), "Next": "After"},
        "After": {"Type": "Pass", "Parameters": {"m.$": "$mine"}, "End": True},
    }
    del states["Fan"]["End"]
    arn = world.run(states)
    assert world.engine.describe_execution(arn).error == "States.Runtime"
    exited = next(e for e in world.history(arn) if e["type"] == "ParallelStateExited")
    assert json.loads(exited["stateExitedEventDetails"]["output"]) == [{"o": "seen", "m": "inner"}]


def test_a_map_runs_at_most_so_many_iterations_at_once(world):
    arn = world.run({"Each": mapping({"Wait": wait(10)}, MaxConcurrency=2)}, [1, 2, 3, 4, 5])
    assert world.times(arn, "MapIterationStarted") == [0, 0, 10, 10, 20]
    assert output(world, arn) == [1, 2, 3, 4, 5]


def test_an_item_selector_sees_the_item_its_index_and_the_input(world):
    selector = {
        "item.$": "$$.Map.Item.Value",
        "index.$": "$$.Map.Item.Index",
        "all.$": "$.factor",
    }
    each = mapping(
        {"Pass": {"Type": "Pass", "End": True}}, ItemsPath="$.items", ItemSelector=selector
    )
    arn = world.run({"Each": each}, {"items": ["a", "b"], "factor": 3})
    assert output(world, arn) == [
        {"item": "a", "index": 0, "all": 3},
        {"item": "b", "index": 1, "all": 3},
    ]


def test_the_states_of_an_iteration_see_their_item_too(world):
    inner = {"Type": "Pass", "Parameters": {"i.$": "$$.Map.Item.Index"}, "End": True}
    arn = world.run({"Each": mapping({"Look": inner})}, ["a", "b"])
    assert output(world, arn) == [{"i": 0}, {"i": 1}]


def test_a_map_over_nothing_is_an_empty_array(world):
    arn = world.run({"Each": mapping({"Pass": {"Type": "Pass", "End": True}})}, [])
    assert output(world, arn) == []
    assert world.types(arn)[1:5] == [
        "MapStateEntered",
        "MapStateStarted",
        "MapStateSucceeded",
        "MapStateExited",
    ]


def test_a_map_over_something_else_fails(world):
    arn = world.run({"Each": mapping({"Pass": {"Type": "Pass", "End": True}})}, {"no": "array"})
    assert world.engine.describe_execution(arn).error == "States.Runtime"


def test_a_failing_iteration_fails_the_map_and_aborts_the_others(world):
    ask = callback("ask", Parameters={"FunctionName": "ask", "Payload": {"t.$": "$$.Task.Token"}})
    catch = [{"ErrorEquals": ["States.ALL"], "Next": "Caught"}]
    arn = world.start({"Each": mapping({"Ask": ask}, Catch=catch), "Caught": CAUGHT}, [1, 2, 3])
    world.engine.send_task_success(world.functions.calls[0].token, "fine")
    world.engine.send_task_failure(world.functions.calls[1].token, error="Bad", cause="luck")
    world.engine.run_due()
    told = [
        (event["type"], next(v for k, v in event.items() if k.endswith("Details"))["index"])
        for event in world.history(arn)
        if event["type"].startswith("MapIteration") and "Started" not in event["type"]
    ]
    assert told == [
        ("MapIterationSucceeded", 0),
        ("MapIterationFailed", 1),
        ("MapIterationAborted", 2),
    ]
    assert output(world, arn) == {"Error": "Bad", "Cause": "luck"}


def test_a_runtime_error_inside_a_branch_ends_the_whole_execution(world):
    catch = [{"ErrorEquals": ["States.ALL"], "Next": "Caught"}]
    bad = {"Type": "Pass", "Parameters": {"m.$": "$.nope"}, "End": True}
    arn = world.run({"Fan": parallel({"Fast": bad}, Catch=catch), "Caught": CAUGHT})
    assert world.types(arn) == [
        "ExecutionStarted",
        "ParallelStateEntered",
        "ParallelStateStarted",
        "PassStateEntered",
        "ExecutionFailed",
    ]


def test_maps_nest(world):
    inner = mapping({"Wait": wait(1)})
    arn = world.run({"Outer": mapping({"Inner": inner})}, [[1, 2], [3], []])
    assert output(world, arn) == [[1, 2], [3], []]


def test_aborting_reaches_the_innermost_branch(world):
    world.functions.answers("bad", None)
    world.functions.answers("endless", None)
    deep = parallel({"Inner": mapping({"Endless": task("endless")}, ItemsPath="$.items")})
    arn = world.start({"Fan": parallel({"Deep": deep}, {"Bad": task("bad")})}, {"items": [{}, {}]})
    bad = next(call for call in world.functions.calls if call.function == "bad")
    world.functions.reports[bad.id](TaskFailure("Bad"))
    world.engine.run_until_idle()
    assert world.status(arn) == "FAILED"
    assert len(world.functions.cancelled) == 2
    assert world.types(arn).count("MapIterationAborted") == 2
