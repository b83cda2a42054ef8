"""What callers of the engine see: names, lists, pages, status events, definitions."""

from __future__ import annotations

import pytest

from tests.engine.world import World, callback, task
from workflows.engine.engine import (
    ExecutionAlreadyExists,
    InvalidArn,
    InvalidDefinition,
    InvalidName,
    InvalidToken,
    StateMachineDoesNotExist,
    UnsupportedDefinition,
    ValidationError,
)

DONE = {"End": {"Type": "Succeed"}}


@pytest.fixture
def stored(store) -> World:
    return World(store)


def test_a_name_starts_one_execution(stored):
    first = stored.start({"Ask": callback()}, {"a": 1, "b": 2})
    again = stored.engine.start_execution("machine", name="one", input={"b": 2, "a": 1})
    assert again.arn == first
    assert len(stored.functions.calls) == 1
    with pytest.raises(ExecutionAlreadyExists):
        stored.engine.start_execution("machine", name="one", input={"a": 2})


def test_the_name_of_an_execution_that_has_ended_is_used_up(stored):
    stored.run(DONE, {"a": 1})
    with pytest.raises(ExecutionAlreadyExists):
        stored.engine.start_execution("machine", name="one", input={"a": 1})


def test_the_same_name_may_be_used_with_another_machine(stored):
    stored.run(DONE)
    stored.engine.register("other", {"StartAt": "End", "States": DONE})
    other = stored.engine.start_execution("other", name="one", input={})
    assert other.arn == "arn:aws:states:local:000000000000:execution:other:one"


def test_a_machine_is_found_by_name_and_by_arn(stored):
    arn = stored.engine.register("machine", {"StartAt": "End", "States": DONE})
    assert arn == "arn:aws:states:local:000000000000:stateMachine:machine"
    assert stored.engine.start_execution(arn, name="x", input={}).arn.endswith(":machine:x")
    with pytest.raises(StateMachineDoesNotExist):
        stored.engine.start_execution("nobody", name="x", input={})


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a:b", "x" * 81, "a\nb", "a*"])
def test_names_that_aws_refuses_are_refused(stored, name):
    stored.engine.register("machine", {"StartAt": "End", "States": DONE})
    with pytest.raises(InvalidName):
        stored.engine.start_execution("machine", name=name, input={})


def test_an_execution_is_described_as_botocore_describes_it(stored):
    arn = stored.run(DONE, {"a": 1})
    told = stored.engine.describe_execution(arn).to_dict()
    assert told == {
        "executionArn": arn,
        "stateMachineArn": "arn:aws:states:local:000000000000:stateMachine:machine",
        "name": "one",
        "status": "SUCCEEDED",
        "startDate": stored.clock.start,
        "stopDate": stored.clock.start,
        "input": '{"a":1}',
        "inputDetails": {"included": True},
        "output": '{"a":1}',
        "outputDetails": {"included": True},
        "redriveCount": 0,
        "redriveStatus": "NOT_REDRIVABLE",
        "redriveStatusReason": "Execution is SUCCEEDED and cannot be redriven",
    }


def test_executions_are_listed_newest_first_in_pages_and_by_status(stored):
    for number in range(5):
        stored.run(DONE, name=f"done{number}")
    stored.start({"Ask": callback()}, name="waiting")
    page = stored.engine.list_executions("machine", max_results=4)
    names = [record.name for record in page.items]
    rest = stored.engine.list_executions("machine", max_results=4, next_token=page.next_token)
    names += [record.name for record in rest.items]
    assert names == ["waiting", "done4", "done3", "done2", "done1", "done0"]
    assert rest.next_token is None
    running = stored.engine.list_executions(status="RUNNING").items
    assert [record.name for record in running] == ["waiting"]


def test_a_history_is_read_in_pages_from_either_end(stored):
    arn = stored.run({"Work": task(Next="End"), **DONE})
    whole = [event.id for event in stored.engine.get_execution_history(arn).items]
    for reverse in (False, True):
        ids, token = [], None
        while True:
            page = stored.engine.get_execution_history(
                arn, max_results=2, reverse=reverse, next_token=token
            )
            ids += [event.id for event in page.items]
            token = page.next_token
            if token is None:
                break
        assert ids == (whole[::-1] if reverse else whole)
    with pytest.raises(InvalidToken):
        stored.engine.get_execution_history(arn, next_token="x")
    with pytest.raises(ValidationError):
        stored.engine.get_execution_history(arn, max_results=1001)
    with pytest.raises(InvalidArn):
        stored.engine.get_execution_history("x")


def test_every_change_of_status_is_told_as_eventbridge_tells_it(stored):
    arn = stored.run({"Fail": {"Type": "Fail", "Error": "E", "Cause": "c"}}, {"a": 1})
    assert [event["detail"]["status"] for event in stored.events] == ["RUNNING", "FAILED"]
    event = stored.events[1]
    assert event["source"] == "aws.states"
    assert event["detail-type"] == "Step Functions Execution Status Change"
    assert event["resources"] == [arn]
    assert event["detail"]["startDate"] == 1_767_225_600_000
    assert (event["detail"]["error"], event["detail"]["cause"]) == ("E", "c")
    assert event["detail"]["input"] == '{"a":1}'


def test_a_subscriber_that_fails_harms_nobody(stored, caplog):
    def broken(_event):
        raise RuntimeError("deaf")

    stored.engine.subscribe(broken)
    assert stored.status(stored.run(DONE)) == "SUCCEEDED"
    assert "a subscriber failed" in caplog.text


def test_a_subscriber_may_start_another_execution(stored):
    def follow(event):
        if event["detail"]["status"] == "SUCCEEDED" and event["detail"]["name"] == "one":
            stored.engine.start_execution("machine", name="two", input={})

    stored.engine.subscribe(follow)
    stored.run(DONE)
    assert len(stored.engine.list_executions("machine").items) == 2


def test_placeholders_are_filled_in_from_the_substitutions(stored):
    state = task("${WorkFunction}", Comment="${Stage}")
    stored.engine.register(
        "machine",
        {"StartAt": "Work", "States": {"Work": state}},
        substitutions={"WorkFunction": "arn:aws:lambda:x:1:function:work", "Stage": "test"},
    )
    stored.engine.start_execution("machine", name="one", input={})
    assert stored.functions.calls[0].function == "arn:aws:lambda:x:1:function:work"


def test_a_placeholder_that_nothing_was_given_for_is_refused_with_its_place(stored):
    state = task("${WorkFunction}")
    with pytest.raises(InvalidDefinition) as refused:
        stored.engine.register("machine", {"StartAt": "Work", "States": {"Work": state}})
    assert refused.value.location == "/States/Work/Parameters/FunctionName"


def test_a_task_that_nothing_here_performs_is_refused_when_it_is_registered(stored):
    state = {
        "Type": "Task",
        "Resource": "arn:aws:states:::sagemaker:createTrainingJob.sync",
        "Parameters": {},
        "End": True,
    }
    with pytest.raises(UnsupportedDefinition) as refused:
        stored.engine.register("machine", {"StartAt": "Work", "States": {"Work": state}})
    assert refused.value.location == "/States/Work/Resource"


def test_a_refused_definition_leaves_the_machine_as_it_was(stored):
    stored.engine.register("machine", {"StartAt": "End", "States": DONE})
    with pytest.raises(InvalidDefinition):
        stored.engine.register("machine", {"StartAt": "Nowhere", "States": DONE})
    stored.engine.start_execution("machine", name="one", input={})


def test_many_executions_share_one_transaction_when_they_happen_together(stored):
    commits = []
    commit = stored.store.commit
    stored.engine.register(
        "machine", {"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 1, "End": True}}}
    )
    for number in range(20):
        stored.engine.start_execution("machine", name=f"n{number}", input={})
    stored.store.commit = lambda entries: (commits.append(len(entries)), commit(entries))
    stored.engine.run_until_idle()
    assert commits == [20]


def test_the_arn_of_an_execution_is_known_before_it_starts(stored):
    arn = stored.run(DONE)
    assert stored.engine.execution_arn("machine", "one") == arn
    assert stored.engine.describe_state_machine("machine").definition.startswith('{"StartAt"')


def test_lists_take_sensible_bounds_only(stored):
    stored.run(DONE)
    for wrong in ({"max_results": 0}, {"max_results": 1001}, {"status": "WAITING"}):
        with pytest.raises(ValidationError):
            stored.engine.list_executions("machine", **wrong)
