"""Task states: results, retries, catchers, timeouts, callbacks, heartbeats.

https://docs.aws.amazon.com/step-functions/latest/dg/state-task.html,
https://docs.aws.amazon.com/step-functions/latest/dg/connect-to-resource.html
"""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from tests.engine.world import callback, task
from workflows.engine.engine import (
    InvalidOutput,
    InvalidToken,
    TaskDoesNotExist,
    TaskFailure,
    TaskSuccess,
    TaskTimedOut,
    ValidationError,
)
from workflows.engine.tokens import issue_token

CAUGHT = {"Type": "Pass", "End": True}
CATCH_ALL = [{"ErrorEquals": ["States.ALL"], "Next": "Caught"}]


def output(world, arn):
    return json.loads(world.engine.describe_execution(arn).output)


def tokens(world) -> list[str]:
    return [call.token for call in world.functions.calls]


def test_a_functions_result_comes_wrapped_as_the_lambda_integration_wraps_it(world):
    world.functions.answers("work", TaskSuccess({"answer": 42}))
    arn = world.run({"Work": task(ResultSelector={"all.$": "$"}, ResultPath="$")})
    result = output(world, arn)["all"]
    assert result["Payload"] == {"answer": 42}
    assert result["StatusCode"] == 200
    assert result["ExecutedVersion"] == "$LATEST"
    assert result["SdkResponseMetadata"]["RequestId"]
    assert result["SdkHttpMetadata"]["HttpStatusCode"] == 200


def test_a_bare_function_arn_has_events_of_its_own_and_an_unwrapped_result(world):
    arn = "arn:aws:lambda:local:000000000000:function:work"
    execution = world.run({"Work": {"Type": "Task", "Resource": arn, "End": True}}, {"a": 1})
    assert world.types(execution)[2:5] == [
        "LambdaFunctionScheduled",
        "LambdaFunctionStarted",
        "LambdaFunctionSucceeded",
    ]
    assert output(world, execution) == {"a": 1}
    assert world.functions.calls[0].function == arn


def test_a_task_may_change_its_payload_without_changing_the_execution(world):
    def spoil(payload):
        payload["a"] = "spoilt"
        return TaskSuccess({})

    world.functions.code["work"] = spoil
    assert output(world, world.run({"Work": task(ResultPath=None)}, {"a": 1})) == {"a": 1}


def test_retries_wait_longer_each_time_up_to_the_cap(world):
    world.functions.answers("work", TaskFailure("Busy"))
    retry = {
        "ErrorEquals": ["Busy"],
        "IntervalSeconds": 2,
        "BackoffRate": 3,
        "MaxAttempts": 4,
        "MaxDelaySeconds": 20,
    }
    arn = world.run({"Work": task(Retry=[retry])})
    assert world.times(arn, "TaskScheduled") == [0, 2, 8, 26, 46]
    assert world.status(arn) == "FAILED"


def test_full_jitter_draws_from_nothing_to_the_delay_and_the_same_for_the_same_execution(world):
    world.functions.answers("work", TaskFailure("Busy"))
    retry = {
        "ErrorEquals": ["Busy"],
        "IntervalSeconds": 100,
        "BackoffRate": 1,
        "MaxAttempts": 40,
        "JitterStrategy": "FULL",
    }
    arn = world.run({"Work": task(Retry=[retry])})
    times = world.times(arn, "TaskScheduled")
    delays = [after - before for before, after in pairwise(times)]
    assert all(0 <= delay <= 100 for delay in delays)
    assert len(set(delays)) == 40
    assert 30 < sum(delays) / len(delays) < 70


def test_catch_comes_after_the_last_retry_and_puts_the_error_where_it_says(world):
    world.functions.answers("work", TaskFailure("Busy", "too much"))
    catch = [{"ErrorEquals": ["Busy"], "Next": "Caught", "ResultPath": "$.error"}]
    retry = [{"ErrorEquals": ["Busy"], "MaxAttempts": 1}]
    states = {"Work": task(Retry=retry, Catch=catch), "Caught": CAUGHT}
    arn = world.run(states, {"kept": True})
    assert output(world, arn) == {"kept": True, "error": {"Error": "Busy", "Cause": "too much"}}
    assert world.types(arn).count("TaskFailed") == 2
    exited = next(event for event in world.history(arn) if event["type"] == "TaskStateExited")
    failed = [event for event in world.history(arn) if event["type"] == "TaskFailed"][-1]
    assert exited["previousEventId"] == failed["id"]


def test_each_retrier_keeps_its_own_count(world):
    world.functions.answers(
        "work", TaskFailure("A"), TaskFailure("B"), TaskFailure("A"), TaskFailure("A")
    )
    retry = [
        {"ErrorEquals": ["A"], "MaxAttempts": 2, "IntervalSeconds": 1, "BackoffRate": 10},
        {"ErrorEquals": ["B"], "MaxAttempts": 1, "IntervalSeconds": 5},
    ]
    arn = world.run({"Work": task(Retry=retry)})
    assert world.times(arn, "TaskScheduled") == [0, 1, 6, 16]
    assert world.status(arn) == "FAILED"


def test_the_context_object_tells_the_retry_count(world):
    world.functions.answers("work", TaskFailure("Busy"), TaskSuccess({}))
    parameters = {"FunctionName": "work", "Payload": {"count.$": "$$.State.RetryCount"}}
    world.run({"Work": task(Parameters=parameters, Retry=[{"ErrorEquals": ["Busy"]}])})
    assert [call.payload["count"] for call in world.functions.calls] == [0, 1]
    assert [call.retry_count for call in world.functions.calls] == [0, 1]


def test_a_retried_callback_has_a_new_token_and_the_old_one_is_over(world):
    arn = world.start(
        {"Ask": callback(TimeoutSeconds=10, Retry=[{"ErrorEquals": ["States.Timeout"]}])}
    )
    world.engine.run_for(11)
    first, second = tokens(world)
    assert first != second
    with pytest.raises(TaskTimedOut):
        world.engine.send_task_success(first, "late")
    world.engine.send_task_success(second, "in time")
    assert output(world, arn) == "in time"


def test_a_callback_can_be_answered_by_the_called_function_itself(world):
    def ask(payload):
        world.engine.send_task_success(payload["token"], {"at": "once"})
        return TaskSuccess(None)

    world.functions.code["ask"] = ask
    arn = world.run({"Ask": callback()})
    assert output(world, arn) == {"at": "once"}


def test_a_callback_task_is_submitted_when_its_function_returns(world):
    arn = world.start({"Ask": callback()})
    assert world.types(arn)[-3:] == ["TaskScheduled", "TaskStarted", "TaskSubmitted"]
    world.engine.send_task_failure(tokens(world)[0], error="No", cause="because")
    assert world.types(arn)[-2:] == ["TaskFailed", "ExecutionFailed"]
    record = world.engine.describe_execution(arn)
    assert (record.error, record.cause) == ("No", "because")


def test_a_callback_that_names_no_error_is_caught_by_states_all(world):
    arn = world.start({"Ask": callback(Catch=CATCH_ALL), "Caught": CAUGHT})
    world.engine.send_task_failure(tokens(world)[0])
    world.engine.run_due()
    assert output(world, arn) == {"Error": None, "Cause": None}


def test_a_callback_whose_function_fails_fails(world):
    world.functions.answers("ask", TaskFailure("Broken"))
    arn = world.run({"Ask": callback()})
    assert world.engine.describe_execution(arn).error == "Broken"


def test_a_task_times_out_after_its_timeout_and_is_cancelled(world):
    world.functions.answers("work", None)
    arn = world.run({"Work": task(TimeoutSeconds=30, Catch=CATCH_ALL), "Caught": CAUGHT})
    assert world.times(arn, "TaskTimedOut") == [30]
    assert world.functions.cancelled == [world.functions.calls[0].id]
    assert output(world, arn) == {"Error": "States.Timeout", "Cause": ""}


def test_a_timeout_can_come_from_the_input(world):
    world.functions.answers("work", None)
    arn = world.run({"Work": task(TimeoutSecondsPath="$.patience")}, {"patience": 7})
    assert world.times(arn, "TaskTimedOut") == [7]
    scheduled = world.history(arn)[2]["taskScheduledEventDetails"]
    assert scheduled["timeoutInSeconds"] == 7


def test_a_result_that_comes_after_the_timeout_changes_nothing(world):
    world.functions.answers("work", None)
    arn = world.run({"Work": task(TimeoutSeconds=30)})
    before = world.history(arn)
    world.functions.reports[world.functions.calls[0].id](TaskSuccess({}))
    world.engine.run_due()
    assert world.history(arn) == before


def test_silence_of_a_callback_ends_it_after_the_heartbeat(world):
    ask = callback(HeartbeatSeconds=10, TimeoutSeconds=100, Catch=CATCH_ALL)
    arn = world.start({"Ask": ask, "Caught": CAUGHT})
    for _ in range(3):
        world.engine.run_for(8)
        world.engine.send_task_heartbeat(tokens(world)[0])
    world.engine.run_until_idle()
    assert world.times(arn, "TaskTimedOut") == [34]
    assert output(world, arn)["Error"] == "States.HeartbeatTimeout"


def test_heartbeats_do_not_extend_the_timeout(world):
    arn = world.start({"Ask": callback(HeartbeatSeconds=10, TimeoutSeconds=20)})
    for _ in range(2):
        world.engine.run_for(9)
        world.engine.send_task_heartbeat(tokens(world)[0])
    world.engine.run_until_idle()
    assert world.times(arn, "TaskTimedOut") == [20]
    assert world.engine.describe_execution(arn).error == "States.Timeout"


def test_heartbeats_leave_no_event(world):
    arn = world.start({"Ask": callback(HeartbeatSeconds=10)})
    before = world.types(arn)
    world.engine.send_task_heartbeat(tokens(world)[0])
    assert world.types(arn) == before


def test_tokens_are_refused_by_what_is_wrong_with_them(world):
    world.start({"Ask": callback()})
    elsewhere = issue_token(
        world.store.token_key(), "arn:aws:states:local:0:execution:machine:none", 3
    )
    for token, error in (
        ("no token", InvalidToken),
        (tokens(world)[0][:-6] + "AAAA==", InvalidToken),
        (elsewhere, TaskDoesNotExist),
    ):
        with pytest.raises(error):
            world.engine.send_task_success(token, {})
    world.engine.send_task_success(tokens(world)[0], {})
    with pytest.raises(TaskTimedOut):
        world.engine.send_task_heartbeat(tokens(world)[0])


def test_callback_answers_are_checked(world):
    world.start({"Ask": callback()})
    token = tokens(world)[0]
    with pytest.raises(InvalidOutput):
        world.engine.send_task_success(token, {"data": "x" * 262_144})
    with pytest.raises(InvalidOutput):
        world.engine.send_task_success(token, float("nan"))
    with pytest.raises(ValidationError):
        world.engine.send_task_failure(token, error="e" * 257)


def test_a_function_that_cannot_be_started_fails_its_own_execution_only(world):
    def broken(_payload):
        raise OSError("no room")

    world.functions.code["work"] = broken
    arn = world.run({"Work": task()})
    assert world.engine.describe_execution(arn).error == "Lambda.Unknown"


def test_a_result_that_is_no_json_fails_the_task(world):
    world.functions.answers("work", TaskSuccess({1, 2}))
    arn = world.run({"Work": task()})
    assert world.engine.describe_execution(arn).error == "Runtime.MarshalError"


def test_parameters_that_lambda_does_not_take_here_fail_the_execution(world):
    parameters = {"FunctionName": "work", "InvocationType": "Event"}
    arn = world.run({"Work": task(Parameters=parameters)})
    assert world.engine.describe_execution(arn).error == "States.Runtime"
