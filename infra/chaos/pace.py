"""How a platform under chaos is set: small waits, small packs, a model server with little room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from infra.chaos.plan import Program
from infra.local.training import TrainingSettings
from tasks.ports import TaskSettings


@dataclass(frozen=True, slots=True)
class Pace:
    """Settings of a platform under chaos.

    Attributes:
        tasks, training, serving, reconcile_seconds, schedule_seconds: as in
            `infra.local.platform.LocalSettings`.
        posting_threads: how many people ask at once.
        run_seconds: how long a run may take: as much, and as much more for each onboarding.
        drawn: how many models are drawn with at the end, at most.
    """

    tasks: TaskSettings
    training: TrainingSettings
    serving: Mapping[str, str] = field(default_factory=dict)
    posting_threads: int = 3
    reconcile_seconds: float = 5.0
    schedule_seconds: float = 10.0
    run_seconds: tuple[float, float] = (300.0, 10.0)
    drawn: int = 8


_LITTLE_ROOM = {"ATELIER_SERVE_HOST_MEBIBYTES": "6", "ATELIER_SERVE_SLOTS": "2"}
"""Room for a few real adapters: drawing with more makes the server answer 507."""

PACES: Mapping[Program, Pace] = {
    Program.REAL: Pace(
        tasks=TaskSettings(
            launches_per_second=2,
            round_seconds=10,
            most_wait_seconds=10,
            tasks_per_job=4,
            quiet_seconds=10,
        ),
        training=TrainingSettings(
            creates_per_second=2, instance_quota=2, grace_seconds=5, shutdown_seconds=3
        ),
        serving=_LITTLE_ROOM,
    ),
    Program.NOTHING: Pace(
        tasks=TaskSettings(
            launches_per_second=10,
            round_seconds=10,
            most_wait_seconds=10,
            tasks_per_job=20,
            quiet_seconds=5,
        ),
        training=TrainingSettings(
            creates_per_second=10, instance_quota=4, grace_seconds=2, shutdown_seconds=2
        ),
        serving=_LITTLE_ROOM,
        posting_threads=4,
        run_seconds=(240.0, 0.4),
    ),
}
