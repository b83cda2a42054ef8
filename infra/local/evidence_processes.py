"""From /proc and the training service's folders to evidence: what runs and what lies about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from atelier.contracts.container import ML_ROOT_VARIABLE
from infra.doctor.evidence import Process, Training

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
    beginning = f"{ML_ROOT_VARIABLE}={home}/".encode()
    for entry in _PROC.glob("[0-9]*/environ"):
        with suppress(OSError):
            variables = entry.read_bytes().split(b"\0")
            place = next((line for line in variables if line.startswith(beginning)), None)
            pid = int(entry.parent.name)
            if place is not None:
                # Field 22 of proc(5): with it a process id is one process for ever.
                stat = (entry.parent / "stat").read_text()
                started = stat.rpartition(")")[2].split()[19]
                inside = place[len(beginning) :].decode(errors="replace").split("/")
                job = inside[2] if inside[:2] == ["training", "jobs"] and inside[2:] else ""
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
