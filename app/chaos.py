"""A local platform under a plan's faults: what `app.local` runs, with one life's history.

`python -m app.chaos --folder DIR --life N` is what a chaos run starts and kills. The folder holds
`plan.json`; the platform's home is `home` in it, and what happens is told in `faults.jsonl`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from app import local
from atelier.contracts.clock import SteadyClock, SystemClock
from atelier.contracts.container import TRAIN_COMMAND
from atelier.contracts.documents import decode, parse_json
from infra.chaos import disk
from infra.chaos.faulty import ChaosFaults, JumpingClock
from infra.chaos.pace import PACES
from infra.chaos.plan import KILLS, Fault, Kind, Life, Plan, Program, owners_of_poison
from infra.chaos.points import Journal, Points
from infra.local import programs
from infra.local.platform import REPOSITORY, LocalPlatform, LocalSettings
from infra.local.time_mark import MARK_FILE, TimeMark


@dataclass(frozen=True, slots=True)
class PlatformMachines:
    """A platform's programs, to be switched off; see `infra.chaos.faulty.Machines`."""

    platform: LocalPlatform

    def running(self) -> Sequence[tuple[str, str, int]]:
        """Return (job, host, process id) of every training program that runs."""
        return self.platform.training.running()

    def interrupt(self, job: str) -> None:
        """Take a job's instances away."""
        self.platform.training.interrupt(job)

    def server(self) -> int | None:
        """Return the model server's process id."""
        return self.platform.endpoint.pid()


def build(
    settings: LocalSettings,
    *,
    on_failure: Callable[[], None],
    plan: Plan,
    faults: ChaosFaults,
    clock: JumpingClock,
) -> LocalPlatform:
    """Return the platform with the faults of one life, at the pace of the plan's program."""
    pace = PACES[plan.program]
    mark = TimeMark(settings.home / MARK_FILE)
    platform = LocalPlatform(
        replace(
            settings,
            tasks=pace.tasks,
            training=pace.training,
            serving=pace.serving,
            reconcile_seconds=pace.reconcile_seconds,
            schedule_seconds=pace.schedule_seconds,
            threads=1,
        ),
        clock=SteadyClock(earliest=mark.read(), keep=mark.keep, machine=clock.now),
        faults=faults,
        training_program=_nothing() if plan.program is Program.NOTHING else None,
        on_failure=on_failure,
    )
    faults.reach(PlatformMachines(platform))
    return platform


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one life of the platform; return its exit code if it ends by itself."""
    parser = argparse.ArgumentParser(prog="python -m app.chaos", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="folder of the chaos run")
    parser.add_argument("--life", type=int, required=True, help="which life this is, from 1")
    given = parser.parse_args(arguments)
    plan = decode(Plan, parse_json((given.folder / "plan.json").read_bytes()))
    life, real = plan.life(given.life), SystemClock()
    journal = Journal(given.folder / "faults.jsonl", clock=real)
    points = Points(in_the_process(life), life=life.number, journal=journal, clock=real)
    home = given.folder / "home"
    home.mkdir(parents=True, exist_ok=True)
    disk.install(points, home, answers=(home / "platform.json").exists)
    clock = JumpingClock(real, timedelta(seconds=life.clock_seconds))
    if life.clock_seconds:
        journal.note(Fault(Kind.CLOCK_JUMP, seconds=life.clock_seconds), life=life.number)
    faults = ChaosFaults(points, poisoned=owners_of_poison(plan), clock=clock)
    platforms: list[LocalPlatform] = []

    def built(settings: LocalSettings, *, on_failure: Callable[[], None]) -> LocalPlatform:
        made = build(settings, on_failure=on_failure, plan=plan, faults=faults, clock=clock)
        platforms.append(made)
        return made

    code = local.main(["--home", str(home), "--port", "0"], build=built)
    for platform in platforms:
        # A container that has no room answers 507, and the platform unloads another model.
        for _ in range(platform.endpoint.state().unloads):
            journal.note(Fault(Kind.NO_MEMORY), life=life.number)
    return code


def in_the_process(life: Life) -> tuple[Fault, ...]:
    """Return the faults of a life that the platform's own process brings about."""
    own_end = life.end is not None and life.end.kind in KILLS
    return (*life.faults, life.end) if own_end and life.end else life.faults


def _nothing() -> programs.Program:
    return programs.Program(
        command=(sys.executable, "-S", "-m", "infra.chaos.trains_nothing", TRAIN_COMMAND),
        working_directory=REPOSITORY,
        environment={"PATH": os.defpath, "PYTHONUNBUFFERED": "1"},
    )


if __name__ == "__main__":
    sys.exit(main())
