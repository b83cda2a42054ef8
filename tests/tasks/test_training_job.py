"""The request of CreateTrainingJob, checked against AWS's own model and the local service."""

from __future__ import annotations

import botocore.session
import botocore.validate
import pytest

from atelier.contracts.base_models import HARDWARE
from atelier.contracts.ids import batch_of, digest_of, job_name
from atelier.contracts.manifest import HostShare, TrainingManifest, TrainingPhoto, TrainingTask
from atelier.contracts.settings import Hardware, PresetName
from infra.local.job_definition import read_definition
from tasks.ports import TaskSettings
from tasks.training_job import training_job
from tests.contracts.people import request_record

SETTINGS = TaskSettings()
PHOTO = TrainingPhoto("datasets/o/d/p.png", "0" * 64, "")


def manifest(hosts: int = 1) -> TrainingManifest:
    records = [request_record(str(rank)) for rank in range(hosts)]
    batch = batch_of([(r.request, r.attempt) for r in records])
    tasks = tuple(
        TrainingTask(
            request=record.request,
            attempt=1,
            owner=record.given.owner,
            model=record.given.model,
            photos=(PHOTO,),
            hyperparameters=record.given.hyperparameters,
            samples=(),
            trigger=record.given.trigger,
            subject=record.given.subject,
            instance_prompt=record.given.instance_prompt,
            seed=0,
            estimated_cost_seconds=1.0,
        )
        for record in records
    )
    shares = tuple(HostShare(rank, (r.request,)) for rank, r in enumerate(records))
    return TrainingManifest(job_name(batch, 1), batch, "tiny", "", tasks, shares)


def definition(hardware: Hardware, hosts: int = 1) -> dict:
    sealed = manifest(hosts)
    return training_job(sealed, sealed=sealed.to_json(), hardware=hardware, settings=SETTINGS)


@pytest.mark.parametrize("preset", list(PresetName))
@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_aws_and_the_local_service_accept_every_presets_job(preset, hosts):
    given = definition(HARDWARE[preset], hosts)
    model = botocore.session.get_session().get_service_model("sagemaker")
    shape = model.operation_model("CreateTrainingJob").input_shape
    report = botocore.validate.ParamValidator().validate(given, shape)
    assert not report.has_errors(), report.generate_report()
    local = read_definition(given, bucket_urls=[SETTINGS.bucket_url])
    assert {choice.count for choice in local.choices} == {hosts}


def test_the_job_names_its_manifest_and_its_digest():
    sealed = manifest()
    given = definition(HARDWARE[PresetName.NANO])
    assert given["HyperParameters"] == {
        "manifest_key": f"manifests/{sealed.job}.json",
        "manifest_digest": digest_of(sealed.to_json()),
    }
    assert given["Environment"] == {"ATELIER_OBJECTS": "s3://atelier/"}
    assert given["CheckpointConfig"] == {
        "S3Uri": f"s3://atelier/checkpoints/{sealed.job}/",
        "LocalPath": "/opt/ml/checkpoints",
    }


def test_spot_sets_a_longer_wait_and_several_types_are_an_ordered_preference():
    spot = definition(Hardware(("ml.g5.xlarge",), max_runtime_seconds=600, spot=True))
    assert spot["EnableManagedSpotTraining"] is True
    assert spot["StoppingCondition"] == {"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 1200}
    several = definition(Hardware(("ml.g5.2xlarge", "ml.g5.xlarge"), keep_alive_seconds=60))
    assert several["ResourceConfig"] == {
        "VolumeSizeInGB": 50,
        "KeepAlivePeriodInSeconds": 60,
        "InstancePreferences": [
            {"InstanceType": "ml.g5.2xlarge", "InstanceCount": 1},
            {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1},
        ],
    }
