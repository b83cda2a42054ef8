"""Training services by platform: each job works until it is told how to end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal, Protocol

from atelier.contracts.clock import ManualClock
from atelier.contracts.errors import (
    AtelierError,
    CapacityMissing,
    QuotaExceeded,
    Throttled,
)
from infra.local.training import TrainingService, TrainingSettings
from tasks.ports import TrainingJobs
from tests.contracts.stages.bucket import local_bucket
from tests.fakes.services import ScriptedTrainingJobs
from tests.local.bench import QUICK, TrainingBench, definition, until

Operation = Literal["describe", "stop"]


class JobsStage(Protocol):
    """A training service without limits, until `refuse` and `throttle`."""

    port: TrainingJobs

    def end(self, name: str, status: str, reason: str = "the loss is not finite") -> None:
        """Let a job end so; `reason` is what a failing program says."""

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Let the service work until something holds."""

    def refuse(self, kind: type[AtelierError]) -> None:
        """Bring about that the next job is refused so."""

    def throttle(self, operation: Operation) -> None:
        """Bring about that the next such request for the job `the-last-one` is one too many."""


WORKING = """
verdict = pathlib.Path(__file__).with_name("verdict")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
while not verdict.exists():
    time.sleep(0.01)
if reason := verdict.read_text():
    (ML / "output/failure").write_text(reason)
    sys.exit(1)
"""
LIMITS: Mapping[type[AtelierError], TrainingSettings] = {
    Throttled: replace(QUICK, creates_per_second=0.0001),
    QuotaExceeded: replace(QUICK, instance_quota=1),
    CapacityMissing: replace(QUICK, capacity={"ml.g5.xlarge": 1}),
}


class LocalJobsStage:
    def __init__(self, folder: Path) -> None:
        self._verdict = folder / "verdict"
        self._bench = TrainingBench(folder, local_bucket(folder))
        self.port: TrainingService = self._bench.service(WORKING)

    def end(self, name: str, status: str, reason: str = "the loss is not finite") -> None:
        if status == "Stopped":
            self.port.stop(name)
        else:
            written = self._verdict.with_suffix(".new")
            written.write_text(reason if status == "Failed" else "")
            written.replace(self._verdict)
        self.wait_until(lambda: self.port.describe(name).ended_at is not None)
        self._verdict.unlink(missing_ok=True)

    def wait_until(self, holds: Callable[[], bool]) -> None:
        until(self.port, holds)

    def refuse(self, kind: type[AtelierError]) -> None:
        self._limit(LIMITS[kind])
        self.port.create(definition("the-last-one"))

    def throttle(self, operation: Operation) -> None:
        self.port.create(definition("the-last-one"))
        self._limit(replace(QUICK, **{f"{operation}s_per_second": 0.0001}))
        getattr(self.port, operation)("the-last-one")

    def _limit(self, settings: TrainingSettings) -> None:
        self.port.close()
        self.port = self._bench.service(WORKING, settings=settings)

    def close(self) -> None:
        for service in self._bench.services:
            service.close()


class ScriptedJobsStage:
    def __init__(self, _folder: Path) -> None:
        self.port = ScriptedTrainingJobs(ManualClock())

    def end(self, name: str, status: str, reason: str = "the loss is not finite") -> None:
        self.port.finish(name, status, reason if status == "Failed" else "")

    def wait_until(self, holds: Callable[[], bool]) -> None:
        assert holds()

    def refuse(self, kind: type[AtelierError]) -> None:
        self.port.refusals.append(kind("as the test wants it"))

    def throttle(self, operation: Operation) -> None:
        refusals = {
            "describe": self.port.describe_refusals,
            "stop": self.port.stop_refusals,
        }
        refusals[operation].append(Throttled("as the test wants it"))

    def close(self) -> None:
        pass


@contextmanager
def local_jobs(folder: Path) -> Iterator[JobsStage]:
    with closing(LocalJobsStage(folder)) as stage:
        yield stage


@contextmanager
def scripted_jobs(folder: Path) -> Iterator[JobsStage]:
    yield ScriptedJobsStage(folder)


JOBS: Mapping[str, Callable[[Path], AbstractContextManager[JobsStage]]] = {
    "local": local_jobs,
    "scripted": scripted_jobs,
}
