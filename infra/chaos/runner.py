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
from datetime import datetime
from pathlib import Path
from typing import Any

from atelier.contracts.clock import Clock, from_iso
from atelier.contracts.container import ML_ROOT_VARIABLE
from atelier.contracts.documents import canonical_json, encode
from infra.chaos.pace import PACES, Pace
from infra.chaos.people import Api, Asked, NoAnswer, People, Refused, drawn_photos
from infra.chaos.plan import KILLS, Fault, Kind, Life, Photos, Plan, Posts
from infra.chaos.points import Journal
from infra.local import programs
from infra.local.platform import REPOSITORY

PLATFORM = "app.chaos"
LOOK_SECONDS = 0.05
WATCH_SECONDS = 0.4
START_SECONDS = 60.0
STOP_SECONDS = 45.0
DRAWING_THREADS = 3
DRAWING_SECONDS = 75.0
MOST_LIVES_BEYOND = 20
ENDED = frozenset({"ready", "failed", "cancelled", "erased"})


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
    _settled: threading.Event = field(default_factory=threading.Event)
    _last_life: threading.Event = field(default_factory=threading.Event)
    _fed: int = 0
    _next: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _findings: list[str] = field(default_factory=list)
    _drawn: int = 0
    _ahead_seconds: float = 0.0
    _began: float = 0.0
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
        began = self._began = self.clock.monotonic_seconds()
        api = Api(self.home, self.clock, self._over)
        asked = tuple(Asked(wish) for wish in self.plan.wishes)
        people = People(api, self.photos)
        journal = Journal(self.folder / "faults.jsonl", clock=self.clock)
        threads = [
            threading.Thread(target=self._guarded, args=(self._feed, people, asked), daemon=True)
            for _ in range(self.pace.posting_threads)
        ]
        threads.append(
            threading.Thread(target=self._guarded, args=(self._watch, people, asked), daemon=True)
        )
        for thread in threads:
            thread.start()
        fixed, each = self.pace.run_seconds
        try:
            self._live(journal, until=began + fixed + each * self.plan.onboardings)
        finally:
            self._over.set()
            for thread in threads:
                thread.join(5)
            api.close()
            self._note_people(asked, journal)
            journal.close()
        return Ran(
            asked=asked,
            seconds=round(self.clock.monotonic_seconds() - began, 1),
            lives=self._lives,
            findings=(*self._findings, *dict.fromkeys(api.defects)),
            drawn=self._drawn,
            processes=tuple(processes_below(self.home)),
        )

    def _tell(self, sentence: str) -> None:
        self.say(f"{self.clock.monotonic_seconds() - self._began:5.0f} s  {sentence}")

    # the platform's lives

    def _live(self, journal: Journal, *, until: float) -> None:
        """Let one life follow another until everything has ended, or time is up."""
        number = 0
        while True:
            number += 1
            life = self.plan.life(number)
            if number > len(self.plan.lives) + MOST_LIVES_BEYOND:
                self._findings.append(f"the platform ended by itself {MOST_LIVES_BEYOND} times")
                return
            self._fed = max(self._fed, life.fed)
            self._lives = number
            if life.end is None:
                self._last_life.set()
            with self._process(number) as process:
                self._one_life(life, process, journal, until)
                if self._settled.is_set() or self.clock.monotonic_seconds() > until:
                    if not self._settled.is_set():
                        self._findings.append("time was up before every onboarding had ended")
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
        moments = sorted(life.moments, key=lambda fault: fault.at_seconds)
        while process.exit_code is None:
            now = self.clock.monotonic_seconds()
            if self._settled.is_set() or now > until or self._over.is_set():
                return
            if answered is None and (self.home / "platform.json").exists():
                answered = now
                self._ahead_seconds = self._ahead()
            if answered is not None:
                while moments and now - answered >= moments[0].at_seconds:
                    self._moment(moments.pop(0), life, journal)
                if life.end is not None and now - answered >= life.limit_seconds:
                    self._end(life, process, journal)
            elif now - began > START_SECONDS:
                self._findings.append(f"life {life.number} did not answer in {START_SECONDS:g} s")
                process.kill()
            self.clock.sleep(LOOK_SECONDS)
        end = life.end.kind if life.end else None
        how = f"exit code {process.exit_code}"
        self._tell(f"life {life.number} of {len(self.plan.lives)} over: {how}, planned {end}")

    def _ahead(self) -> float:
        """Return how far the platform's time, which goes on steadily, is ahead of the machine's."""
        try:
            started = json.loads((self.home / "platform.json").read_bytes())["started_at"]
        except (OSError, ValueError, KeyError):
            return self._ahead_seconds
        ahead = _seconds(started) - self.clock.now().timestamp()
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
            self._findings.append(
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

    # the people

    def _guarded(self, work: Callable[..., None], *given: Any) -> None:
        try:
            work(*given)
        except Exception as problem:  # noqa: BLE001 - the run must end and say so
            if not self._over.is_set():
                self._findings.append(f"the run itself failed: {problem!r}")
                self._over.set()

    def _feed(self, people: People, asked: Sequence[Asked]) -> None:
        """Ask for one onboarding after another, as far as the present life allows."""
        while not self._over.is_set():
            with self._lock:
                mine = self._next if self._next < min(self._fed, len(asked)) else None
                if mine is not None:
                    self._next += 1
            if mine is None:
                if self._next >= len(asked):
                    return
                self._over.wait(0.1)
                continue
            try:
                people.ask(asked[mine])
            except NoAnswer as problem:
                self._findings.append(f"nobody answered wish {mine + 1}: {problem}")
            except Refused as refusal:
                asked[mine].refused, asked[mine].error = str(refusal), refusal.code
                asked[mine].accepted_at = self.clock.monotonic_seconds()

    def _watch(self, people: People, asked: Sequence[Asked]) -> None:
        """Look at everybody, cancel who is to be, until all have ended in the last life."""
        while not self._over.is_set():
            self._over.wait(WATCH_SECONDS)
            with suppress(NoAnswer, Refused):
                for one in asked:
                    self._perhaps_cancel(one, people)
                alive = self._look(people.api, asked)
                waiting = [a for a in asked if a.accepted_at is None]
                if self._last_life.is_set() and not alive and not waiting:
                    self._read_ends(people.api, asked)
                    if all(a.status in ENDED for a in asked if a.ids):
                        self._tell("every onboarding has ended; models are drawn with")
                        self._draw(people.api, asked)
                        self._settled.set()
                        return

    def _perhaps_cancel(self, one: Asked, people: People) -> None:
        after = one.wish.cancel_after_seconds
        if after is None or one.cancelled or one.accepted_at is None or not one.ids:
            return
        if self.clock.monotonic_seconds() - one.accepted_at >= after:
            people.cancel(one)

    def _look(self, api: Api, asked: Sequence[Asked]) -> int:
        """Read everybody who is under way; return how many there are."""
        by_id = {one.ids[0]: one for one in asked if one.ids}
        now, alive, cursor = self.clock.now().timestamp() + self._ahead_seconds, 0, None
        statuses = "&".join(f"status={name}" for name in sorted(_unfinished()))
        while True:
            more = f"&cursor={cursor}" if cursor else ""
            _, page = api.ask(
                "GET", f"/v1/onboardings?limit=200&{statuses}{more}", patience_seconds=5
            )
            for item in page["items"]:
                alive += 1
                outlook = item.get("outlook") or {}
                expected = outlook.get("expected_end_at")
                one = by_id.get(item["id"])
                if one is not None and expected:
                    one.seen.append((now, _seconds(expected)))
            cursor = page["next_cursor"]
            if not cursor:
                return alive

    def _read_ends(self, api: Api, asked: Sequence[Asked]) -> None:
        """Read how everybody ended."""
        cursor, found = None, {}
        while True:
            more = f"&cursor={cursor}" if cursor else ""
            _, page = api.ask("GET", f"/v1/onboardings?limit=200{more}")
            found.update({item["id"]: item for item in page["items"]})
            cursor = page["next_cursor"]
            if not cursor:
                break
        for one in asked:
            item = found.get(one.ids[0]) if one.ids else None
            if item is not None:
                one.status = item["status"]
                one.error = (item["failure"] or {}).get("error", "")
                one.created_at = _seconds(item["created_at"])
                one.ended_at = max(_seconds(entered["at"]) for entered in item["timeline"])

    def _draw(self, api: Api, asked: Sequence[Asked]) -> None:
        """Draw with a sample of models, several at once, and see that each answers for its own."""
        ready = [one for one in asked if one.status == "ready"]
        step = max(1, len(ready) // max(1, self.pace.drawn))
        sample = ready[::step][: self.pace.drawn]
        turns = iter([*sample, *sample[: DRAWING_THREADS + 1]])
        lock = threading.Lock()
        good: set[int] = set()

        def work() -> None:
            while True:
                with lock:
                    one = next(turns, None)
                if one is None:
                    return
                if self._draw_one(api, one):
                    good.add(one.wish.number)

        threads = [threading.Thread(target=work, daemon=True) for _ in range(DRAWING_THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._drawn = len(good)
        if missing := {one.wish.number for one in sample} - good:
            self._findings.append(f"models of wishes {sorted(missing)} could not be drawn with")

    def _draw_one(self, api: Api, one: Asked) -> bool:
        wish = one.wish
        _, models = api.ask("GET", f"/v1/models?user_id={wish.user}")
        mine = [m for m in models["items"] if m["model"] == wish.model]
        if len(mine) != 1 or mine[0]["versions"][-1]["onboarding"] != one.ids[0]:
            self._findings.append(f"model {wish.model} of {wish.user} is not of {one.ids[0]}")
            return False
        body = {
            "user_id": wish.user,
            "prompt": mine[0]["instance_prompt"],
            "denoising_steps": 2,
            "seed": wish.number,
        }
        try:
            _, drawn = api.ask(
                "POST", f"/v1/models/{wish.model}/images", body, patience_seconds=DRAWING_SECONDS
            )
        except (Refused, NoAnswer) as problem:
            self._findings.append(f"drawing with {wish.model} of {wish.user}: {problem}")
            return False
        return bool(drawn["version"] == mine[0]["current"] and drawn["images"])

    def _note_people(self, asked: Sequence[Asked], journal: Journal) -> None:
        """Write down what people did on purpose."""
        for one in asked:
            wish, kinds = one.wish, []
            if one.accepted_at is None:
                continue
            if wish.photos is not Photos.GOOD:
                rejected = wish.photos is Photos.REJECTED
                kinds.append(Kind.REJECTED_PHOTOS if rejected else Kind.POISONOUS)
            if wish.posts is not Posts.ONCE:
                twice = wish.posts is Posts.TWICE
                kinds.append(Kind.POSTED_TWICE if twice else Kind.POSTED_AT_ONCE)
            if one.cancelled:
                kinds.append(Kind.CANCEL)
            for kind in kinds:
                journal.note(Fault(kind), life=0, about=f"wish {wish.number}")


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


def _unfinished() -> frozenset[str]:
    names = ("queued", "claimed", "launching", "training", "trained", "publishing")
    return frozenset(names)


def _seconds(moment: str | datetime) -> float:
    return (from_iso(moment) if isinstance(moment, str) else moment).timestamp()
