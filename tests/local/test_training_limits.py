"""What CreateTrainingJob refuses, and why: throttling, names, quotas, capacity, bad definitions."""

from dataclasses import replace

import pytest

from atelier.contracts.clock import ManualClock
from atelier.contracts.errors import (
    CapacityMissing,
    InvalidRequest,
    JobNameTaken,
    NotFound,
    QuotaExceeded,
    Throttled,
)
from infra.local.job_record import JobStatus
from infra.local.training import TrainingSettings
from tests.local.bench import BUCKET, QUICK, TrainingBench, definition, finish, hosts


def test_one_job_per_second_may_be_created(bench: TrainingBench):
    clock = ManualClock()
    service = bench.service(clock=clock, settings=TrainingSettings())
    service.create(definition("a"))
    with pytest.raises(Throttled) as refused:
        service.create(definition("b"))
    assert refused.value.facts["retry_after_seconds"] == 1.0
    clock.advance(0.9)
    with pytest.raises(Throttled):
        service.create(definition("b"))
    clock.advance(0.1)
    service.create(definition("b"))


def test_idle_time_saves_up_one_creation_only(bench: TrainingBench):
    clock = ManualClock()
    service = bench.service(clock=clock, settings=TrainingSettings())
    clock.advance(3600)
    service.create(definition("a"))
    with pytest.raises(Throttled):
        service.create(definition("b"))


def test_the_creation_rate_is_a_setting(bench: TrainingBench):
    clock = ManualClock()
    service = bench.service(clock=clock, settings=TrainingSettings(creates_per_second=0.5))
    service.create(definition("a"))
    clock.advance(1.9)
    with pytest.raises(Throttled):
        service.create(definition("b"))


def test_five_describes_per_second_pass(bench: TrainingBench):
    clock = ManualClock()
    service = bench.service(clock=clock, settings=TrainingSettings())
    service.create(definition())
    for _ in range(5):
        service.describe("job-1")
    with pytest.raises(Throttled):
        service.describe("job-1")


def test_a_name_is_taken_for_ever(bench: TrainingBench):
    bench.run("")
    service = bench.service()
    with pytest.raises(JobNameTaken):
        service.create(definition())


def test_instances_above_the_account_quota_are_refused_until_some_are_free(bench: TrainingBench):
    service = bench.service()
    service.create(definition("a", ResourceConfig=hosts(3)))
    with pytest.raises(QuotaExceeded) as refused:
        service.create(definition("b", ResourceConfig=hosts(2)))
    assert (refused.value.facts["limit"], refused.value.facts["used"]) == (4, 3)
    finish(service, "a")
    service.create(definition("b", ResourceConfig=hosts(2)))


def test_an_instance_type_has_a_quota_of_its_own(bench: TrainingBench):
    quota = {"ml.g5.xlarge": 0}
    service = bench.service(settings=replace(QUICK, instance_quota_by_type=quota))
    with pytest.raises(QuotaExceeded, match="for training job usage"):
        service.create(definition())


def test_missing_capacity_is_told_with_its_instance_type(bench: TrainingBench):
    service = bench.service(settings=replace(QUICK, capacity={"ml.g5.xlarge": 1}))
    service.create(definition("a"))
    with pytest.raises(CapacityMissing) as refused:
        service.create(definition("b"))
    assert refused.value.facts["instance_type"] == "ml.g5.xlarge"


def test_the_first_preferred_type_with_capacity_is_chosen(bench: TrainingBench):
    service = bench.service(settings=replace(QUICK, capacity={"ml.g6e.xlarge": 0}))
    preferences = [
        {"InstanceType": t, "InstanceCount": 1} for t in ("ml.g6e.xlarge", "ml.g5.xlarge")
    ]
    resources = {"InstancePreferences": preferences, "VolumeSizeInGB": 50}
    service.create(definition(ResourceConfig=resources))
    assert service.describe_record("job-1").instance_type == "ml.g5.xlarge"


def test_a_refused_job_leaves_its_name_free(bench: TrainingBench):
    service = bench.service()
    with pytest.raises(QuotaExceeded):
        service.create(definition(ResourceConfig=hosts(5)))
    service.create(definition())


class RegionIsFull:
    def on_create(self, name: str) -> None:
        if name == "refused":
            raise Throttled("Rate exceeded")

    def on_start(self, name: str) -> None:
        raise CapacityMissing("no ml.g5.xlarge now", instance_type="ml.g5.xlarge")


def test_faults_on_purpose_refuse_a_creation_or_end_a_job_for_want_of_capacity(
    bench: TrainingBench,
):
    service = bench.service(faults=RegionIsFull())
    with pytest.raises(Throttled):
        service.create(definition("refused"))
    service.create(definition())
    record = finish(service)
    assert record.status is JobStatus.FAILED
    assert record.failure_reason == "CapacityError: no ml.g5.xlarge now"


def test_an_unknown_job_is_not_found(bench: TrainingBench):
    service = bench.service()
    for call in (service.describe, service.stop):
        with pytest.raises(NotFound):
            call("nobody")


S3 = {"S3DataType": "S3Prefix", "S3Uri": BUCKET + "data/"}
BAD: dict[str, tuple[str, dict]] = {
    "name with underscore": ("TrainingJobName", {"TrainingJobName": "a_b"}),
    "name of 64": ("TrainingJobName", {"TrainingJobName": "a" * 64}),
    "no name": ("TrainingJobName", {"TrainingJobName": None}),
    "role": ("RoleArn", {"RoleArn": "arn:aws:iam::1:role/x-and-more-text"}),
    "unknown field": ("Colour", {"Colour": "blue"}),
    "serverless": ("ServerlessJobConfig", {"ServerlessJobConfig": {}}),
    "image and algorithm": (
        "AlgorithmSpecification",
        {
            "AlgorithmSpecification": {
                "TrainingImage": "i",
                "AlgorithmName": "a",
                "TrainingInputMode": "File",
            }
        },
    ),
    "pipe mode": (
        "AlgorithmSpecification.TrainingInputMode",
        {"AlgorithmSpecification": {"TrainingImage": "i", "TrainingInputMode": "Pipe"}},
    ),
    "entry point": (
        "AlgorithmSpecification.ContainerEntrypoint",
        {
            "AlgorithmSpecification": {
                "TrainingImage": "i",
                "TrainingInputMode": "File",
                "ContainerEntrypoint": ["sh"],
            }
        },
    ),
    "101 hyperparameters": (
        "HyperParameters",
        {"HyperParameters": {str(i): "" for i in range(101)}},
    ),
    "long hyperparameter": ("HyperParameters.a", {"HyperParameters": {"a": "x" * 2501}}),
    "number as hyperparameter": ("HyperParameters.a", {"HyperParameters": {"a": 1}}),
    "variable name": ("Environment.1A", {"Environment": {"1A": "x"}}),
    "long variable": ("Environment.A", {"Environment": {"A": "x" * 513}}),
    "foreign bucket": (
        "OutputDataConfig.S3OutputPath",
        {"OutputDataConfig": {"S3OutputPath": "s3://other/x/"}},
    ),
    "key with dots": (
        "CheckpointConfig.S3Uri",
        {"CheckpointConfig": {"S3Uri": BUCKET + "../x/"}},
    ),
    "checkpoints elsewhere": (
        "CheckpointConfig.LocalPath",
        {"CheckpointConfig": {"S3Uri": BUCKET + "c/", "LocalPath": "/etc"}},
    ),
    "checkpoints above": (
        "CheckpointConfig.LocalPath",
        {"CheckpointConfig": {"S3Uri": BUCKET + "c/", "LocalPath": "/opt/ml/../../etc"}},
    ),
    "no instance": ("ResourceConfig.InstanceCount", {"ResourceConfig": hosts(0)}),
    "21 instances": ("ResourceConfig.InstanceCount", {"ResourceConfig": hosts(21)}),
    "instance type": (
        "ResourceConfig.InstanceType",
        {"ResourceConfig": {**hosts(1), "InstanceType": "g5.xlarge"}},
    ),
    "instance groups": (
        "ResourceConfig.InstanceGroups",
        {"ResourceConfig": {"InstanceGroups": [], "VolumeSizeInGB": 1}},
    ),
    "preferences with a type": (
        "ResourceConfig.InstancePreferences",
        {"ResourceConfig": {**hosts(1), "InstancePreferences": [{"InstanceType": "ml.g5.xlarge"}]}},
    ),
    "spot with warm pool": (
        "ResourceConfig.KeepAlivePeriodInSeconds",
        {
            "EnableManagedSpotTraining": True,
            "ResourceConfig": {**hosts(1), "KeepAlivePeriodInSeconds": 60},
        },
    ),
    "spot that waits too short": (
        "StoppingCondition.MaxWaitTimeInSeconds",
        {
            "EnableManagedSpotTraining": True,
            "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 59},
        },
    ),
    "wait without spot": (
        "StoppingCondition.MaxWaitTimeInSeconds",
        {"StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 60}},
    ),
    "29 days": (
        "StoppingCondition.MaxRuntimeInSeconds",
        {"StoppingCondition": {"MaxRuntimeInSeconds": 29 * 86_400}},
    ),
    "retries": (
        "RetryStrategy.MaximumRetryAttempts",
        {"RetryStrategy": {"MaximumRetryAttempts": 31}},
    ),
    "no channels": ("InputDataConfig", {"InputDataConfig": []}),
    "channel twice": (
        "InputDataConfig[1].ChannelName",
        {"InputDataConfig": [{"ChannelName": "a", "DataSource": {"S3DataSource": S3}}] * 2},
    ),
    "channel that climbs": (
        "InputDataConfig[0].ChannelName",
        {"InputDataConfig": [{"ChannelName": "..", "DataSource": {"S3DataSource": S3}}]},
    ),
    "manifest file": (
        "InputDataConfig[0].DataSource.S3DataSource.S3DataType",
        {
            "InputDataConfig": [
                {
                    "ChannelName": "a",
                    "DataSource": {"S3DataSource": {**S3, "S3DataType": "ManifestFile"}},
                }
            ]
        },
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_definition_that_sagemaker_refuses_is_refused_with_its_place(
    bench: TrainingBench, case: str
):
    where, changes = BAD[case]
    service = bench.service()
    with pytest.raises(InvalidRequest) as refused:
        service.create({**definition(), **changes})
    assert refused.value.facts["where"] == where


def test_a_refused_definition_leaves_no_job(bench: TrainingBench):
    service = bench.service()
    with pytest.raises(InvalidRequest):
        service.create(definition(Colour="blue"))
    with pytest.raises(NotFound):
        service.describe("job-1")
