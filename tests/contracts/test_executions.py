"""Executions: a name starts one, each ends once, and a token is answered once."""

from __future__ import annotations

import pytest

from atelier.contracts.errors import AlreadyExists, InvalidRequest, NotFound
from tests.contracts.stages.executions import EXECUTIONS

ENDS = ["SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED"]


@pytest.fixture(params=sorted(EXECUTIONS))
def stage(request, tmp_path):
    return EXECUTIONS[request.param](tmp_path)


@pytest.fixture
def port(stage):
    return stage.port


# start


def test_what_was_started_runs_under_its_machine_and_name(port):
    begun = port.start("onboarding", "one", {"user": "42"})

    assert (begun.machine, begun.name, begun.status) == ("onboarding", "one", "RUNNING")
    assert (begun.error, begun.cause) == (None, None)
    assert port.describe("onboarding", "one") == begun


def test_the_same_name_and_input_while_it_runs_is_the_same_execution(port):
    begun = port.start("onboarding", "one", {"user": "42", "seed": 1})

    assert port.start("onboarding", "one", {"seed": 1, "user": "42"}) == begun


def test_a_name_that_runs_with_another_input_is_taken_and_runs_on(port):
    begun = port.start("onboarding", "one", {"user": "42"})

    with pytest.raises(AlreadyExists) as caught:
        port.start("onboarding", "one", {"user": "43"})

    assert caught.value.facts == {"kind": "execution", "name": "one"}
    assert port.describe("onboarding", "one") == begun


@pytest.mark.parametrize("status", ENDS)
def test_the_name_of_an_execution_that_ended_is_taken_even_for_the_same_input(stage, port, status):
    stage.token("one")
    stage.end("one", status)

    with pytest.raises(AlreadyExists):
        port.start("onboarding", "one", {})

    assert port.describe("onboarding", "one").status == status


def test_the_same_name_of_another_machine_is_another_execution(port):
    onboarding = port.start("onboarding", "one", {})
    dispatch = port.start("dispatch", "one", {"epoch": 1})

    assert onboarding.arn != dispatch.arn
    assert port.describe("onboarding", "one").machine == "onboarding"


def test_a_later_change_of_the_input_is_no_part_of_the_execution(port):
    given = {"user": "42"}
    port.start("onboarding", "one", given)
    given["user"] = "43"

    assert port.start("onboarding", "one", {"user": "42"}).status == "RUNNING"


def test_a_machine_that_nobody_knows_is_not_found(port):
    with pytest.raises(NotFound):
        port.start("nothing", "one", {})
    with pytest.raises(NotFound):
        port.describe("nothing", "one")
    with pytest.raises(NotFound):
        port.stop("nothing", "one", error="E", cause="C")


@pytest.mark.parametrize("given", [{"x": float("nan")}, {"x": object()}], ids=["nan", "object"])
def test_an_input_that_is_no_json_is_refused_and_starts_nothing(port, given):
    with pytest.raises(InvalidRequest):
        port.start("onboarding", "one", given)
    with pytest.raises(NotFound):
        port.describe("onboarding", "one")


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a" * 81], ids=len)
def test_a_name_that_no_execution_may_have_is_refused(port, name):
    with pytest.raises(InvalidRequest):
        port.start("onboarding", name, {})


# describe


def test_an_execution_that_nobody_started_is_not_found(port):
    port.start("onboarding", "one", {})

    with pytest.raises(NotFound) as caught:
        port.describe("onboarding", "other")

    assert caught.value.facts == {"kind": "execution", "name": "other"}


@pytest.mark.parametrize("status", ENDS)
def test_an_execution_tells_how_it_ended(stage, port, status):
    stage.token("one")
    stage.end("one", status)
    stage.token("other")

    assert port.describe("onboarding", "one").status == status
    assert port.describe("onboarding", "other").status == "RUNNING"


# stop


def test_a_stopped_execution_is_aborted_at_once_and_tells_why(port):
    port.start("onboarding", "one", {})
    port.stop("onboarding", "one", error="Cancelled", cause="nobody wants it")

    stopped = port.describe("onboarding", "one")
    assert (stopped.status, stopped.error, stopped.cause) == (
        "ABORTED",
        "Cancelled",
        "nobody wants it",
    )


@pytest.mark.parametrize("status", ENDS)
def test_stopping_an_execution_that_ended_changes_nothing(stage, port, status):
    stage.token("one")
    stage.end("one", status)
    ended = port.describe("onboarding", "one")

    port.stop("onboarding", "one", error="Cancelled", cause="too late")

    assert port.describe("onboarding", "one") == ended


def test_stopping_what_nobody_started_is_not_found(port):
    with pytest.raises(NotFound):
        port.stop("onboarding", "one", error="Cancelled", cause="nobody wants it")


# redrive


@pytest.mark.parametrize("status", ["FAILED", "TIMED_OUT", "ABORTED"])
def test_an_execution_that_did_not_end_well_is_redriven_and_runs_again(stage, port, status):
    token = stage.token("one")
    arn = port.describe("onboarding", "one").arn
    stage.end("one", status)

    redriven = port.redrive("onboarding", "one")

    assert (redriven.arn, redriven.status) == (arn, "RUNNING")
    assert (redriven.error, redriven.cause) == (None, None)
    assert port.describe("onboarding", "one") == redriven
    assert not port.succeed_task(token, {"late": True})
    assert port.describe("onboarding", "one").status == "RUNNING"


def test_a_redriven_execution_ends_and_is_redriven_again(stage, port):
    stage.token("one")
    stage.end("one", "FAILED")
    port.redrive("onboarding", "one")
    port.stop("onboarding", "one", error="Cancelled", cause="nobody wants it")

    assert port.describe("onboarding", "one").error == "Cancelled"
    assert port.redrive("onboarding", "one").status == "RUNNING"


@pytest.mark.parametrize("status", ["RUNNING", "SUCCEEDED"])
def test_an_execution_that_runs_or_has_succeeded_is_not_redriven(stage, port, status):
    stage.token("one")
    if status != "RUNNING":
        stage.end("one", status)
    before = port.describe("onboarding", "one")

    with pytest.raises(InvalidRequest):
        port.redrive("onboarding", "one")

    assert port.describe("onboarding", "one") == before


def test_redriving_what_nobody_started_is_not_found(port):
    with pytest.raises(NotFound):
        port.redrive("onboarding", "one")


# tokens


def test_an_answer_that_is_no_json_is_refused_and_the_token_waits_on(stage, port):
    token = stage.token("one")

    with pytest.raises(InvalidRequest):
        port.succeed_task(token, {"x": float("nan")})
    assert stage.heard(token) is None
    assert port.succeed_task(token, {"x": 1})


def test_a_cause_that_is_too_long_is_refused_and_the_token_waits_on(stage, port):
    token = stage.token("one")

    with pytest.raises(InvalidRequest):
        port.fail_task(token, error="E", cause="c" * 32_769)
    assert stage.heard(token) is None
    assert port.fail_task(token, error="E", cause="c" * 32_768)


def test_who_waits_with_a_token_gets_its_output(stage, port):
    token = stage.token("one")

    assert port.succeed_task(token, {"job": "job-1", "hosts": [1, 2]})
    assert stage.heard(token) == {"job": "job-1", "hosts": [1, 2]}


def test_who_waits_with_a_token_gets_its_error_and_cause(stage, port):
    token = stage.token("one")

    assert port.fail_task(token, error="Cancelled", cause="nobody wants it")
    assert stage.heard(token) == ("Cancelled", "nobody wants it")


@pytest.mark.parametrize("second", ["succeed", "fail"])
@pytest.mark.parametrize("first", ["succeed", "fail"])
def test_a_token_is_answered_once_and_the_first_answer_stays(stage, port, first, second):
    token = stage.token("one")
    answers = {
        "succeed": lambda number: port.succeed_task(token, {"number": number}),
        "fail": lambda number: port.fail_task(token, error="E", cause=str(number)),
    }

    assert answers[first](1)
    heard = stage.heard(token)
    assert heard in ({"number": 1}, ("E", "1"))
    assert not answers[second](2)
    assert stage.heard(token) == heard


@pytest.mark.parametrize("status", ENDS)
def test_a_token_of_an_execution_that_ended_is_known_no_more(stage, port, status):
    token = stage.token("one")
    stage.end("one", status)

    assert not port.succeed_task(token, {})
    assert not port.fail_task(token, error="E", cause="C")


def test_a_token_is_answered_for_its_own_execution_alone(stage, port):
    one, other = stage.token("one"), stage.token("other")

    assert port.succeed_task(one, {"mine": True})
    assert stage.heard(other) is None
    assert port.succeed_task(other, {"mine": False})
