"""A chaos run: lives of a platform one after another, people who use it all the while, the report.

The runner starts the platform's process, ends lives whose end is a matter of its clock, and starts
the next whenever the process is gone. People feed it through the HTTP API. When every onboarding
has ended in the last life, models of a sample are drawn with, the platform is stopped, and what it
left is examined.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from atelier.contracts.clock import Clock
from atelier.contracts.container import ML_ROOT_VARIABLE
from atelier.contracts.documents import canonical_json, encode
from infra.chaos.fleet import Fleet, seconds_of
from infra.chaos.pace import PACES, Pace
from infra.chaos.people import Api, Asked, People, drawn_photos
from infra.chaos.plan import KILLS, Fault, Kind, Life, Plan
from infra.chaos.points import Journal
from infra.local import programs
from infra.local.platform import REPOSITORY

PLATFORM = "app.chaos"
LOOK_SECONDS = 0.05
SILENT_SECONDS = 10.0
"""So long nothing is said before it is said how far the fleet is."""
START_SECONDS = 60.0
STOP_SECONDS = 45.0
MOST_LIVES_BEYOND = 20


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run was like, for the report.

    Attributes:
        asked: every wish and what became of it.
        seconds: from the first start to the last stop.
        lives: how often the platform was started.
        findings: what went wrong that no plan had foreseen, one sentence each.
        drawn: how many models answered for their own owner.
        processes: command lines of what still ran after the last stop.
    """

    asked: tuple[Asked, ...]
    seconds: float
    lives: int
    findings: tuple[str, ...]
    drawn: int
    processes: tuple[str, ...]


@dataclass(slots=True)
class Runner:
    """Runs one plan in one folder.

    Attributes:
        plan: what happens.
        folder: of the run; the platform's home is `home` in it.
        clock: real time.
        say: is told, in a few words, how it goes.
        photos: good photos of a person.
    """

    plan: Plan
    folder: Path
    clock: Clock
    say: Callable[[str], None] = lambda _: None
    photos: Callable[[str], Sequence[bytes]] = drawn_photos
    _over: threading.Event = field(default_factory=threading.Event)
    _fleet: Fleet = field(init=False)
    _said_at: float = 0.0
    _lives: int = 0

    @property
    def home(self) -> Path:
        """The platform's home folder."""
        return self.folder / "home"

    @property
    def pace(self) -> Pace:
        """The settings of the plan's program."""
        return PACES[self.plan.program]

    def run(self) -> Ran:
        """Run the plan to its end."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "plan.json").write_bytes(canonical_json(encode(self.plan)))
        began = self._said_at = self.clock.monotonic_seconds()
        api = Api(self.home, self.clock, self._over)
        asked = tuple(Asked(wish) for wish in self.plan.wishes)
        people, most = People(api, self.photos), self.pace.drawn
        fleet = self._fleet = Fleet(people, asked, self.clock, self._over, self._tell, most)
        journal = Journal(self.folder / "faults.jsonl", clock=self.clock)
        threads = fleet.start(self.pace.posting_threads)
        fixed, each = self.pace.run_seconds
        try:
            self._live(journal, until=began + fixed + each * self.plan.onboardings)
        finally:
            self._over.set()
            for thread in threads:
                thread.join(5)
            api.close()
            fleet.note(journal)
            journal.close()
        return Ran(
            asked=asked,
            seconds=round(self.clock.monotonic_seconds() - began, 1),
            lives=self._lives,
            findings=(*fleet.findings, *dict.fromkeys(api.defects)),
            drawn=fleet.drawn,
            processes=tuple(processes_below(self.home)),
        )

    def _find(self, sentence: str) -> None:
        self._fleet.findings.append(sentence)

    def _tell(self, sentence: str) -> None:
        self._said_at = self.clock.monotonic_seconds()
        self.say(sentence)

    # the platform's lives

    def _live(self, journal: Journal, *, until: float) -> None:
        """Let one life follow another until everything has ended, or time is up."""
        number = 0
        while True:
            number += 1
            life = self.plan.life(number)
            if number > len(self.plan.lives) + MOST_LIVES_BEYOND:
                self._find(f"the platform ended by itself {MOST_LIVES_BEYOND} times")
                return
            self._fleet.allowed = max(self._fleet.allowed, life.fed)
            self._lives = number
            if life.end is None:
                self._fleet.last_life.set()
            with self._process(number) as process:
                self._one_life(life, process, journal, until)
                if self._fleet.settled.is_set() or self.clock.monotonic_seconds() > until:
                    if not self._fleet.settled.is_set():
                        self._find("time was up before every onboarding had ended")
                    self._stop(process)
                    return

    @contextmanager
    def _process(self, number: int) -> Iterator[programs.RunningProgram]:
        """Start the platform's process; it dies with this thread."""
        (self.home / "platform.json").unlink(missing_ok=True)
        words = (sys.executable, "-m", PLATFORM, "--folder", str(self.folder.resolve()))
        program = programs.Program(
            command=(*words, "--life", str(number)),
            working_directory=REPOSITORY,
            environment={
                "PATH": os.defpath,
                "HOME": str(self.folder.resolve()),
                "OMP_WAIT_POLICY": "passive",
                "PYTHONUNBUFFERED": "1",
            },
        )
        log = self.folder / "lives.log"
        process = programs.start(program, log=log, environment={})
        try:
            yield process
        finally:
            process.kill()

    def _one_life(
        self, life: Life, process: programs.RunningProgram, journal: Journal, until: float
    ) -> None:
        """Wait for a life's end, or bring it about; return when the process is gone or all is."""
        began = self.clock.monotonic_seconds()
        answered: float | None = None
        at_its_time = False
        moments = sorted(life.moments, key=lambda fault: fault.at_seconds)
        while process.exit_code is None:
            now = self.clock.monotonic_seconds()
            if self._fleet.settled.is_set() or now > until or self._over.is_set():
                return
            if answered is None and (self.home / "platform.json").exists():
                answered = now
                self._fleet.ahead_seconds = self._ahead()
            if answered is not None:
                while moments and now - answered >= moments[0].at_seconds:
                    self._moment(moments.pop(0), life, journal)
                if life.end is not None and now - answered >= life.limit_seconds:
                    at_its_time = True
                    self._end(life, process, journal)
            elif now - began > START_SECONDS:
                self._find(f"life {life.number} did not answer in {START_SECONDS:g} s")
                process.kill()
            if now - self._said_at >= SILENT_SECONDS:
                self._tell(f"life {life.number}: {self._fleet.standing()}")
            self.clock.sleep(LOOK_SECONDS)
        ended = ending_words(life, process.exit_code, at_its_time=at_its_time)
        self._tell(
            f"life {life.number} of {len(self.plan.lives)}: {ended}; {self._fleet.standing()}"
        )

    def _ahead(self) -> float:
        """Return how far the platform's time, which goes on steadily, is ahead of the machine's."""
        try:
            started = json.loads((self.home / "platform.json").read_bytes())["started_at"]
        except (OSError, ValueError, KeyError):
            return self._fleet.ahead_seconds
        ahead = seconds_of(started) - self.clock.now().timestamp()
        return ahead if abs(ahead) > 1 else 0.0

    def _end(self, life: Life, process: programs.RunningProgram, journal: Journal) -> None:
        """End a life by the runner's clock."""
        assert life.end is not None  # noqa: S101 - asked before
        kind = Kind.KILL_AT_INSTANT if life.end.kind in KILLS else life.end.kind
        journal.note(Fault(kind, seconds=life.limit_seconds), life=life.number)
        if kind is Kind.STOP:
            self._stop(process)
            return
        if kind is Kind.MACHINE_RESTART:
            for pid in pids_below(self.home):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        process.kill()

    def _stop(self, process: programs.RunningProgram) -> None:
        """Ask the platform to go down, and wait until it has."""
        process.terminate()
        deadline = self.clock.monotonic_seconds() + STOP_SECONDS
        while process.exit_code is None and self.clock.monotonic_seconds() < deadline:
            self.clock.sleep(LOOK_SECONDS)
        if process.exit_code != 0:
            code = process.exit_code
            self._find(
                f"asked to stop in life {self._lives}, the platform "
                + (f"did not within {STOP_SECONDS:g} s" if code is None else f"ended with {code}")
            )
            process.kill()

    def _moment(self, fault: Fault, life: Life, journal: Journal) -> None:
        """Do what the runner does by its clock."""
        if fault.kind is Kind.DATABASE_LOCKED:
            path = self.home / fault.point
            if path.exists():
                journal.note(fault, life=life.number)
                threading.Thread(
                    target=self._lock_database, args=(path, fault.seconds), daemon=True
                ).start()
        elif fault.kind is Kind.KILL_SERVER:
            for pid in pids_below(self.home / "endpoint"):
                journal.note(fault, life=life.number)
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _lock_database(self, path: Path, seconds: float) -> None:
        """Hold a database as another process does that writes for long."""
        with suppress(sqlite3.Error):
            connection = sqlite3.connect(path, timeout=5, isolation_level=None)
            try:
                connection.execute("BEGIN IMMEDIATE")
                self.clock.sleep(seconds)
                connection.execute("ROLLBACK")
            finally:
                connection.close()


def ending_words(life: Life, exit_code: int | None, *, at_its_time: bool) -> str:
    """Return how a life ended, beside what was planned."""
    how = "killed" if exit_code and exit_code < 0 else f"ended with exit code {exit_code}"
    if life.end is None:
        return f"{how}, which nobody planned"
    planned = life.end.kind
    if at_its_time and planned in KILLS:
        return f"{how} at its time; {planned} was not reached"
    how = "stopped" if planned is Kind.STOP and exit_code == 0 else how
    return f"{how} as planned ({planned})"


def pids_below(folder: Path) -> list[int]:
    """Return the processes whose `/opt/ml` lies below a folder: training programs, model server."""
    beginning = f"{ML_ROOT_VARIABLE}={folder.resolve()}/".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if any(line.startswith(beginning) for line in entry.read_bytes().split(b"\0")):
                found.append(int(entry.parent.name))
    return found


def processes_below(folder: Path) -> list[str]:
    """Return the command lines of the programs of a platform that still run."""
    found = []
    for pid in pids_below(folder):
        with suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            found.append(b" ".join(words).decode(errors="replace").strip())
    return found
