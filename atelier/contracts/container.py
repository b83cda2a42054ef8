"""The containers' ground: SageMaker's paths and names, and the environment that we add.

Sources: sagemaker/latest/dg `your-algorithms-training-algo-running-container`,
`model-train-storage-env-var-summary`, `mms-container-apis`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

TRAIN_COMMAND = "train"
SERVE_COMMAND = "serve"

OBJECTS_VARIABLE = "ATELIER_OBJECTS"
"""Where a container finds objects by key: `s3://<bucket>/` or `file:///<folder>/`."""
BASE_MODELS_VARIABLE = "ATELIER_BASE_MODELS"
"""Folder of base models on the container's disk; `<folder>/<base id>/` in diffusers' layout."""
ML_ROOT_VARIABLE = "ATELIER_ML_ROOT"
"""Where `/opt/ml` is. Unset in a container; the local platform gives each host its own folder."""
PORT_VARIABLE = "SAGEMAKER_BIND_TO_PORT"
"""Port of the model server; 8080 unless set (sagemaker-inference-toolkit's name)."""
MULTI_MODEL_VARIABLE = "SAGEMAKER_MULTI_MODEL"
"""`true` where the platform speaks the multi-model contract."""
TARGET_MODEL_HEADER = "X-Amzn-SageMaker-Target-Model"

MANIFEST_HYPERPARAMETER = "manifest_key"
"""Object key of the training manifest."""
MANIFEST_DIGEST_HYPERPARAMETER = "manifest_digest"
"""Its SHA-256: the program refuses another manifest, and a job of that name tells whose it is."""

FAILURE_CHARACTERS = 1024
"""How much of `/opt/ml/output/failure` becomes the job's FailureReason."""
TRAINING_GRACE_SECONDS = 120
"""From SIGTERM to SIGKILL when a training job stops."""
SERVING_GRACE_SECONDS = 30
"""From SIGTERM to SIGKILL when a model server stops."""
PING_SECONDS = 2
INVOKE_SECONDS = 60
LOAD_SECONDS = 360


@dataclass(frozen=True, slots=True)
class MlFolder:
    """The `/opt/ml` folder of one training host."""

    root: Path = Path("/opt/ml")

    @property
    def hyperparameters(self) -> Path:
        """JSON object; every value is text."""
        return self.root / "input/config/hyperparameters.json"

    @property
    def input_data_config(self) -> Path:
        """JSON object: channel → content type, mode, distribution, record wrapper."""
        return self.root / "input/config/inputdataconfig.json"

    @property
    def resource_config(self) -> Path:
        """JSON object: current_host, hosts (sorted), network_interface_name."""
        return self.root / "input/config/resourceconfig.json"

    def channel(self, name: str) -> Path:
        """Folder of an input channel."""
        return self.root / "input/data" / name

    @property
    def model(self) -> Path:
        """What is here at the end becomes `model.tar.gz`."""
        return self.root / "model"

    @property
    def output_data(self) -> Path:
        """What is here at the end becomes `output.tar.gz`."""
        return self.root / "output/data"

    @property
    def failure(self) -> Path:
        """Why the program failed, for people."""
        return self.root / "output/failure"

    @property
    def checkpoints(self) -> Path:
        """Synced with the job's `CheckpointConfig.S3Uri` while it runs."""
        return self.root / "checkpoints"
