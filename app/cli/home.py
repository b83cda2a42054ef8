"""The local platform as a process: where its state lies, whether it runs, start and stop.

Whether a platform runs in a home folder, and as which process, is what the lock there says.
`platform.json` beside it is written by the platform once it answers, and removed when it stops
cleanly; without the lock it is what a platform left that failed or was killed, and is taken over.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO

from app.cli.exits import CommandFailed, Exit
from atelier.contracts.clock import Clock
from atelier.contracts.documents import decode, parse_json
from infra.local.home import UNKNOWN_PROCESS, lock_holder, open_home

MODULE = "app.local"
LOOPBACK = "127.0.0.1"
START_SECONDS = 60.0
STOP_SECONDS = 40.0
LOOK_SECONDS = 0.1
LAST_LINES = 12
MAX_SAID_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Running:
    """What platform.json says of a running platform."""

    pid: int
    api_url: str
    sagemaker_url: str
    key: str
    version: str
    started_at: str

    def to_dict(self, home: Path) -> dict[str, Any]:
        """Return what `atelier up --json` prints."""
        return {
            "pid": self.pid,
            "api_url": self.api_url,
            "sagemaker_url": self.sagemaker_url,
            "key": self.key,
            "version": self.version,
            "started_at": self.started_at,
            "home": str(home),
        }


class Processes(Protocol):
    """The operating system's processes, as far as starting and stopping needs them."""

    def start(self, command: list[str]) -> int:
        """Start a process that outlives this one; return its id."""
        ...

    def said(self, pid: int) -> str:
        """Return the end of what a process said that was started here."""
        ...

    def holder(self, home: Path) -> int | None:
        """Return the process that runs a platform in a home, as `infra.local.home.lock_holder`."""
        ...

    def command(self, pid: int) -> str | None:
        """Return a living process's command line, or None when there is none of that id."""
        ...

    def port_is_free(self, port: int) -> bool:
        """Return whether a process of this machine could listen on a port of loopback."""
        ...

    def terminate(self, pid: int) -> None:
        """Ask a process to end (SIGTERM)."""
        ...


class SystemProcesses:
    """The real ones."""

    def __init__(self) -> None:
        """Begin with nothing started."""
        self._pipes: dict[int, int] = {}
        self._said: dict[int, bytes] = {}

    def start(self, command: list[str]) -> int:
        """Start a process in a session of its own, so that Ctrl-C here does not reach it.

        It speaks into a pipe, which a full disk does not close.
        """
        listening, speaking = os.pipe()
        os.set_blocking(listening, False)
        try:
            started = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=speaking,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        finally:
            os.close(speaking)
        self._pipes[started.pid], self._said[started.pid] = listening, b""
        # It is meant to outlive us; Popen would warn of a child that nobody waited for.
        started.returncode = 0
        return started.pid

    def said(self, pid: int) -> str:
        """Listen to its pipe for as long as something comes."""
        with suppress(BlockingIOError):
            while more := os.read(self._pipes[pid], MAX_SAID_BYTES):
                self._said[pid] = (self._said[pid] + more)[-MAX_SAID_BYTES:]
        return self._said[pid].decode(errors="replace")

    def holder(self, home: Path) -> int | None:
        """Look at the lock."""
        return lock_holder(home)

    def command(self, pid: int) -> str | None:
        """Ask /proc where there is one, else `ps`."""
        if Path("/proc/self").exists():
            try:
                status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                return None
            return None if status == "Z" else b" ".join(words).decode(errors="replace")
        listed = subprocess.run(
            ["ps", "-p", str(pid), "-o", "stat=,command="],  # noqa: S607 - ps is the system's own
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()
        return None if not listed or listed.startswith("Z") else listed

    def port_is_free(self, port: int) -> bool:
        """Listen there for a moment."""
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((LOOPBACK, port))
            except OSError:
                return False
        return True

    def terminate(self, pid: int) -> None:
        """Send SIGTERM; a process that has gone meanwhile is what was wanted."""
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            return


def running(home: Path, processes: Processes) -> Running | None:
    """Return the platform that runs in `home` and answers, or None when there is none."""
    path = home / "platform.json"
    if home.exists() and not home.is_dir():
        raise CommandFailed(
            Exit.REFUSED, f"{home} is a file; name a folder", do="Name another one with --home."
        )
    holder = processes.holder(home)
    if holder is None:
        return None
    try:
        found = parse_json(path.read_bytes())
        named = {name: found[name] for name in Running.__slots__}
        told = decode(Running, named, "platform.json")
        here = Path(found.get("home", home)).resolve() == home.resolve()
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as problem:
        said = f"{problem} is missing" if isinstance(problem, KeyError) else problem
        raise CommandFailed(
            Exit.BROKEN,
            f"{path} does not read: {said}",
            do=f"Stop process {holder}, which runs there, and remove it.",
        ) from problem
    # A copy of another home's folder may bring that one's platform.json along.
    return told if here and holder in {told.pid, UNKNOWN_PROCESS} else None


def fell(home: Path) -> bool:
    """Tell, where no platform runs, whether the last one there failed or was killed."""
    return (home / "platform.json").exists()


def refuse_second(home: Path, processes: Processes) -> None:
    """Refuse to go on where a platform runs.

    Raises:
        CommandFailed: one does, with what can be done.
    """
    if already := running(home, processes):
        raise CommandFailed(
            Exit.REFUSED,
            f"a platform runs in {home} already: {already.api_url}, process {already.pid}",
            do="Use it, stop it with `atelier down`, or start another one with --home and --port.",
            error="AlreadyRunning",
            facts=already.to_dict(home),
        )


def refuse_taken(port: int, processes: Processes) -> None:
    """Refuse to go on where nothing can listen on a port.

    Raises:
        CommandFailed: another program has it, or it may not be used.
    """
    if not processes.port_is_free(port):
        raise CommandFailed(
            Exit.REFUSED,
            f"port {port} on {LOOPBACK} is taken",
            do="Choose another with --port; --port 0 takes any free one.",
            error="PortTaken",
            facts={"port": port},
        )


def start(home: Path, port: int, *, processes: Processes, clock: Clock) -> Running:
    """Start a platform in the background and wait until it answers.

    Raises:
        CommandFailed: it ended, or stayed silent, instead of starting.
    """
    open_home(home)
    (home / "logs").mkdir(exist_ok=True, mode=0o700)
    log = home / "logs" / "start.log"
    log.unlink(missing_ok=True)
    command = [sys.executable, "-m", MODULE, "--home", str(home), "--port", str(port)]
    pid = processes.start([*command, "--log", str(log)])
    deadline = clock.monotonic_seconds() + START_SECONDS
    while clock.monotonic_seconds() < deadline:
        said = processes.said(pid)
        if (told := running(home, processes)) and told.pid == pid:
            _keep(said, log)
            return told
        if processes.command(pid) is None:
            said = processes.said(pid)
            _keep(said, log)
            raise CommandFailed(
                Exit.BROKEN,
                f"the platform ended while it started:\n{_tail(said)}",
                do=f"Correct that and start again; its logs are {log} and {home / 'platform.log'}.",
                error="StartFailed",
            )
        clock.sleep(LOOK_SECONDS)
    _keep(processes.said(pid), log)
    processes.terminate(pid)
    raise CommandFailed(
        Exit.UNREACHABLE,
        f"the platform did not answer within {START_SECONDS:.0f} s and was stopped",
        do=f"Its logs are {log} and {home / 'platform.log'}.",
        error="StartFailed",
    )


def stop(home: Path, *, processes: Processes, clock: Clock) -> int | None:
    """Stop the platform, also one that only starts, and wait until it is gone.

    Returns its process id, or None when none ran.

    Raises:
        CommandFailed: it did not end in time.
    """
    told = running(home, processes)
    pid = told.pid if told else processes.holder(home)
    if not pid:
        return None
    processes.terminate(pid)
    deadline = clock.monotonic_seconds() + STOP_SECONDS
    while clock.monotonic_seconds() < deadline:
        if processes.command(pid) is None:
            return pid
        clock.sleep(LOOK_SECONDS)
    raise CommandFailed(
        Exit.BROKEN,
        f"process {pid} still runs {STOP_SECONDS:.0f} s after it was asked to stop",
        do=f"Look at {home / 'platform.log'}; nothing is lost if it is killed.",
        error="StopFailed",
    )


def _keep(said: str, log: Path) -> None:
    """Write what was said down as well, where there is room for it."""
    with suppress(OSError), _open_log(log) as file:
        file.write(said)


def _open_log(log: Path) -> TextIO:
    """Open a log that its owner alone may read, at its end."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    return os.fdopen(file, "w", encoding="utf-8")


def _tail(said: str) -> str:
    lines = said.splitlines()
    return "\n".join(f"  {line}" for line in lines[-LAST_LINES:]) or "  (it said nothing)"
