"""From /proc and the training service's folders to evidence: what runs and what lies about."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from atelier.contracts.container import ML_ROOT_VARIABLE
from infra.doctor.evidence import Process, Training
from infra.local.programs import start_of, working_below

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class FoundProgram:
    """A process whose environment says that it works in a folder of this platform."""

    seen: Process
    started: str


def programs(home: Path) -> frozenset[FoundProgram] | None:
    """Return the programs of the platform in `home`; None where the system does not tell."""
    if not _PROC.is_dir():
        return None
    return frozenset(_programs(home.absolute()))


def _programs(home: Path) -> Iterator[FoundProgram]:
    for pid, place in working_below(home, variable=ML_ROOT_VARIABLE):
        inside = place.split("/")
        job = inside[2] if inside[:2] == ["training", "jobs"] and inside[2:] else ""
        if (started := start_of(pid)) is not None:
            yield FoundProgram(Process(pid, job), started)


def with_folders(training: Training, folder: Path) -> Training:
    """Return the jobs with whether their hosts' folders lie on the disk."""
    try:
        there = {path.name for path in folder.iterdir() if path.is_dir()}
    except FileNotFoundError:
        there = set()
    return replace(
        training,
        jobs={name: replace(job, folder=name in there) for name, job in training.jobs.items()},
        strange_folders=tuple(sorted(there - set(training.jobs))),
    )
