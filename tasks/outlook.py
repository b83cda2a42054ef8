"""Outlook: one honest sentence on where an onboarding is, what it waits for, and when it ends.

    <where it is and what it waits for>; <when it will be ready>; <what would speed it up>.

Pure: everything it says stands in the record, in the host's progress, in what was measured, or in
the deployment's settings. What nobody can know is said to be unknown. `SITUATIONS` is the table of
all situations, the first that holds speaks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from atelier.contracts.base_models import BASE_MODELS
from atelier.contracts.durations import Phase
from atelier.contracts.errors import (
    CallerError,
    descendants,
    final_error_names,
    passing_error_names,
)
from atelier.contracts.progress import Progress, TrainingState
from atelier.contracts.records import RequestRecord
from atelier.contracts.settings import PresetName
from atelier.contracts.status import TERMINAL, Status
from tasks.attempts import BEGUN_AGAIN
from tasks.background import basis, lasted, past
from tasks.durations import Durations, work
from tasks.endings import due
from tasks.forecast import Ahead, Forecast, forecast
from tasks.job_events import NO_ROOM
from tasks.launching import HELD_BY_CAPACITY, HELD_BY_PACE, HELD_BY_QUOTA
from tasks.planning import BASE_COSTS
from tasks.ports import Execution, TaskSettings
from tasks.settle_execution import STOOD_STILL
from tasks.wording import counted, moment, span

SILENT_SECONDS = 60.0
"""A host writes about once a second; after so long without a word something is wrong."""
WORTH_SAYING_SECONDS = 5.0
"""Below it nobody needs to know what would be faster."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is said of an onboarding.

    Attributes:
        sentence: one sentence.
        phase: which situation this is: a key of `SITUATIONS`.
        expected_end_at: when it will be ready; None when nobody can tell, or it has ended.
        faster: what would speed it up, and truly.
        details: what stands behind the sentence, a line each.
    """

    sentence: str
    phase: str
    expected_end_at: datetime | None = None
    faster: tuple[str, ...] = ()
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Everything that an outlook looks at; see `outlook`."""

    record: RequestRecord
    progress: Progress | None
    ahead: Ahead
    durations: Durations
    settings: TaskSettings
    execution: Execution | None
    coming: Forecast
    now: datetime

    @property
    def held(self) -> bool:
        """Whether something beyond the queue holds its launch up."""
        begins = (HELD_BY_QUOTA, HELD_BY_CAPACITY, HELD_BY_PACE)
        return self.record.waiting_for.startswith(begins)

    @property
    def silent_seconds(self) -> float:
        """How long its host has said nothing."""
        heard = self.record.entered.get(Status.LAUNCHING.value, self.record.updated_at)
        if self.progress is not None:
            heard = max(heard, self.progress.updated_at)
        return max(0.0, (self.now - heard).total_seconds())

    def clock(self, at: datetime) -> str:
        """Return a time as people read it today."""
        return moment(at, now=self.now)


def outlook(
    record: RequestRecord,
    progress: Progress | None,
    *,
    ahead: Ahead,
    durations: Durations,
    settings: TaskSettings,
    now: datetime,
    execution: Execution | None = None,
    company: int = 1,
) -> Outlook:
    """Return what is to be said of an onboarding.

    Args:
        record: the request.
        progress: its host's freshest word, if any.
        ahead: who goes before it.
        durations: what was measured of its base model and preset.
        settings: of the deployment's tasks.
        now: UTC.
        execution: its execution, where somebody looked; None says nothing about it.
        company: how many tasks share its host, this one included.
    """
    coming = forecast(
        record,
        progress,
        ahead=ahead,
        durations=durations,
        settings=settings,
        now=now,
        company=company,
    )
    seen = Seen(
        record=record,
        progress=progress,
        ahead=ahead,
        durations=durations,
        settings=settings,
        execution=execution,
        coming=coming,
        now=now,
    )
    phase = next(name for name, (holds, _) in SITUATIONS.items() if holds(seen))
    where = _without_room(seen) + SITUATIONS[phase][1](seen)
    if record.status in TERMINAL:
        return Outlook(f"{where}.", phase, details=past(record, progress))
    details = (
        *past(record, progress),
        *basis(record, ahead=ahead, durations=durations, now=now),
    )
    if phase in STANDING:
        return Outlook(f"{where}.", phase, details=details)
    faster = _faster(seen)
    speed = f"{faster[0]} would speed it up" if faster else "nothing would speed it up now"
    return Outlook(
        f"{where}; {_when(seen)}; {speed}.",
        phase,
        expected_end_at=coming.ready_at,
        faster=faster,
        details=details,
    )


# Where it is


def _queued(seen: Seen) -> str:
    record, ahead = seen.record, seen.ahead
    if record.queued_at is None and record.status is Status.QUEUED:
        return "Its photos are being looked at before it enters the queue"
    again = _again(record)
    if ahead.place <= 1:
        return f"{again}It is next in the queue for a training job"
    waiting, pace = max(ahead.waiting, ahead.place), seen.settings.launches_per_second
    return (
        f"{again}It waits in the queue at place {ahead.place} of {waiting}, which moves by "
        f"{counted(pace, 'launch', 'launches')} a second"
    )


def _again(record: RequestRecord) -> str:
    if not record.waiting_for.startswith(BEGUN_AGAIN):
        return ""
    why = record.waiting_for.removeprefix(BEGUN_AGAIN).lstrip(": ").rstrip(".")
    return f"Attempt {record.attempt - 1} was lost ({why}) and attempt {record.attempt} begins: "


def _is_held(seen: Seen) -> bool:
    return seen.record.status in {Status.QUEUED, Status.CLAIMED} and seen.held


def _held(seen: Seen) -> str:
    record = seen.record
    # What AWS said to it stands in full among the details.
    why, since = record.waiting_for.partition(":")[0], record.updated_at
    return f"It is {why}, since {seen.clock(since)} ({span(_age(seen, since))})"


def _behind_held(seen: Seen) -> str:
    return (
        f"{_again(seen.record)}It has its place in a batch, and its training job is being created"
    )


def _without_room(seen: Seen) -> str:
    """Return what is told first of a job that began again because its host's disk was full."""
    record = seen.record
    if record.status not in {Status.LAUNCHING, Status.TRAINING}:
        return ""
    return f"{record.waiting_for}: " if record.waiting_for.startswith(NO_ROOM) else ""


def _launching(seen: Seen) -> str:
    record, progress = seen.record, seen.progress
    launched = record.entered.get(Status.LAUNCHING.value, record.updated_at)
    since = _age(seen, launched)
    if progress is not None and progress.state is TrainingState.PREPARING:
        return f"Its host has run for {span(since)} and prepares the photos"
    if progress is not None and progress.state is TrainingState.WAITING:
        return f"Its host runs and loads the base model, {span(since)} after the launch"
    return f"Its training job has been starting for {span(since)}"


def _training(seen: Seen) -> str:
    progress = seen.progress
    step = progress.step if progress else seen.record.step
    steps = progress.steps if progress else seen.record.steps
    speed = ""
    if progress is not None and progress.steps_per_second:
        speed = f" at {progress.steps_per_second:.3g} steps a second"
        expected = seen.durations.expect(seen.record.given, Phase.TRAINING)
        if expected.measured:
            usual = steps / expected.seconds
            speed += f" (usually {usual:.3g})"
    return f"It trains: step {step} of {steps}{speed}"


def _sampling(seen: Seen) -> str:
    return f"Training is over, and its host draws {_samples(seen)} and writes the adapter"


def _samples(seen: Seen) -> str:
    count = len(seen.record.given.samples)
    return "no samples" if not count else "1 sample" if count == 1 else f"{count} samples"


def _found(seen: Seen) -> str:
    look = seen.record.look_at
    when = f" at {seen.clock(look)}" if look and look > seen.now else " now"
    return f"Its host is done, and it waits for its next look{when}"


def _publishing(_: Seen) -> str:
    return "Training is done, and the model is being checked and published"


def _is_silent(seen: Seen) -> bool:
    if seen.record.status not in {Status.LAUNCHING, Status.TRAINING} or seen.record.job is None:
        return False
    if seen.progress is None:
        expected = seen.durations.expect(seen.record.given, Phase.START).seconds
        return seen.silent_seconds > max(SILENT_SECONDS, 3 * expected)
    return not seen.progress.state.ended and seen.silent_seconds > SILENT_SECONDS


def _silent(seen: Seen) -> str:
    record, heard = seen.record, "has not spoken at all"
    if seen.progress:
        step, steps = seen.progress.step, seen.progress.steps
        heard = f"last spoke at step {step} of {steps}, {span(seen.silent_seconds)} ago"
    then = "it may be starting again after an interruption; if its job ends, another attempt begins"
    return (
        f"The host of training job {record.job} {heard}: {then}; until then nobody can say when it "
        "will be ready"
    )


def _is_lost(seen: Seen) -> bool:
    record, progress = seen.record, seen.progress
    if record.status not in {Status.LAUNCHING, Status.TRAINING} or record.job is None:
        return False
    is_done = progress is not None and progress.state is TrainingState.DONE
    return record.job_outcome is not None and not is_done


def _lost(seen: Seen) -> str:
    record, look = seen.record, seen.record.look_at
    assert record.job_outcome is not None  # noqa: S101 - `_is_lost` holds
    when = f" at {seen.clock(look)}" if look and look > seen.now else ""
    return (
        f"Its training job {record.job} {record.job_outcome.value} before it was done, and the "
        f"next look{when} begins another attempt or says why not"
    )


def _is_overdue(seen: Seen) -> bool:
    return seen.record.status not in TERMINAL and seen.now >= due(seen.record)


def _overdue(seen: Seen) -> str:
    deadline, status = seen.clock(due(seen.record)), seen.record.status.value
    return (
        f"Its deadline passed at {deadline} while it was {status}; it ends as failed the next time "
        "that anything looks at it"
    )


def _is_in_place(seen: Seen) -> bool:
    if seen.record.status in TERMINAL:
        return False
    if seen.execution is None:
        return STOOD_STILL in seen.record.waiting_for
    return seen.execution.status not in {"RUNNING", "SUCCEEDED"}


def _in_place(seen: Seen) -> str:
    execution, record = seen.execution, seen.record
    if execution is None:
        # Nobody looked at the execution; the record says what its end told.
        told = record.waiting_for.rstrip(".")
        return f"Its execution failed in place while it was {record.status.value}: {told}"
    error, status = execution.error or "no error was named", record.status.value
    if execution.status in {"ABORTED", "TIMED_OUT"}:
        how = "was stopped by hand" if execution.status == "ABORTED" else "ran out of time"
        return f"Its execution {how} while it was {status} ({error}); it is about to end so"
    if execution.error in final_error_names():
        return f"Its execution failed while it was {status} ({error}); it is about to end so"
    if execution.error in passing_error_names():
        times = f", {counted(record.redrives, 'time', 'times')} so far" if record.redrives else ""
        return (
            f"Its execution failed in place while it was {status}, by an error that passes "
            f"({error}); the platform redrives it by itself{times}"
        )
    return (
        f"Its execution failed in place while it was {status} ({error}), and nothing goes on until "
        f"the cause is gone and somebody says: atelier redrive {record.request}"
    )


# How it ended


def _ready(seen: Seen) -> str:
    record = seen.record
    at = record.entered[Status.READY.value]
    whole = (at - record.created_at).total_seconds()
    parts = lasted(record, seen.progress)
    slowest = max(parts, key=lambda part: part[1], default=None)
    said = f", of which {slowest[0]} took the longest, {span(slowest[1])}" if slowest else ""
    return f"It became ready as {record.version} at {seen.clock(at)} after {span(whole)}{said}"


def _without_model(seen: Seen) -> str:
    record = seen.record
    at = record.entered.get(record.status.value, record.updated_at)
    whole = span((at - record.created_at).total_seconds())
    if record.failure is None:
        return f"It was {record.status.value} at {seen.clock(at)} after {whole}"
    failure = record.failure
    why = f"{failure.error}: {failure.message.rstrip('.')}"
    do = f". {failure.do.rstrip('.')}" if failure.do else ""
    if failure.error not in CALLERS_OWN:
        do += f". Try it once more: atelier retry {record.request}"
    how = "failed" if record.status is Status.FAILED else f"was {record.status.value}"
    return f"It {how} at {seen.clock(at)} after {whole} ({why}){do}"


Situation = tuple[Callable[[Seen], bool], Callable[[Seen], str]]


def _stands(*statuses: Status) -> Callable[[Seen], bool]:
    return lambda seen: seen.record.status in statuses


def _host(state: TrainingState) -> Callable[[Seen], bool]:
    return lambda seen: (
        seen.record.status in {Status.LAUNCHING, Status.TRAINING}
        and seen.progress is not None
        and seen.progress.state is state
    )


def _trains(seen: Seen) -> bool:
    """Whether steps are made; a job that is said to train may still be loading its base model."""
    if seen.progress is None:
        return seen.record.status is Status.TRAINING and seen.record.step > 0
    return _host(TrainingState.TRAINING)(seen)


SITUATIONS: dict[str, Situation] = {
    "ready": (_stands(Status.READY), _ready),
    "failed": (_stands(Status.FAILED), _without_model),
    "cancelled": (_stands(Status.CANCELLED), _without_model),
    "erased": (_stands(Status.ERASED), _without_model),
    "failed in place": (_is_in_place, _in_place),
    "overdue": (_is_overdue, _overdue),
    "held": (_is_held, _held),
    "queued": (_stands(Status.QUEUED), _queued),
    "claimed": (_stands(Status.CLAIMED), _behind_held),
    "done": (_host(TrainingState.DONE), _found),
    "lost": (_is_lost, _lost),
    "sampling": (_host(TrainingState.SAMPLING), _sampling),
    "silent": (_is_silent, _silent),
    "training": (_trains, _training),
    "launching": (_stands(Status.LAUNCHING, Status.TRAINING), _launching),
    "publishing": (_stands(Status.TRAINED, Status.PUBLISHING), _publishing),
}
"""Situation → when it holds, and what it is said to be. The first that holds speaks."""
CALLERS_OWN = frozenset(leaf.name() for leaf in descendants(CallerError))
"""Errors that come again when the same is asked again."""
STANDING = frozenset({"failed in place", "overdue", "lost", "silent"})
"""Situations in which nothing goes on, so that no end can be told."""


# When, and what would be faster


def _when(seen: Seen) -> str:
    ready = seen.coming.ready_at
    if ready is None:
        if seen.record.waiting_for.startswith(HELD_BY_CAPACITY):
            return "nobody can say when AWS has room"
        return "when an instance falls free is not known"
    left = max(0.0, (ready - seen.now).total_seconds())
    guess = "" if seen.coming.measured else " (a guess, as nothing like it was measured yet)"
    return f"it should be ready in about {span(left)}, at {seen.clock(ready)}{guess}"


def _faster(seen: Seen) -> tuple[str, ...]:
    """Return what would truly make this onboarding, or the same one asked anew, end sooner."""
    record, found = seen.record, []
    waits = record.status in {Status.QUEUED, Status.CLAIMED}
    if _without_room(seen):
        found.append("room on that disk")
    if waits and record.waiting_for.startswith(HELD_BY_QUOTA):
        found.append("a higher quota of training instances")
    elif waits and not seen.held:
        slots = (seen.ahead.place - 1) / seen.settings.launches_per_second
        if slots >= WORTH_SAYING_SECONDS:
            found.append("more launches_per_second, as far as the account's quota allows them,")
    ready = seen.coming.ready_at
    if ready is None or record.status not in {Status.QUEUED, Status.CLAIMED, Status.LAUNCHING}:
        return tuple(found)
    cheaper = _cheaper(record)
    if cheaper is not None:
        name, share = cheaper
        found.append(f"the preset {name} with {share:.0%} of the work, asked for anew,")
    return tuple(found)


def _cheaper(record: RequestRecord) -> tuple[str, float] | None:
    """Return the next cheaper preset, and its share of this training's work."""
    given = record.given
    mine = given.hyperparameters
    cost = BASE_COSTS[given.base]
    if work(given, Phase.TRAINING) < max(WORTH_SAYING_SECONDS, cost.start_seconds / 4):
        return None
    presets = BASE_MODELS[given.base].presets
    smaller = [
        (hyper.steps * hyper.batch_size / (mine.steps * mine.batch_size), name.value)
        for name, hyper in presets.items()
        if name is not PresetName.NANO  # It proves the way, it does not make a likeness.
        and hyper.steps * hyper.batch_size < mine.steps * mine.batch_size
    ]
    if not smaller:
        return None
    share, name = max(smaller)
    return name, share


def _age(seen: Seen, at: datetime) -> float:
    return max(0.0, (seen.now - at).total_seconds())
