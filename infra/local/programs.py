"""Programs of the images as processes of this machine: started clean, ended for certain.

A program is what an image would start (`train`, `serve`) with the folder and environment that the
image would give it. Each runs in a process group of its own, through `launcher.py`, so that it dies
with the platform: an orphan never trains or serves. There is no adoption; after a crash
`end_strays` ends what the kernel could not (children of a program, systems without parent-death
signals), by recorded process id and start time, never by name.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

LAUNCHER = Path(__file__).with_name("launcher.py")
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Program:
    """What an image starts.

    Attributes:
        command: executable and arguments, `train` or `serve` last.
        working_directory: the image's WORKDIR.
        environment: the image's ENV and nothing of the platform's own environment.
    """

    command: tuple[str, ...]
    working_directory: Path
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """Which process it was: a process id alone comes back, with its start time it does not."""

    pid: int
    started: str


class RunningProgram:
    """One started program and everything that it started in its group."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        """Keep the process and who it is."""
        self._process = process
        self._code: int | None = None
        self.identity = ProcessIdentity(process.pid, start_of(process.pid) or "")

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal's number, or None while it runs.

        Once it is known nothing of its group runs any more, as in a container whose first process
        has ended.
        """
        if self._code is None:
            self._code = self._process.poll()
            if self._code is not None:
                _kill_group(self._process.pid)
        return self._code

    def terminate(self) -> None:
        """Send SIGTERM to the program itself, as `docker stop` does."""
        if self.exit_code is None:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to the whole group and wait until the program is gone."""
        if self.exit_code is None:
            _kill_group(self._process.pid)
            self._code = self._process.wait()


def start(program: Program, *, log: Path, environment: Mapping[str, str]) -> RunningProgram:
    """Start a program with `environment` on top of its own, its output appended to `log`.

    The kernel ties the child to the calling *thread*: call it from one that lives as long as the
    platform, or the child is killed when the thread ends.

    Raises:
        OSError: log, folder or interpreter cannot be used.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), *program.command],
            cwd=program.working_directory,
            env={**program.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return RunningProgram(process)


def is_running(known: ProcessIdentity) -> bool:
    """Tell whether this very process still runs; one that got its id later is another."""
    return bool(known.started) and start_of(known.pid) == known.started


def end_strays(processes: Iterable[ProcessIdentity], *, variable: str, folder: Path) -> None:
    """Kill what an earlier platform left running.

    That is: the recorded processes with their groups, and every process of ours whose environment
    says that `variable` is a path below `folder`.
    """
    for known in processes:
        if is_running(known):
            _kill_group(known.pid)
    for pid, _ in working_below(folder, variable=variable):
        _kill(pid)


def working_below(folder: Path, *, variable: str) -> Iterator[tuple[int, str]]:
    """Yield process ids, and the rest of the path, of all whose `variable` is one below `folder`.

    Of this user's processes, where the system tells their environment (/proc).
    """
    beginning = f"{variable}={folder}/".encode()
    for entry in _PROC.glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            variables = entry.read_bytes().split(b"\0")
            for place in (v[len(beginning) :] for v in variables if v.startswith(beginning)):
                yield int(entry.parent.name), place.decode(errors="replace")


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def start_of(pid: int) -> str | None:
    """Return when a process began, in the system's own words, or None when there is none.

    A process id comes back; with this it is one process for ever.
    """
    if _PROC.is_dir():
        try:
            stat = (_PROC / str(pid) / "stat").read_text()
        except OSError:
            return None
        # Field 22 (proc(5)); the name in field 2 may hold spaces and brackets, so count behind it.
        return stat.rpartition(")")[2].split()[19]
    told = subprocess.run(
        ["/bin/ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return told.stdout.strip() or None
