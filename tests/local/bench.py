"""A training service with a program of the test's own, and how to wait for what it does."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atelier.contracts.clock import Clock, SystemClock
from infra.local.faults import Faults
from infra.local.job_record import JobRecord
from infra.local.programs import Program
from infra.local.training import TrainingService, TrainingSettings
from tasks.ports import Objects

BUCKET = "s3://atelier/"
ROLE = "arn:aws:iam::000000000000:role/atelier-training"
PATIENCE_SECONDS = 20

QUICK = TrainingSettings(
    creates_per_second=0,
    describes_per_second=0,
    stops_per_second=0,
    lists_per_second=0,
    sync_seconds=0.02,
    shutdown_seconds=1,
)


def definition(name: str = "job-1", **changes: Any) -> dict[str, Any]:
    """Return a definition as the launcher makes them, with `changes` on top."""
    return {
        "TrainingJobName": name,
        "RoleArn": ROLE,
        "AlgorithmSpecification": {"TrainingImage": "image:1", "TrainingInputMode": "File"},
        "HyperParameters": {"manifest_key": f"manifests/{name}.json"},
        "OutputDataConfig": {"S3OutputPath": f"{BUCKET}training-output/"},
        "CheckpointConfig": {"S3Uri": f"{BUCKET}checkpoints/{name}/"},
        "ResourceConfig": {
            "InstanceType": "ml.g5.xlarge",
            "InstanceCount": 1,
            "VolumeSizeInGB": 50,
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
        **changes,
    }


def hosts(count: int) -> dict[str, Any]:
    return {"InstanceType": "ml.g5.xlarge", "InstanceCount": count, "VolumeSizeInGB": 50}


@dataclass
class TrainingBench:
    """Makes services on one folder, one after the other, as a platform that is restarted does."""

    folder: Path
    objects: Objects
    services: list[TrainingService] = field(default_factory=list)
    events: list[Mapping[str, Any]] = field(default_factory=list)

    def program(self, body: str) -> Program:
        """Return a program that runs `body`: `ML` is its `/opt/ml`, `save` writes a checkpoint."""
        script = self.folder / "program.py"
        script.write_text(
            "import json, os, pathlib, signal, sys, time\n"
            "ML = pathlib.Path(os.environ['ATELIER_ML_ROOT'])\n"
            "def save(name, text=''):\n"
            "    hidden = ML / 'checkpoints' / ('.' + name)\n"
            "    hidden.write_text(text)\n"
            "    hidden.replace(ML / 'checkpoints' / name)\n" + textwrap.dedent(body)
        )
        return Program(
            command=(sys.executable, "-I", "-S", str(script), "train"),
            working_directory=self.folder,
            environment={"PATH": "/usr/bin:/bin", "BAKED_IN": "yes"},
        )

    def service(
        self,
        body: str = "",
        *,
        clock: Clock | None = None,
        settings: TrainingSettings = QUICK,
        faults: Faults | None = None,
        on_event: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> TrainingService:
        service = TrainingService(
            folder=self.folder / "training",
            logs=self.folder / "logs",
            objects=self.objects,
            bucket_urls=(BUCKET,),
            program=self.program(body),
            clock=clock or SystemClock(),
            on_event=on_event or self.events.append,
            settings=settings,
            faults=faults,
        )
        self.services.append(service)
        return service

    def run(self, body: str, *, settings: TrainingSettings = QUICK, **changes: Any) -> JobRecord:
        """Create one job, run it to its end and return it."""
        service = self.service(body, settings=settings)
        service.create(definition(**changes))
        return finish(service)


def finish(service: TrainingService, name: str = "job-1") -> JobRecord:
    """Give the service turns until a job has ended."""
    until(service, lambda: service.describe_record(name).ended)
    return service.describe_record(name)


def until(service: TrainingService, holds: Callable[[], bool]) -> None:
    """Give the service turns until something holds."""
    turns_until(service.tick, holds)


def turns_until(turn: Callable[[], object], holds: Callable[[], bool]) -> None:
    clock = SystemClock()
    latest = clock.monotonic_seconds() + PATIENCE_SECONDS
    while not holds():
        assert clock.monotonic_seconds() < latest, "waited in vain"
        turn()
        clock.sleep(0.005)


def log_of(bench: TrainingBench, job: str = "job-1", host: str = "algo-1") -> str:
    return (bench.folder / "logs" / job / f"{host}.log").read_text()
