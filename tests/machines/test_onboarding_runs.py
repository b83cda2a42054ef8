"""The onboarding machine on the engine: what is called, in which order, and how it ends."""

from __future__ import annotations

import pytest

from atelier.contracts.errors import final_error_names
from tests.machines.running import (
    FAILURE,
    ONBOARDING,
    PUBLISHED,
    REQUEST,
    fails,
    run,
    training,
)
from workflows.machines.onboarding import RESUMABLE

GIVEN = {"user_id": "42", "photos": "uploads/o/m/"}
FAILED = ["RecordFailure", "AnnounceFailure", "Failed"]


def test_ten_photos_become_a_model():
    happy = run("onboarding", GIVEN)
    assert happy.record.status == "SUCCEEDED"
    assert happy.states == [
        "ResumeAt",
        "Register",
        "NeedsTraining",
        "LaunchTraining",
        *["WaitForCheckpoint", "SyncCheckpoints", "TrainingDone"] * 2,
        "PublishModel",
        "AnnounceReady",
        "Ready",
    ]
    assert happy.output["published"] == PUBLISHED


def test_each_function_is_given_what_it_needs_and_no_more():
    happy = run("onboarding", GIVEN)
    called = happy.functions.called
    assert called("Register") == [{"given": GIVEN, "execution": f"{REQUEST}-1"}]
    assert [set(p) for p in called("LaunchTraining")] == [{"request", "token"}]
    assert called("SyncCheckpoints") == [
        {"request": REQUEST, "turn": 0},
        {"request": REQUEST, "turn": 1},
    ]
    assert called("PublishModel") == [{"request": REQUEST}]
    assert called("Announce") == [{"request": REQUEST, "outcome": "ready"}]


def test_a_returning_owner_with_the_same_photos_trains_nothing():
    known = run("onboarding", GIVEN, Register=[{**ONBOARDING, "known": True}])
    assert known.states[-3:] == ["NeedsTraining", "AnnounceReady", "Ready"]
    assert known.functions.called("LaunchTraining") == []


def test_the_wait_lasts_as_long_as_the_estimate_says():
    waits = [training(turn=1, wait_seconds=7), training("trained", turn=2)]
    timed = run("onboarding", GIVEN, SyncCheckpoints=waits)
    assert timed.clock.monotonic_seconds() == 20 + 7


@pytest.mark.parametrize("error", final_error_names())
@pytest.mark.parametrize("state", ["Register", "LaunchTraining", "SyncCheckpoints", "PublishModel"])
def test_a_final_error_is_recorded_announced_and_ends_the_execution(state, error):
    ended = run("onboarding", GIVEN, **{state: [fails(error, '{"errorMessage": "so"}')]})
    assert ended.states[-4:] == [state, *FAILED]
    assert (ended.record.status, ended.record.error) == ("FAILED", FAILURE["error"])
    assert ended.record.cause == FAILURE["message"]
    given = ended.functions.called("RecordFailure")[0]
    assert given["execution"] == f"{REQUEST}-1"
    assert given["given"]["error"] == {"Error": error, "Cause": '{"errorMessage": "so"}'}
    assert ended.functions.called("Announce") == [{"request": REQUEST, "outcome": "failed"}]


def test_an_input_that_makes_no_request_fails_without_one_to_announce():
    nobody = {**FAILURE, "request": ""}
    ended = run(
        "onboarding",
        {"user_id": ""},
        Register=[fails("InvalidRequest")],
        RecordFailure=[nobody],
    )
    assert ended.functions.called("Announce") == [{"request": "", "outcome": "failed"}]
    assert ended.record.status == "FAILED"


def test_a_deadline_that_passes_in_the_queue_is_a_failure_of_the_request():
    ended = run("onboarding", GIVEN, LaunchTraining=[None])
    assert ended.states[-4:] == ["LaunchTraining", *FAILED]
    error = ended.functions.called("RecordFailure")[0]["given"]["error"]["Error"]
    assert error == "States.Timeout"
    assert ended.clock.monotonic_seconds() == ONBOARDING["deadline_seconds"]


def test_a_lost_job_is_queued_again_with_another_token():
    lost = [training(turn=1), training("requeue", turn=2), training("trained", turn=1)]
    ended = run("onboarding", GIVEN, SyncCheckpoints=lost)
    assert ended.record.status == "SUCCEEDED"
    launches = ended.functions.called("LaunchTraining")
    assert len({launch["token"] for launch in launches}) == len(launches) == 2


@pytest.mark.parametrize("error", ["Throttled", "QuotaExceeded", "CapacityMissing"])
def test_launching_is_retried_for_as_long_as_it_takes_the_account(error):
    ended = run("onboarding", GIVEN, LaunchTraining=[fails(error)] * 30 + [training()])
    assert ended.record.status == "SUCCEEDED"
    assert ended.states.count("LaunchTraining") == 1
    assert len(ended.functions.called("LaunchTraining")) == 31


@pytest.mark.parametrize("error", ["ContractBroken", "Sandbox.Timedout", "ValueError"])
@pytest.mark.parametrize("state", ["Register", "SyncCheckpoints", "PublishModel", "RecordFailure"])
def test_anything_unexpected_fails_in_place_so_that_it_can_be_redriven(state, error):
    script = {state: [fails(error)]}
    if state == "RecordFailure":
        script["PublishModel"] = [fails("AdapterRejected")]
    ended = run("onboarding", GIVEN, **script)
    assert (ended.record.status, ended.record.error) == ("FAILED", error)
    assert ended.states[-1] == state


def test_a_task_that_never_answers_fails_in_place_when_its_time_is_up():
    ended = run("onboarding", GIVEN, SyncCheckpoints=[None])
    assert (ended.record.status, ended.record.error) == ("FAILED", "States.Timeout")
    assert ended.states[-1] == "SyncCheckpoints"


@pytest.mark.parametrize("error", ["NotFound", "Throttled", "ValueError", "States.Timeout"])
def test_nobody_being_told_takes_no_model_away(error):
    answer = None if error == "States.Timeout" else fails(error)
    ended = run("onboarding", GIVEN, Announce=[answer])
    assert ended.record.status == "SUCCEEDED"
    assert ended.states[-2:] == ["AnnounceReady", "Ready"]


def test_a_result_that_lacks_a_field_fails_where_the_contract_broke():
    incomplete = {key: value for key, value in ONBOARDING.items() if key != "known"}
    ended = run("onboarding", GIVEN, Register=[incomplete])
    assert ended.record.status == "FAILED"
    assert ended.states[-1] == "Register"


CARRIED = {
    "onboarding": ONBOARDING,
    "training": training(wait_seconds=5),
    "error": {"Error": "PoisonousTask", "Cause": "{}"},
    "failure": FAILURE,
}


@pytest.mark.parametrize("state", RESUMABLE)
def test_a_fork_goes_on_from_any_state(state):
    forked = run("onboarding", {**GIVEN, **CARRIED, "resume_at": state})
    assert forked.states[:2] == ["ResumeAt", state]
    assert forked.states[-1] in {"Ready", "Failed"}


@pytest.mark.parametrize("state", [state for state, needs in RESUMABLE.items() if needs])
def test_a_fork_that_lacks_data_is_told_what_is_needed(state):
    forked = run("onboarding", {**GIVEN, "resume_at": state})
    assert (forked.states, forked.record.error) == (
        ["ResumeAt", "InvalidResumeAt"],
        "InvalidResumeAt",
    )
    assert f"{state} needs {', '.join(RESUMABLE[state])}" in str(forked.record.cause)


@pytest.mark.parametrize("given", [None, [], [GIVEN], "photos", 7, True, {}, {"user": "42"}])
def test_an_input_that_says_nothing_is_refused_before_any_task(given):
    refused = run("onboarding", given)
    assert (refused.states, refused.record.error) == (
        ["ResumeAt", "InvalidInput"],
        "InvalidRequest",
    )
    assert '{"user_id": "42", "photos":' in str(refused.record.cause)


@pytest.mark.parametrize("name", ["LaunchTrainig", "ResumeAt", "", 7, None])
def test_a_fork_that_names_no_state_is_refused(name):
    assert run("onboarding", {**GIVEN, "resume_at": name}).record.error == "InvalidResumeAt"
