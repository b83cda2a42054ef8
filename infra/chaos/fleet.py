"""The fleet of a chaos run: fed, watched, cancelled in part, read at its end and drawn with."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from atelier.contracts.clock import Clock, from_iso
from atelier.contracts.status import TERMINAL, UNFINISHED
from infra.chaos.people import Asked, NoAnswer, People, Refused
from infra.chaos.plan import Fault, Kind, Photos, Posts
from infra.chaos.points import Journal

WATCH_SECONDS = 0.4
DRAWING_THREADS = 3
DRAWING_SECONDS = 75.0
_UNFINISHED = "&".join(f"status={status}" for status in sorted(UNFINISHED))
ENDED = frozenset(status.value for status in TERMINAL)


@dataclass(slots=True)
class Fleet:
    """Everybody who asks in one run, and what they meet. Its threads end with `over`.

    Attributes:
        people: ask through the API.
        asked: every wish and what becomes of it.
        clock: real time.
        over: set when the run ends.
        tell: is told, in a few words, how it goes.
        most_drawn: with how many models is drawn at the end.
        allowed: how many may have asked by now.
        last_life: set when the platform lives its last life.
        settled: set when every onboarding has ended and was looked at.
        ahead_seconds: how far the platform's time is ahead of the machine's.
        findings: what went wrong that no plan had foreseen.
        drawn: how many models answered for their own owner.
    """

    people: People
    asked: Sequence[Asked]
    clock: Clock
    over: threading.Event
    tell: Callable[[str], None]
    most_drawn: int
    allowed: int = 0
    last_life: threading.Event = field(default_factory=threading.Event)
    settled: threading.Event = field(default_factory=threading.Event)
    ahead_seconds: float = 0.0
    findings: list[str] = field(default_factory=list)
    drawn: int = 0
    _next: int = 0
    _alive: int = 0
    _drawing: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, posting_threads: int) -> Sequence[threading.Thread]:
        """Start everybody; return their threads."""
        works = [self._feed] * posting_threads + [self._watch]
        threads = [
            threading.Thread(target=self._guarded, args=(work,), daemon=True) for work in works
        ]
        for thread in threads:
            thread.start()
        return threads

    def standing(self) -> str:
        """Return in a few words how far everybody is."""
        if self._drawing:
            return f"{self.drawn} models drawn with so far"
        asked = sum(one.accepted_at is not None for one in self.asked)
        return f"{asked} of {len(self.asked)} asked for, {self._alive} under way"

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as problem:  # noqa: BLE001 - the run must end and say so
            if not self.over.is_set():
                self.findings.append(f"the run itself failed: {problem!r}")
                self.over.set()

    def _feed(self) -> None:
        """Ask for one onboarding after another, as far as the present life allows."""
        asked = self.asked
        while not self.over.is_set():
            with self._lock:
                mine = self._next if self._next < min(self.allowed, len(asked)) else None
                if mine is not None:
                    self._next += 1
            if mine is None:
                if self._next >= len(asked):
                    return
                self.over.wait(0.1)
                continue
            try:
                self.people.ask(asked[mine])
            except NoAnswer as problem:
                self.findings.append(f"nobody answered wish {mine + 1}: {problem}")
            except Refused as refusal:
                asked[mine].refused, asked[mine].error = str(refusal), refusal.code
                asked[mine].accepted_at = self.clock.monotonic_seconds()

    def _watch(self) -> None:
        """Look at everybody, cancel who is to be, until all have ended in the last life."""
        asked = self.asked
        while not self.over.is_set():
            self.over.wait(WATCH_SECONDS)
            with suppress(NoAnswer, Refused):
                for one in asked:
                    self._perhaps_cancel(one)
                alive = self._look()
                waiting = [a for a in asked if a.accepted_at is None]
                if self.last_life.is_set() and not alive and not waiting:
                    self._read_ends()
                    if all(a.status in ENDED for a in asked if a.ids):
                        self.tell("every onboarding has ended; models are drawn with")
                        self._drawing = True
                        self._draw()
                        self.settled.set()
                        return

    def _perhaps_cancel(self, one: Asked) -> None:
        after = one.wish.cancel_after_seconds
        if after is None or one.cancelled or one.accepted_at is None or not one.ids:
            return
        if self.clock.monotonic_seconds() - one.accepted_at >= after:
            self.people.cancel(one)

    def _look(self) -> int:
        """Read everybody who is under way; return how many there are."""
        by_id = {one.ids[0]: one for one in self.asked if one.ids}
        now, alive, cursor = self.clock.now().timestamp() + self.ahead_seconds, 0, None
        while True:
            more = f"&cursor={cursor}" if cursor else ""
            _, page = self.people.api.ask(
                "GET", f"/v1/onboardings?limit=200&{_UNFINISHED}{more}", patience_seconds=5
            )
            for item in page["items"]:
                alive += 1
                outlook = item.get("outlook") or {}
                expected = outlook.get("expected_end_at")
                one = by_id.get(item["id"])
                if one is not None and expected:
                    one.seen.append((now, seconds_of(expected)))
            cursor = page["next_cursor"]
            if not cursor:
                self._alive = alive
                return alive

    def _read_ends(self) -> None:
        """Read how everybody ended."""
        cursor, found = None, {}
        while True:
            more = f"&cursor={cursor}" if cursor else ""
            _, page = self.people.api.ask("GET", f"/v1/onboardings?limit=200{more}")
            found.update({item["id"]: item for item in page["items"]})
            cursor = page["next_cursor"]
            if not cursor:
                break
        for one in self.asked:
            item = found.get(one.ids[0]) if one.ids else None
            if item is not None:
                one.status = item["status"]
                one.error = (item["failure"] or {}).get("error", "")
                one.created_at = seconds_of(item["created_at"])
                one.ended_at = max(seconds_of(entered["at"]) for entered in item["timeline"])

    def _draw(self) -> None:
        """Draw with a sample of models, several at once, and see that each answers for its own."""
        ready = [one for one in self.asked if one.status == "ready"]
        step = max(1, len(ready) // max(1, self.most_drawn))
        sample = ready[::step][: self.most_drawn]
        turns = iter([*sample, *sample[: DRAWING_THREADS + 1]])
        lock = threading.Lock()
        good: set[int] = set()

        def work() -> None:
            while True:
                with lock:
                    one = next(turns, None)
                if one is None:
                    return
                if self._draw_one(one):
                    good.add(one.wish.number)
                    self.drawn = len(good)

        threads = [threading.Thread(target=work, daemon=True) for _ in range(DRAWING_THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if missing := {one.wish.number for one in sample} - good:
            self.findings.append(f"models of wishes {sorted(missing)} could not be drawn with")

    def _draw_one(self, one: Asked) -> bool:
        api, wish = self.people.api, one.wish
        _, models = api.ask("GET", f"/v1/models?user_id={wish.user}")
        mine = [m for m in models["items"] if m["model"] == wish.model]
        if len(mine) != 1 or mine[0]["versions"][-1]["onboarding"] != one.ids[0]:
            self.findings.append(f"model {wish.model} of {wish.user} is not of {one.ids[0]}")
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
            self.findings.append(f"drawing with {wish.model} of {wish.user}: {problem}")
            return False
        return bool(drawn["version"] == mine[0]["current"] and drawn["images"])

    def note(self, journal: Journal) -> None:
        """Write down what people did on purpose."""
        for one in self.asked:
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


def seconds_of(moment: str) -> float:
    """Return an ISO 8601 time as seconds since 1970."""
    return from_iso(moment).timestamp()
