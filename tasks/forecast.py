"""Forecast: when a request will be ready, phase by phase, from where it stands now.

    its turn in the queue → start of its job → training → samples → the look that finds it done
    → publishing

A host that trains is believed more the further it is; before that, measured durations are, and
the table of costs where nothing was measured. A request is ready only when somebody looks: the
looks to come are played through exactly as SyncCheckpoints decides them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from atelier.contracts.durations import Phase
from atelier.contracts.progress import Progress, TrainingState
from atelier.contracts.records import RequestRecord
from atelier.contracts.status import Status
from tasks.durations import Durations
from tasks.launching import HELD_BY_CAPACITY, HELD_BY_QUOTA
from tasks.planning import wait_for
from tasks.ports import TaskSettings

BELIEVED_SHARE = 0.3
"""From this share of its steps on, a host's own speed is all that counts."""
MOST_LOOKS = 1000


@dataclass(frozen=True, slots=True)
class Ahead:
    """Who goes before a request that waits.

    Attributes:
        place: its own place among all who wait for a launch, 1 first; 0 when it does not wait.
        waiting: how many wait.
        own: how many of those before it are of the same tenant.
        ends: when the training jobs under way are expected to end, soonest first.
    """

    place: int = 0
    waiting: int = 0
    own: int = 0
    ends: Sequence[datetime] = field(default=())


@dataclass(frozen=True, slots=True)
class Forecast:
    """When what happens; None for what nobody can tell.

    Attributes:
        launched_at: its job is created.
        trained_at: its host is done.
        found_at: the look that finds that.
        ready_at: it is published.
        measured: how many measurements stand behind it, the fewest of any of the host's phases to
            come; a host that trains has measured itself.
    """

    launched_at: datetime | None
    trained_at: datetime | None
    found_at: datetime | None
    ready_at: datetime | None
    measured: int


def forecast(
    record: RequestRecord,
    progress: Progress | None,
    *,
    ahead: Ahead,
    durations: Durations,
    settings: TaskSettings,
    now: datetime,
    company: int = 1,
) -> Forecast:
    """Return when a request under way will be ready.

    Args:
        record: the request; one that has ended has no forecast.
        progress: its host's freshest word, if any.
        ahead: who goes before it.
        durations: what was measured of its base model and preset.
        settings: of the deployment's tasks.
        now: UTC.
        company: how many tasks share its host, this one included.
    """
    entered = record.entered
    publishing = durations.expect(record.given, Phase.PUBLISHING)
    trained = entered.get(Status.TRAINED.value)
    if trained is not None:
        passed = max(0.0, (now - trained).total_seconds())
        left = durations.remaining(record.given, Phase.PUBLISHING, passed=passed)
        ready = now + _seconds(left)
        return Forecast(_launched(record), trained, trained, ready, publishing.measured)
    launched = _launched(record) or _turn(record, ahead, settings=settings, now=now)
    if launched is None:
        return Forecast(None, None, None, None, 0)
    speaks, done, measured = _done(record, progress, durations, launched, now=now, company=company)
    found = found_at(record, done, launched, speaks=speaks, settings=settings, now=now)
    ready = found + _seconds(publishing.seconds)
    return Forecast(launched, done, found, ready, measured)


def _launched(record: RequestRecord) -> datetime | None:
    if record.job is None:
        return None
    return record.entered.get(Status.LAUNCHING.value)


def _turn(
    record: RequestRecord, ahead: Ahead, *, settings: TaskSettings, now: datetime
) -> datetime | None:
    """Return when a request that waits will be launched; None when only AWS knows."""
    interval, place = 1.0 / settings.launches_per_second, max(1, ahead.place)
    if record.waiting_for.startswith(HELD_BY_CAPACITY):
        return None
    if not record.waiting_for.startswith(HELD_BY_QUOTA):
        return now + _seconds(place * interval)
    # Each instance that falls free takes one; what starts there ends too late to count here.
    if place > len(ahead.ends):
        return None
    return max(now, ahead.ends[place - 1]) + _seconds(interval)


def _done(
    record: RequestRecord,
    progress: Progress | None,
    durations: Durations,
    launched: datetime,
    *,
    now: datetime,
    company: int,
) -> tuple[datetime, datetime, int]:
    """Return when the host begins to tell its estimate, when it is done, and what was measured."""
    given = record.given
    start, training, sampling = (
        durations.expect(given, phase, company=company)
        for phase in (Phase.START, Phase.TRAINING, Phase.SAMPLING)
    )
    if progress is not None and progress.state is TrainingState.DONE:
        return now, progress.entered.get(TrainingState.DONE.value, progress.updated_at), 1
    if progress is not None and progress.state is TrainingState.SAMPLING:
        passed = _since(progress, now=now)
        left = durations.remaining(given, Phase.SAMPLING, passed=passed, company=company)
        return now, now + _seconds(left), max(sampling.measured, 1)
    if progress is not None and progress.state is TrainingState.TRAINING:
        left = _training_left(progress, training.seconds, measured=training.measured, now=now)
        # The host measures itself: its word counts as one measurement.
        measured = max(min(training.measured, sampling.measured), 1)
        return now, now + _seconds(left + sampling.seconds), measured
    if progress is None and record.step and record.eta_seconds is not None:
        # A list shows what was synced last; the host's word has aged since.
        return now, max(now, record.updated_at + _seconds(record.eta_seconds)), 1
    measured = min(start.measured, training.measured, sampling.measured)
    rest = training.seconds + sampling.seconds
    if launched > now:
        begins = launched + _seconds(start.seconds)
    else:
        passed = (now - launched).total_seconds()
        begins = now + _seconds(durations.remaining(given, Phase.START, passed=passed))
    return begins, begins + _seconds(rest), measured


def _training_left(
    progress: Progress, expected_seconds: float, *, measured: int, now: datetime
) -> float:
    """Return how long the steps that are left take, as the host's speed and all others' say.

    The host's speed is its average so far; its first steps are no more than a hint.
    """
    steps, left = progress.steps, progress.steps - progress.step
    each = expected_seconds / steps
    if progress.steps_per_second:
        said = 1.0 / progress.steps_per_second
        believed = min(1.0, progress.step / (BELIEVED_SHARE * steps)) if measured else 1.0
        each = believed * said + (1.0 - believed) * each
    age = max(0.0, (now - progress.updated_at).total_seconds())
    return max(0.0, left * each - age)


def _since(progress: Progress, *, now: datetime) -> float:
    entered = progress.entered.get(progress.state.value, progress.updated_at)
    return max(0.0, (now - entered).total_seconds())


def found_at(
    record: RequestRecord,
    done: datetime,
    launched: datetime,
    *,
    speaks: datetime,
    settings: TaskSettings,
    now: datetime,
) -> datetime:
    """Return the first look at or after `done`: each look's wait follows what it will be told.

    Before `speaks` the host says nothing of its end, and the look goes by the table. A look that is
    late is expected at once.
    """
    look, turn = record.look_at, record.looks
    if look is None:
        first = wait_for(record, eta_seconds=None, turn=0, now=launched, settings=settings)
        look, turn = launched + _seconds(first), 0
    look = max(look, now)
    for _ in range(MOST_LOOKS):
        if look >= done:
            return look
        turn += 1
        eta = (done - look).total_seconds() if look >= speaks else None
        look += _seconds(wait_for(record, eta_seconds=eta, turn=turn, now=look, settings=settings))
    return look


def _seconds(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)
