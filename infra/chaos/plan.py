"""The plan of a chaos run: who asks for what, and what goes wrong when. Pure.

`plan_of` is a function of seed, number of onboardings and training program: the same three give
the same plan on every machine. A run is a row of *lives* of one platform. Each has faults, named by
a point (`ledger.advance`, `objects[tasks].put`, `file:rename`, `event:training-events` …) and by
which call of it in this life they hit, and an end; the last life has none.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from atelier.contracts import ids
from atelier.contracts.documents import canonical_json, encode

TENANT = "default"
ANY_POINT = "any"
"""Counts every call of every point."""


class Program(StrEnum):
    """What training jobs run."""

    REAL = "real"
    NOTHING = "nothing"


class Kind(StrEnum):
    """What goes wrong."""

    KILL_BEFORE = "kill-before-call"
    KILL_AFTER = "kill-after-call"
    KILL_IN_WRITE = "kill-in-write"
    KILL_AT_INSTANT = "kill-at-instant"
    KILL_IN_RECOVERY = "kill-in-recovery"
    MACHINE_RESTART = "machine-restart"
    STOP = "stop"
    KILL_TRAINING = "kill-training-program"
    KILL_SERVER = "kill-model-server"
    INTERRUPT = "spot-interruption"
    THROTTLE = "throttle-storm"
    QUOTA = "quota-gap"
    CAPACITY = "capacity-gap"
    CAPACITY_LATER = "capacity-error-after-create"
    EVENT_LOST = "event-lost"
    EVENT_DOUBLED = "event-doubled"
    EVENT_DELAYED = "event-delayed"
    EVENT_REORDERED = "event-reordered"
    SLOW = "slow-call"
    UNAVAILABLE = "service-unavailable"
    LOST_ANSWER = "lost-answer"
    DISK_FULL = "disk-full"
    DATABASE_LOCKED = "database-locked"
    CORRUPT_CHECKPOINT = "corrupt-checkpoint"
    CORRUPT_PROGRESS = "corrupt-progress"
    CLOCK_JUMP = "clock-jump"
    NO_MEMORY = "no-memory-507"
    CANCEL = "cancelled"
    POSTED_TWICE = "posted-twice"
    POSTED_AT_ONCE = "posted-twice-at-once"
    REJECTED_PHOTOS = "rejected-photos"
    POISONOUS = "poisonous-photos"


KILLS = (Kind.KILL_BEFORE, Kind.KILL_AFTER, Kind.KILL_IN_WRITE, Kind.KILL_IN_RECOVERY)
"""Ends that the platform's own process brings about, at a point."""

ACTS = (
    Kind.CANCEL,
    Kind.POSTED_TWICE,
    Kind.POSTED_AT_ONCE,
    Kind.REJECTED_PHOTOS,
    Kind.POISONOUS,
)
"""What people do; it is written down with the faults, and is none."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong in one life.

    Attributes:
        kind: what.
        point: where; empty when the runner does it by its clock.
        nth: at which call of the point in this life, from 1.
        times: at how many calls in a row.
        seconds: how long it takes, how far a clock jumps, or how long after the platform's first
            answer a life ends.
        at_seconds: of faults without a point: how long after the platform's first answer.
    """

    kind: Kind
    point: str = ""
    nth: int = 1
    times: int = 1
    seconds: float = 0.0
    at_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Life:
    """One life of the platform's process.

    Attributes:
        number: from 1.
        fed: how many onboardings may have been asked for by its end, counted from the first life.
        faults: what goes wrong at points of the platform's process.
        moments: what the runner does by its clock.
        end: how it ends; None: when everything has ended.
        limit_seconds: an end that has not come by then is a kill at that instant.
        clock_seconds: how far the machine's clock is off while it begins.
    """

    number: int
    fed: int
    faults: tuple[Fault, ...] = ()
    moments: tuple[Fault, ...] = ()
    end: Fault | None = None
    limit_seconds: float = 0.0
    clock_seconds: float = 0.0


class Photos(StrEnum):
    """What somebody uploads."""

    GOOD = "good"
    REJECTED = "rejected"
    POISONOUS = "poisonous"
    """Good when they are looked at, damaged when they are trained on."""


class Posts(StrEnum):
    """How often somebody sends the same wish."""

    ONCE = "once"
    TWICE = "twice"
    AT_ONCE = "at-once"


@dataclass(frozen=True, slots=True)
class Wish:
    """One onboarding that somebody asks for.

    Attributes:
        number: from 1, in the order in which they are asked for.
        user: who; a person may ask for several models from the same photos.
        model: its name.
        photos: what is uploaded.
        posts: how often the wish is sent.
        cancel_after_seconds: so long after it was accepted it is cancelled; None: never.
    """

    number: int
    user: str
    model: str
    photos: Photos = Photos.GOOD
    posts: Posts = Posts.ONCE
    cancel_after_seconds: float | None = None

    @property
    def key(self) -> str:
        """Its Idempotency-Key."""
        return f"chaos-{self.number}"


@dataclass(frozen=True, slots=True)
class Plan:
    """All of a run.

    Attributes:
        seed, onboardings, program: what it is a function of.
        wishes: who asks for what.
        lives: the platform's lives, in order.
    """

    seed: int
    onboardings: int
    program: Program
    wishes: tuple[Wish, ...]
    lives: tuple[Life, ...]

    @property
    def digest(self) -> str:
        """Digest of the whole plan: the same for everybody who uses the same seed."""
        return ids.digest_of(canonical_json(encode(self)))[:16]

    def life(self, number: int) -> Life:
        """Return a life; one beyond the plan, after an end that nobody planned, is calm."""
        if number <= len(self.lives):
            return self.lives[number - 1]
        return Life(number, self.onboardings)

    def planned(self) -> Mapping[str, int]:
        """Return how often each kind of fault is planned."""
        return dict(sorted(Counter(str(fault.kind) for _, fault in self.each_fault()).items()))

    def each_fault(self) -> Iterator[tuple[int, Fault]]:
        """Yield every fault with the number of its life, ends included."""
        for life in self.lives:
            for fault in (*life.faults, *life.moments, *((life.end,) if life.end else ())):
                yield life.number, fault
            if life.clock_seconds:
                yield life.number, Fault(Kind.CLOCK_JUMP, seconds=life.clock_seconds)


@dataclass(frozen=True, slots=True)
class _Scale:
    """What a program's pace makes of a plan."""

    lives: int
    limit_seconds: tuple[float, float]
    slow_seconds: tuple[float, float]
    tasks_per_job: int
    models_of_a_person: int


SCALES: Mapping[Program, _Scale] = {
    Program.REAL: _Scale(7, (6.0, 20.0), (0.1, 2.0), 4, 2),
    Program.NOTHING: _Scale(10, (3.0, 9.0), (0.05, 0.6), 20, 4),
}

_WRITES = {
    "ledger.create": 2.0,
    "ledger.advance": 5.0,
    "ledger.annotate": 2.0,
    "ledger.publish": 1.0,
    "ledger.mark_delivered": 1.0,
    "ledger.ring": 0.5,
    "objects[tasks].put": 6.0,
    "executions.start": 1.0,
    "executions.succeed_task": 1.0,
    "notifications.deliver": 1.0,
}
"""Points whose calls change something → how often an onboarding calls them, about."""
_WRITES_OF_A_JOB = {
    "ledger.create_batch": 1.0,
    "ledger.move_batch": 2.0,
    "ledger.reserve_launch": 1.0,
    "ledger.close_epoch": 1.0,
    "training_jobs.create": 1.0,
    "objects[training].put": 20.0,
}
"""The same for a training job."""
_READS = {
    "ledger.read": 4.0,
    "ledger.queued": 0.5,
    "ledger.open_batches": 0.5,
    "ledger.dispatch_state": 0.5,
    "ledger.undelivered": 1.0,
    "objects[tasks].read": 8.0,
    "objects[tasks].info": 8.0,
    "objects[tasks].list": 0.5,
}
_FILES = {
    "file:open": 6.0,
    "file:utime": 5.0,
    "file:rename": 4.0,
    "file:link": 0.6,
    "file:mkdir": 1.0,
}
_DISK = {"disk:open": 6.0, "disk:rename": 4.0, "disk:link": 0.6, "disk:mkdir": 1.0}
_CHANNELS = {
    "event:queue-stream": 1.0,
    "event:training-events": 0.5,
    "event:execution-events": 1.0,
}
_CREATE = "CreateTrainingJob"
_START = "StartTrainingJob"
_PROGRESS = "progress"
_CHECKPOINT = "checkpoint"
_INVOKE = "endpoint.invoke"
_JUMPS_SECONDS = (-7200.0, -600.0, -60.0, 60.0, 600.0, 7200.0)
_SOMETIMES: Sequence[tuple[float, Kind, Mapping[str, float]]] = (
    (0.4, Kind.CAPACITY_LATER, {_START: 0.05}),
    (0.5, Kind.DISK_FULL, _DISK),
    (0.6, Kind.KILL_TRAINING, {_PROGRESS: 3.0}),
    (0.5, Kind.INTERRUPT, {_PROGRESS: 3.0}),
    (0.4, Kind.CORRUPT_PROGRESS, {_PROGRESS: 3.0}),
    (0.5, Kind.CORRUPT_CHECKPOINT, {_CHECKPOINT: 2.0}),
    (0.5, Kind.CLOCK_JUMP, {"ledger.advance": 5.0}),
)
"""What does not happen in every life: how probably, what, and at which points."""
_DATABASES = ("ledger.sqlite3", "executions.sqlite3", "training/jobs.sqlite3")


def plan_of(seed: int, onboardings: int, program: Program) -> Plan:
    """Return the plan of a seed."""
    # A text seeds through SHA-512, the same everywhere.
    draw = random.Random(f"atelier chaos/1 {seed} {onboardings} {program}")  # noqa: S311
    wishes = tuple(_wishes(draw, onboardings, program))
    return Plan(seed, onboardings, program, wishes, tuple(_lives(draw, onboardings, program)))


def owners_of_poison(plan: Plan) -> frozenset[str]:
    """Return the owners whose photos are damaged on their way to the training."""
    return frozenset(
        ids.owner_of(TENANT, wish.user) for wish in plan.wishes if wish.photos is Photos.POISONOUS
    )


def _wishes(draw: random.Random, onboardings: int, program: Program) -> Iterator[Wish]:
    many = SCALES[program].models_of_a_person
    # Every run of 20 has each of these; larger ones about one in twenty-five.
    each = max(1, onboardings // 25)
    numbers = list(range(1, onboardings + 1))
    draw.shuffle(numbers)
    special: dict[int, str] = {}
    for what in ("rejected", "poisonous", "twice", "at-once", "cancel", "cancel"):
        for number in numbers[: each if onboardings >= 6 or not special else 0]:
            special[number] = what
        numbers = numbers[each:]
    for number in range(1, onboardings + 1):
        what = special.get(number, "")
        user, model = f"person-{(number - 1) // many}", f"m{(number - 1) % many}"
        if what in {"rejected", "poisonous"}:
            yield Wish(number, f"{what}-{number}", "m0", Photos(what))
        elif what in {"twice", "at-once"}:
            yield Wish(number, user, model, posts=Posts(what))
        elif what == "cancel":
            after = round(draw.choice([0.0, draw.uniform(0, 2), draw.uniform(2, 12)]), 2)
            yield Wish(number, user, model, cancel_after_seconds=after)
        else:
            yield Wish(number, user, model)


def _lives(draw: random.Random, onboardings: int, program: Program) -> Iterator[Life]:
    scale = SCALES[program]
    ends = _ends(draw, onboardings, scale)
    working = sum(end.kind is not Kind.KILL_IN_RECOVERY for end in ends)
    lived = 0
    for number, end in enumerate(ends, 1):
        if end.kind is Kind.KILL_IN_RECOVERY:
            yield Life(number, _share(onboardings, lived, working), end=end, limit_seconds=4.0)
            continue
        lived += 1
        limit = round(draw.uniform(*scale.limit_seconds), 2)
        yield Life(
            number,
            _share(onboardings, lived, working),
            faults=tuple(_faults(draw, onboardings / working, scale)),
            moments=tuple(_moments(draw, limit)),
            end=end,
            limit_seconds=limit,
            clock_seconds=draw.choice(_JUMPS_SECONDS) if draw.random() < 0.25 else 0.0,
        )
    yield Life(
        len(ends) + 1,
        onboardings,
        faults=(*_faults(draw, onboardings / working, scale, last=True),),
        moments=tuple(_moments(draw, scale.limit_seconds[1])),
    )


def _share(onboardings: int, lived: int, working: int) -> int:
    """Return how many are asked for by the end of that many lives; nobody waits for the last."""
    return min(onboardings, -(-onboardings * lived // working))


def _ends(draw: random.Random, onboardings: int, scale: _Scale) -> Sequence[Fault]:
    """Return how the lives end, all but the last; every way that there is, as far as they reach."""
    share = max(1.0, onboardings / scale.lives)
    calls = {**_WRITES, **{p: n / scale.tasks_per_job for p, n in _WRITES_OF_A_JOB.items()}}
    kinds = [
        Kind.KILL_AFTER,
        Kind.KILL_BEFORE,
        Kind.KILL_IN_WRITE,
        Kind.MACHINE_RESTART,
        Kind.KILL_AT_INSTANT,
        Kind.STOP,
    ]
    # A small fleet would have ended before so many lives; it has some of the kinds, by lot.
    working = max(2, min(scale.lives, onboardings // 4 + 3) - 2)
    draw.shuffle(kinds)
    chosen = [kinds[place % len(kinds)] for place in range(working)]
    ends = []
    for kind in chosen:
        if kind in {Kind.KILL_AFTER, Kind.KILL_BEFORE}:
            ends.append(_at(draw, kind, calls, share))
        elif kind is Kind.KILL_IN_WRITE:
            ends.append(_at(draw, kind, _FILES, share))
        else:
            ends.append(Fault(kind))
    for _ in range(2 if working > 3 else 1):
        # A second kill in a row, before the first is recovered from.
        place = draw.randrange(1, len(ends) + 1)
        ends.insert(place, Fault(Kind.KILL_IN_RECOVERY, ANY_POINT, nth=draw.randrange(1, 60)))
    return ends


def _faults(
    draw: random.Random, share: float, scale: _Scale, *, last: bool = False
) -> Iterator[Fault]:
    """Yield what goes wrong at points of one life."""
    jobs = {point: n / scale.tasks_per_job for point, n in _WRITES_OF_A_JOB.items()}
    writes, everything = {**_WRITES, **jobs}, {**_WRITES, **jobs, **_READS}
    for _ in range(draw.randrange(1, 4)):
        seconds = round(draw.uniform(*scale.slow_seconds), 2)
        yield _at(draw, Kind.SLOW, everything, share, seconds=seconds)
    for _ in range(draw.randrange(1, 4)):
        yield _at(draw, Kind.UNAVAILABLE, everything, share, times=draw.randrange(1, 4))
    for _ in range(draw.randrange(1, 3)):
        yield _at(draw, Kind.LOST_ANSWER, writes, share)
    events = (Kind.EVENT_LOST, Kind.EVENT_DOUBLED, Kind.EVENT_DELAYED, Kind.EVENT_REORDERED)
    for kind in draw.sample(events, 2):
        yield _at(draw, kind, _CHANNELS, share, seconds=round(draw.uniform(0.2, 3), 2))
    refusal = draw.choice((Kind.THROTTLE, Kind.QUOTA, Kind.CAPACITY))
    times = draw.randrange(2, 9) if refusal is Kind.THROTTLE else draw.randrange(1, 3)
    yield Fault(refusal, _CREATE, nth=draw.randrange(1, 3), times=times)
    for chance, kind, calls in _SOMETIMES:
        if draw.random() < chance:
            times = draw.randrange(1, 9) if kind is Kind.DISK_FULL else 1
            seconds = draw.choice(_JUMPS_SECONDS) if kind is Kind.CLOCK_JUMP else 0.0
            yield _at(draw, kind, calls, share, times=times, seconds=seconds)
    if last:
        yield Fault(Kind.KILL_SERVER, _INVOKE, nth=draw.randrange(1, 4))
        yield Fault(Kind.UNAVAILABLE, "objects[endpoint].read", nth=draw.randrange(1, 4))


def _moments(draw: random.Random, limit_seconds: float) -> Iterator[Fault]:
    """Yield what the runner does by its clock in one life."""
    if draw.random() < 0.4:
        database = draw.choice(_DATABASES)
        at, seconds = draw.uniform(0, limit_seconds * 0.7), draw.uniform(0.5, 2.5)
        yield Fault(
            Kind.DATABASE_LOCKED, database, seconds=round(seconds, 2), at_seconds=round(at, 2)
        )
    if draw.random() < 0.2:
        at = round(draw.uniform(0, limit_seconds * 0.7), 2)
        yield Fault(Kind.KILL_SERVER, at_seconds=at)


def _at(
    draw: random.Random,
    kind: Kind,
    calls: Mapping[str, float],
    share: float,
    *,
    times: int = 1,
    seconds: float = 0.0,
) -> Fault:
    """Return a fault at a point, early enough in a life for the point to be called so often."""
    point = draw.choice(sorted(calls))
    expected = max(1, int(calls[point] * share * 0.6))
    return Fault(kind, point, nth=draw.randrange(1, expected + 1), times=times, seconds=seconds)
