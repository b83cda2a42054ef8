"""How errors leave a Lambda function and are read again, and what a payload may be."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atelier.contracts.errors import AtelierError, InvalidRequest, PhotosRejected, descendants
from atelier.contracts.records import Failure
from tasks import payload
from tasks.causes import MAX_CAUSE_CHARACTERS, as_error, cause_of, failure_of, read_error
from tasks.lambda_entry import make_handler
from tasks.table import TASKS
from workflows.machines.asl import MACHINES

ERRORS = list(descendants(AtelierError))


def test_the_table_holds_every_function_that_the_machines_name():
    named = {
        function.removesuffix("Function")
        for machine in MACHINES.values()
        for function in machine.placeholders
    }
    assert named <= set(TASKS)


def test_a_function_must_name_its_task(world):
    with pytest.raises(ValueError, match="ATELIER_TASK"):
        make_handler({}, ports=world.ports)


def test_a_handler_runs_its_task_and_returns_plain_json(world):
    world.upload()
    handle = make_handler({"ATELIER_TASK": "Register"}, ports=world.ports)
    result = handle({"given": world.asked(), "execution": "x"}, None)
    assert json.loads(json.dumps(result)) == result


def test_an_error_leaves_under_its_own_name_with_its_facts(world):
    handle = make_handler({"ATELIER_TASK": "Cancel"}, ports=world.ports)
    with pytest.raises(Exception, match="no request") as caught:
        handle({"request": "r-unknown"}, None)
    error = caught.value
    # What Lambda's runtime makes of an exception (errorType, errorMessage, stackTrace).
    cause = {"errorType": type(error).__name__, "errorMessage": str(error), "stackTrace": []}
    failure = read_error({"Error": type(error).__name__, "Cause": json.dumps(cause)})
    assert failure.error == "NotFound"
    assert failure.facts["kind"] == "request"
    assert error.__cause__ is None
    assert error.__suppress_context__


@pytest.mark.parametrize("kind", ERRORS, ids=[k.name() for k in ERRORS])
def test_every_error_survives_the_way_through_a_cause(kind):
    error = kind("12 of 13", do="Try it.", where="x", found=[1, {"a": None}])
    failure = read_error({"Error": kind.name(), "Cause": cause_of(failure_of(error))})
    assert failure == failure_of(error)
    again = as_error(failure)
    assert type(again) is kind
    assert again.to_dict() == error.to_dict()


@given(st.one_of(st.none(), st.text(), st.dictionaries(st.text(), st.text())), st.text())
def test_any_error_of_a_state_makes_a_failure(error, cause):
    assert read_error(error).error
    assert read_error({"Error": "X", "Cause": cause}).error == "X"


def test_facts_that_do_not_fit_are_left_out():
    error = PhotosRejected("too many words", photos={str(n): "x" * 100 for n in range(1000)})
    cause = cause_of(failure_of(error))
    assert len(cause) <= MAX_CAUSE_CHARACTERS
    assert read_error({"Error": "PhotosRejected", "Cause": cause}).message == "too many words"


def test_a_fact_without_a_json_form_stands_as_its_text():
    assert failure_of(InvalidRequest("x", found={1, 2})).facts == {"found": "{1, 2}"}


def test_a_failure_of_an_unknown_name_is_no_error_of_ours():
    assert as_error(Failure("MemoryError", "m", "d")) is None


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (payload.text, ""),
        (payload.text, 3),
        (payload.text, None),
        (payload.whole_number, -1),
        (payload.whole_number, True),
        (payload.whole_number, "1"),
        (payload.fields, []),
        (payload.fields, None),
    ],
)
def test_a_payloads_wrong_field_is_named(read, value):
    with pytest.raises(InvalidRequest, match="request: expected"):
        read({"request": value}, "request")
