"""One visit as one function, shaped like TestState.

https://docs.aws.amazon.com/step-functions/latest/dg/test-state-isolation.html
"""

from __future__ import annotations

from tests.engine.world import task
from workflows.engine.parse import parse_machine
from workflows.engine.paths import Scope
from workflows.engine.teststate import Status, visit
from workflows.engine.visit import Failed, Succeeded


def state_of(state: dict):
    states = {"S": state, "End": {"Type": "Succeed"}}
    return parse_machine({"StartAt": "S", "States": states}).states["S"]


def scope(given: object) -> Scope:
    return Scope(given, {}, {}, "seed")


WORK = task(
    Next="End",
    InputPath="$.inner",
    Retry=[{"ErrorEquals": ["Busy"], "IntervalSeconds": 2, "BackoffRate": 2, "MaxAttempts": 2}],
    Catch=[{"ErrorEquals": ["Busy"], "Next": "End", "ResultPath": "$.error"}],
)


def test_success_tells_output_next_state_and_the_data_after_each_stage():
    report = visit(state_of(WORK), scope({"inner": {"a": 1}}), Succeeded({"Payload": 7}))
    assert report.status is Status.SUCCEEDED
    assert report.output == {"inner": {"a": 1}, "done": {"result": 7}}
    assert report.next == "End"
    assert report.inspection == {
        "input": {"inner": {"a": 1}},
        "afterInputPath": {"a": 1},
        "afterParameters": {"FunctionName": "work", "Payload": {"a": 1}},
        "result": {"Payload": 7},
        "afterResultSelector": {"result": 7},
        "afterResultPath": {"inner": {"a": 1}, "done": {"result": 7}},
    }


def test_one_retry_of_two_seconds_doubles_to_four():
    report = visit(state_of(WORK), scope({"inner": {}}), Failed("Busy"), [1])
    assert report.status is Status.RETRIABLE
    assert (report.backoff.retrier, report.backoff.seconds) == (0, 4)


def test_an_error_without_retries_left_is_caught():
    report = visit(state_of(WORK), scope({"inner": {}}), Failed("Busy", "why"), [2])
    assert report.status is Status.CAUGHT_ERROR
    assert report.next == "End"
    assert report.output == {"inner": {}, "error": {"Error": "Busy", "Cause": "why"}}


def test_an_error_that_nothing_takes_fails_the_state():
    report = visit(state_of(WORK), scope({"inner": {}}), Failed("Other", "why"))
    assert (report.status, report.error, report.cause) == (Status.FAILED, "Other", "why")


def test_a_path_that_selects_nothing_fails_the_state():
    report = visit(state_of(WORK), scope({}), Succeeded({}))
    assert (report.status, report.error) == (Status.FAILED, "States.Runtime")


def test_states_without_work_need_no_outcome():
    fail = visit(state_of({"Type": "Fail", "Error": "E", "Cause": "c"}), scope({}), None)
    assert (fail.status, fail.error, fail.cause) == (Status.FAILED, "E", "c")
    passing = {"Type": "Pass", "Result": 1, "Assign": {"v.$": "$"}, "Next": "End"}
    report = visit(state_of(passing), scope({}), None)
    assert (report.output, report.next, report.assigned) == (1, "End", {"v": 1})
