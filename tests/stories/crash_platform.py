# ruff: noqa: TID251 - a program of its own
"""A platform that is killed where it is told to be: `live` is the main function of its process.

It trains nothing and draws nothing, but all else is the real platform. A point is a method of a
port (`ledger.publish`), a status that the ledger enters (`to:claimed`), a word in `training:` or
`executions:` for those services' own writes, or `any`. At the count-th of them the process kills
itself with SIGKILL, `before` or `after` it. Point `none` never comes: this life goes on until every
onboarding has ended and its person was told. Point `program` kills no platform but so many
training programs, and `instance` takes so many instances away.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from atelier.contracts.status import TERMINAL
from infra.local.faults import NoFaults, Reader
from infra.local.platform import LocalPlatform, LocalSettings
from infra.local.programs import Program
from infra.local.training import TrainingSettings
from tasks.ports import Objects, Ports, TaskSettings

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 60.0
LEDGERS_OWN = frozenset({"advance", "publish", "release", "retry"})


@dataclass
class Executioner:
    """Kills this process at the count-th passing of a point, before or after what happens there."""

    point: str
    count: int
    moment: str
    passed: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def around(self, points: set[str], act: Callable[[], Any]) -> Any:
        """Do something that passes points."""
        mine = self.point == "any" or self.point in points
        with self.lock:
            self.passed += mine
            due = mine and self.passed == self.count
        if due and self.moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            return act()
        finally:  # What is refused has happened, too.
            if due:
                os.kill(os.getpid(), signal.SIGKILL)


class Guarded:
    """A port all of whose methods pass the executioner."""

    def __init__(self, port: Any, name: str, executioner: Executioner) -> None:
        self._port = port
        self._name = name
        self._executioner = executioner

    def __getattr__(self, method: str) -> Any:
        bound = getattr(self._port, method)
        if not callable(bound):
            return bound

        def call(*given: Any, **more: Any) -> Any:
            points = {f"{self._name}.{method}"}
            if self._name == "ledger" and method in LEDGERS_OWN:
                points |= {f"to:{it.status}" for it in given if hasattr(it, "status")}
            return self._executioner.around(points, lambda: bound(*given, **more))

        return call


@dataclass(frozen=True)
class KillingFaults(NoFaults):
    """Stands at every port and at the training service's bucket."""

    executioner: Executioner

    def objects(self, objects: Objects, *, reader: Reader) -> Objects:
        return Guarded(objects, f"{reader}-objects", self.executioner)  # type: ignore[return-value]

    def ports(self, ports: Ports) -> Ports:
        guarded = {
            name: Guarded(getattr(ports, name), name, self.executioner)
            for name in ("ledger", "training_jobs", "notifications", "executions")
        }
        return replace(ports, **guarded)


def settings_of(home: Path) -> LocalSettings:
    return LocalSettings(
        home=home,
        upload_url="http://localhost/local/uploads",
        tasks=TaskSettings(launches_per_second=50, round_seconds=2, most_wait_seconds=1),
        training=TrainingSettings(
            creates_per_second=0, sync_seconds=0.05, grace_seconds=2, shutdown_seconds=2
        ),
    )


def open_platform(home: Path, executioner: Executioner) -> LocalPlatform:
    python, path = (sys.executable, "-S"), {"PATH": os.defpath, "ATELIER_STEP_SECONDS": "0.02"}
    return LocalPlatform(
        settings_of(home),
        faults=KillingFaults(executioner),
        training_program=Program(
            (*python, "-m", "infra.chaos.trains_nothing", "train"), REPOSITORY, path
        ),
        serving_program=Program(
            (*python, "-m", "tests.local.model_program", "8", "serve"), REPOSITORY, path
        ),
    )


def all_told(platform: LocalPlatform) -> bool:
    """Whether every onboarding has ended, its execution, too, and everybody was told."""
    records, _ = platform.ledger.scan_requests(unfinished=False, cursor=None, limit=100)
    running = [
        record
        for record in records
        if record.status not in TERMINAL
        or platform.ports.executions.describe("onboarding", record.execution).status == "RUNNING"
    ]
    return bool(records) and not running and not platform.ledger.undelivered(limit=1)


def hurt(platform: LocalPlatform, point: str) -> bool:
    """Kill one training program that runs, or take its instance away; False while none runs."""
    for job, _, pid in platform.training.running():
        if point == "program":
            os.kill(pid, signal.SIGKILL)
        else:
            platform.training.interrupt(job)
        return True
    return False


def live(home: Path, point: str, count: int, moment: str, *, complaints: Path) -> None:
    """Live one life in this process and end it: 0, or 1 when the last one was not over in time."""
    with complaints.open("ab") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
    platform = open_platform(home, Executioner(point, count, moment))
    platform.start()
    to_hurt = count if point in {"program", "instance"} else 0
    latest = time.monotonic() + PATIENCE_SECONDS
    while not all_told(platform):
        to_hurt -= bool(to_hurt and hurt(platform, point))
        if time.monotonic() > latest:
            sys.exit(1)
        time.sleep(0.05)
    platform.stop()
