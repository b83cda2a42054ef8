"""How data and control flow from state to state.

https://docs.aws.amazon.com/step-functions/latest/dg/concepts-input-output-filtering.html
"""

from __future__ import annotations

import json

import pytest

from tests.engine.world import task
from workflows.engine.engine import TaskSuccess

END = {"Type": "Succeed"}


def output(world, arn):
    return json.loads(world.engine.describe_execution(arn).output)


def test_input_path_parameters_result_path_and_output_path_apply_in_this_order(world):
    state = {
        "Type": "Pass",
        "InputPath": "$.inner",
        "Parameters": {"seen.$": "$.value", "constant": 1},
        "ResultPath": "$.result",
        "OutputPath": "$.result",
        "End": True,
    }
    arn = world.run({"Pass": state}, {"inner": {"value": 7}, "outer": True})
    assert output(world, arn) == {"seen": 7, "constant": 1}


def test_a_result_path_of_null_keeps_the_input_and_one_of_null_input_is_empty(world):
    states = {
        "Forget": {"Type": "Pass", "Result": "gone", "ResultPath": None, "Next": "Empty"},
        "Empty": {"Type": "Pass", "InputPath": None, "ResultPath": "$.empty", "End": True},
    }
    assert output(world, world.run(states, {"kept": 1})) == {"kept": 1, "empty": {}}


def test_a_result_path_makes_the_objects_on_its_way(world):
    state = {"Type": "Pass", "Result": 1, "ResultPath": "$.a.b.c", "End": True}
    assert output(world, world.run({"Pass": state}, {"a": {"x": 0}})) == {
        "a": {"x": 0, "b": {"c": 1}}
    }


def test_a_path_that_selects_nothing_fails_the_execution_and_nothing_catches_it(world):
    catch = [{"ErrorEquals": ["States.ALL"], "Next": "End"}]
    parameters = {"FunctionName": "work", "Payload.$": "$.missing"}
    arn = world.run({"Work": task(Parameters=parameters, Catch=catch), "End": END}, {"a": 1})
    record = world.engine.describe_execution(arn)
    assert record.error == "States.Runtime"
    assert record.cause == (
        "An error occurred while executing the state 'Work' (entered at the event id #2). The "
        "JSONPath '$.missing' specified for the field 'Payload.$' could not be found in the "
        "input '{\"a\":1}'"
    )


def test_a_choice_takes_the_first_rule_that_holds_or_the_default(world):
    choice = {
        "Type": "Choice",
        "Choices": [
            {"Variable": "$.n", "NumericGreaterThan": 10, "Next": "Big"},
            {"Variable": "$.n", "NumericGreaterThan": 5, "Next": "Middle"},
        ],
        "Default": "Small",
    }
    pass_ = {"Type": "Pass", "End": True}
    states = {"Choose": choice, "Big": pass_, "Middle": pass_, "Small": pass_}
    taken = []
    for number in (11, 6, 5):
        arn = world.run(states, {"n": number}, name=f"n{number}")
        taken.append(world.history(arn)[3]["stateEnteredEventDetails"]["name"])
    assert taken == ["Big", "Middle", "Small"]


def test_a_choice_without_a_way_fails_the_execution(world):
    rule = {"Variable": "$.n", "NumericEquals": 1, "Next": "End"}
    arn = world.run({"Choose": {"Type": "Choice", "Choices": [rule]}, "End": END}, {"n": 2})
    record = world.engine.describe_execution(arn)
    assert record.error == "States.Runtime"
    assert "The state does not point to a next state" in record.cause


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({"Seconds": 5}, 5),
        ({"SecondsPath": "$.seconds"}, 8),
        ({"Timestamp": "2026-01-01T00:01:00Z"}, 60),
        ({"TimestampPath": "$.time"}, 90),
        ({"Timestamp": "2025-01-01T00:00:00Z"}, 0),
    ],
)
def test_a_wait_lasts_as_long_as_it_says_and_no_time_when_that_is_past(world, fields, seconds):
    given = {"seconds": 8, "time": "2026-01-01T01:01:30+01:00"}
    arn = world.run({"Wait": {"Type": "Wait", "End": True, **fields}}, given)
    assert world.times(arn, "WaitStateExited") == [seconds]


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        (
            {"SecondsPath": "$.none"},
            "The SecondsPath parameter does not reference an input value: $.none",
        ),
        (
            {"SecondsPath": "$.word"},
            "The SecondsPath parameter cannot be parsed as a long value: $.word == soon",
        ),
        (
            {"SecondsPath": "$.below"},
            "The SecondsPath parameter references a negative value: $.below == -1",
        ),
        (
            {"SecondsPath": "$.huge"},
            f"The SecondsPath parameter cannot be parsed as a long value: $.huge == {10**30}",
        ),
        (
            {"TimestampPath": "$.word"},
            (
                "The TimestampPath parameter does not reference a valid ISO-8601 extended offset "
                "date-time format string: $.word == soon"
            ),
        ),
    ],
)
def test_a_wait_for_something_that_is_no_time_fails_in_words_of_its_own(world, fields, cause):
    given = {"word": "soon", "below": -1, "huge": 10**30}
    arn = world.run({"Wait": {"Type": "Wait", "End": True, **fields}}, given)
    record = world.engine.describe_execution(arn)
    assert (record.error, record.cause) == ("States.Runtime", cause)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("$.none", "No results for path: $['none']"),
        ("$.a.none", "No results for path: $['a']['none']"),
        ("$.none.deep", "Missing property in path $['none']"),
    ],
)
@pytest.mark.parametrize("field", ["InputPath", "OutputPath"])
def test_a_path_field_that_selects_nothing_says_how_far_it_came(world, field, path, reason):
    arn = world.run({"Pass": {"Type": "Pass", "End": True, field: path}}, {"a": {}})
    record = world.engine.describe_execution(arn)
    assert record.error == "States.Runtime"
    assert record.cause == (
        "An error occurred while executing the state 'Pass' (entered at the event id #2). "
        f"Invalid path '{path}' : {reason}"
    )


def test_a_fail_state_ends_with_its_error_and_cause_given_or_found(world):
    fail = {"Type": "Fail", "ErrorPath": "$.error", "CausePath": "States.Format('no {}', $.what)"}
    arn = world.run({"Fail": fail}, {"error": "Refused", "what": "photos"})
    record = world.engine.describe_execution(arn)
    assert (record.status, record.error, record.cause) == ("FAILED", "Refused", "no photos")
    assert world.types(arn)[1:] == ["FailStateEntered", "ExecutionFailed"]


def test_variables_are_seen_from_the_next_state_on(world):
    states = {
        "Set": {
            "Type": "Pass",
            "Result": {"n": 1},
            "Assign": {"n.$": "$.n", "word": "hello"},
            "Next": "Use",
        },
        "Use": {
            "Type": "Pass",
            "Parameters": {"both.$": "States.Format('{} {}', $word, $n)"},
            "End": True,
        },
    }
    arn = world.run(states)
    assert output(world, arn) == {"both": "hello 1"}
    exited = world.history(arn)[2]["stateExitedEventDetails"]
    assert exited["assignedVariables"] == {"n": "1", "word": '"hello"'}


def test_the_context_object_tells_execution_state_and_machine(world):
    parameters = {"context.$": "$$"}
    arn = world.run({"Look": {"Type": "Pass", "Parameters": parameters, "End": True}}, {"a": 1})
    context = output(world, arn)["context"]
    assert context["Execution"]["Id"] == arn
    assert context["Execution"]["Input"] == {"a": 1}
    assert context["Execution"]["StartTime"] == "2026-01-01T00:00:00.000Z"
    assert context["State"] == {
        "Name": "Look",
        "EnteredTime": "2026-01-01T00:00:00.000Z",
        "RetryCount": 0,
    }
    assert context["StateMachine"]["Name"] == "machine"


def test_a_machine_that_takes_too_long_times_out_without_error_of_its_own(world):
    arn = world.run({"Wait": {"Type": "Wait", "Seconds": 25, "End": True}}, TimeoutSeconds=3)
    assert world.status(arn) == "TIMED_OUT"
    assert world.times(arn, "ExecutionTimedOut") == [3]
    last = world.history(arn)[-1]
    assert last["previousEventId"] == 0
    assert last["executionTimedOutEventDetails"] == {"error": "States.Timeout"}
    assert world.engine.describe_execution(arn).error is None


def test_events_are_numbered_from_one_and_point_back(world):
    world.functions.answers("work", TaskSuccess({"ok": True}))
    arn = world.run({"Work": task(Next="End"), "End": END})
    assert [(e["id"], e["previousEventId"], e["type"]) for e in world.history(arn)] == [
        (1, 0, "ExecutionStarted"),
        (2, 0, "TaskStateEntered"),
        (3, 2, "TaskScheduled"),
        (4, 3, "TaskStarted"),
        (5, 4, "TaskSucceeded"),
        (6, 5, "TaskStateExited"),
        (7, 6, "SucceedStateEntered"),
        (8, 7, "SucceedStateExited"),
        (9, 8, "ExecutionSucceeded"),
    ]
