"""The request of CreateTrainingJob, as a pure function of a sealed manifest and settings.

No channels: photos are fetched by key, and the base model comes with the image. The manifest's
digest is a hyperparameter, so that a job of a taken name tells whose it is.
"""

from __future__ import annotations

from typing import Any

from atelier.contracts import container, keys
from atelier.contracts.ids import digest_of
from atelier.contracts.manifest import TrainingManifest
from atelier.contracts.settings import Hardware
from tasks.ports import TaskSettings

SPOT_WAIT_FACTOR = 2
"""A spot job may wait for capacity as long again as it may run (MaxWaitTimeInSeconds counts both).
"""
SERVICE_RETRIES = 3


def training_job(
    manifest: TrainingManifest, *, sealed: bytes, hardware: Hardware, settings: TaskSettings
) -> dict[str, Any]:
    """Return CreateTrainingJob's request for a manifest whose sealed bytes are `sealed`."""
    bucket = settings.bucket_url
    definition: dict[str, Any] = {
        "TrainingJobName": manifest.job,
        "RoleArn": settings.role_arn,
        "AlgorithmSpecification": {
            "TrainingImage": settings.training_image,
            "TrainingInputMode": "File",
        },
        "HyperParameters": {
            container.MANIFEST_HYPERPARAMETER: keys.manifest(manifest.job),
            container.MANIFEST_DIGEST_HYPERPARAMETER: digest_of(sealed),
        },
        "Environment": {container.OBJECTS_VARIABLE: bucket},
        "OutputDataConfig": {"S3OutputPath": f"{bucket}{keys.TRAINING_OUTPUT_PREFIX}"},
        "CheckpointConfig": {
            "S3Uri": f"{bucket}{keys.checkpoints(manifest.job)}",
            "LocalPath": str(container.MlFolder().checkpoints),
        },
        "ResourceConfig": _resources(hardware, hosts=len(manifest.hosts)),
        "StoppingCondition": {"MaxRuntimeInSeconds": hardware.max_runtime_seconds},
        # SageMaker's own faults start the same job again, which goes on from its checkpoints.
        "RetryStrategy": {"MaximumRetryAttempts": SERVICE_RETRIES},
    }
    if hardware.spot:
        definition["EnableManagedSpotTraining"] = True
        definition["StoppingCondition"]["MaxWaitTimeInSeconds"] = (
            SPOT_WAIT_FACTOR * hardware.max_runtime_seconds
        )
    return definition


def _resources(hardware: Hardware, *, hosts: int) -> dict[str, Any]:
    resources: dict[str, Any] = {"VolumeSizeInGB": hardware.volume_gb}
    if len(hardware.instance_types) == 1:
        resources |= {"InstanceType": hardware.instance_types[0], "InstanceCount": hosts}
    else:
        resources["InstancePreferences"] = [
            {"InstanceType": kind, "InstanceCount": hosts} for kind in hardware.instance_types
        ]
    if hardware.keep_alive_seconds:
        resources["KeepAlivePeriodInSeconds"] = hardware.keep_alive_seconds
    return resources
