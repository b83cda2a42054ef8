"""Training jobs: a name is one job for ever, and every job ends once."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest

from atelier.contracts.errors import (
    CapacityMissing,
    InvalidRequest,
    JobNameTaken,
    NotFound,
    QuotaExceeded,
    Throttled,
)
from tests.contracts.stages.training_jobs import JOBS
from tests.local.bench import definition

ENDS = ["Completed", "Failed", "Stopped"]


@pytest.fixture(params=sorted(JOBS))
def stage(request, tmp_path):
    with JOBS[request.param](tmp_path) as stage:
        yield stage


def ended(stage, status):
    """Create a job, let it end so, and return it."""
    stage.port.create(definition("job-1"))
    stage.end("job-1", status)
    return stage.port.describe("job-1")


# create


def test_a_job_that_was_created_is_in_progress_as_it_was_asked_for(stage):
    stage.port.create(definition("job-1", HyperParameters={"manifest_key": "manifests/m.json"}))

    job = stage.port.describe("job-1")
    assert (job.name, job.status, job.failure_reason) == ("job-1", "InProgress", "")
    assert job.secondary_status
    assert job.hyperparameters == {"manifest_key": "manifests/m.json"}
    assert job.created_at.utcoffset() == timedelta(0)
    assert job.ended_at is None


def test_a_later_change_of_the_hyperparameters_is_no_part_of_the_job(stage):
    hyperparameters = {"manifest_key": "manifests/m.json"}
    stage.port.create(definition("job-1", HyperParameters=hyperparameters))
    hyperparameters["manifest_key"] = "manifests/other.json"

    assert stage.port.describe("job-1").hyperparameters == {"manifest_key": "manifests/m.json"}


def test_the_name_of_a_job_in_progress_is_taken_even_by_the_same_definition(stage):
    stage.port.create(definition("job-1"))
    before = stage.port.describe("job-1")

    with pytest.raises(JobNameTaken):
        stage.port.create(definition("job-1"))

    assert stage.port.describe("job-1") == before


@pytest.mark.parametrize("status", ENDS)
def test_the_name_of_a_job_that_ended_is_taken_for_ever(stage, status):
    before = ended(stage, status)

    with pytest.raises(JobNameTaken):
        stage.port.create(definition("job-1"))

    assert stage.port.describe("job-1") == before


@pytest.mark.parametrize("kind", [Throttled, QuotaExceeded, CapacityMissing])
def test_a_job_that_is_refused_for_now_was_not_created(stage, kind):
    stage.refuse(kind)

    with pytest.raises(kind):
        stage.port.create(definition("job-1"))
    with pytest.raises(NotFound):
        stage.port.describe("job-1")


@pytest.mark.parametrize(
    "wrong",
    [
        {"RoleArn": "nobody"},
        {"StoppingCondition": {"MaxRuntimeInSeconds": 0}},
        {"HyperParameters": {"steps": 5}},
        {"OutputDataConfig": {"S3OutputPath": "s3://elsewhere/"}},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_definition_that_breaks_the_rules_is_refused_and_creates_nothing(stage, wrong):
    with pytest.raises(InvalidRequest):
        stage.port.create(definition("job-1", **wrong))
    with pytest.raises(NotFound):
        stage.port.describe("job-1")


# describe


def test_a_job_that_nobody_created_is_not_found(stage):
    with pytest.raises(NotFound):
        stage.port.describe("job-1")


@pytest.mark.parametrize("operation", ["describe", "stop"])
def test_more_requests_than_the_account_may_make_are_throttled(stage, operation):
    stage.throttle(operation)

    with pytest.raises(Throttled):
        getattr(stage.port, operation)("the-last-one")


@pytest.mark.parametrize("status", ENDS)
def test_a_job_tells_how_and_when_it_ended_and_what_is_paid_for(stage, status):
    job = ended(stage, status)

    assert (job.status, job.secondary_status) == (status, status)
    assert job.ended_at.utcoffset() == timedelta(0)
    assert job.created_at <= job.ended_at
    lasted = (job.ended_at - job.created_at).total_seconds()
    assert 0 <= job.billable_seconds <= math.ceil(lasted)


def test_only_a_failed_job_has_a_reason_and_it_says_what_the_program_said(stage):
    for number, status in enumerate(ENDS):
        stage.port.create(definition(f"job-{number}"))
        stage.end(f"job-{number}", status, reason="the loss is not finite")
        reason = stage.port.describe(f"job-{number}").failure_reason
        assert ("the loss is not finite" in reason) == bool(reason) == (status == "Failed")


def test_a_long_failure_reason_is_its_first_1024_characters_at_most(stage):
    stage.port.create(definition("job-1"))
    stage.end("job-1", "Failed", reason="x" * 5000)

    assert 0 < len(stage.port.describe("job-1").failure_reason) <= 1024


# stop


def test_a_job_that_is_asked_to_stop_ends_as_stopped(stage):
    stage.port.create(definition("job-1"))
    stage.port.stop("job-1")

    assert stage.port.describe("job-1").status in {"Stopping", "Stopped"}
    stage.wait_until(lambda: stage.port.describe("job-1").status == "Stopped")


def test_asking_twice_to_stop_is_asking_once(stage):
    stage.port.create(definition("job-1"))
    stage.port.stop("job-1")
    stage.port.stop("job-1")

    stage.wait_until(lambda: stage.port.describe("job-1").status == "Stopped")


@pytest.mark.parametrize("status", ENDS)
def test_stopping_a_job_that_ended_changes_nothing(stage, status):
    before = ended(stage, status)
    stage.port.stop("job-1")

    assert stage.port.describe("job-1") == before


def test_stopping_a_job_that_nobody_created_is_not_found(stage):
    with pytest.raises(NotFound):
        stage.port.stop("job-1")
