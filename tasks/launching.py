"""One batch's way to a training job, each step safe to repeat after a crash anywhere.

    write the batch → mark its requests → seal the manifest → create the job → mark its requests
    launched → complete their tokens → batch launched

Nothing fences SageMaker, so nothing depends on being the only one here: names derive from the
members, the manifest is written once, and a job of that name with that manifest is a success,
whoever created it.
"""

from __future__ import annotations

import itertools
import logging
import math
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import Any

from atelier.contracts import container, ids, logs
from atelier.contracts.base_models import preset
from atelier.contracts.errors import (
    BrokenError,
    CapacityMissing,
    FinalError,
    JobNameTaken,
    QuotaExceeded,
    Throttled,
)
from atelier.contracts.manifest import TrainingManifest
from atelier.contracts.records import Batch, BatchState, RequestRecord
from atelier.contracts.status import TERMINAL, Stamp, Status
from tasks import manifests
from tasks.endings import JOB_ATTEMPT, end, overdue, tell_ended
from tasks.handing_over import hand_over
from tasks.manifests import Sealed
from tasks.planning import PlannedJob, slower
from tasks.ports import Ports, TrainingJob
from tasks.training_job import training_job

log = logging.getLogger(__name__)

MAX_THROTTLES = 6
"""So often in a row a launch is tried anew before the round looks at the rest of its work."""

HELD_BY_QUOTA = "waiting for a free training instance"
HELD_BY_CAPACITY = "waiting for capacity in the Region"
HELD_BY_PACE = "waiting for a turn"
"""How the sentence begins that tells whoever waits what holds their launch up."""


class Outcome(Enum):
    """What became of a batch."""

    LAUNCHED = "launched"
    RELEASED = "released"
    """Nobody needs its job any more."""
    HELD = "held"
    """AWS has no room for it now; it stays sealed and is tried again."""


@dataclass(slots=True)
class Pace:
    """How far apart launches are: the settings' rate, slower while the service asks for that.

    Attributes:
        interval_seconds: between two launches, now.
        ends_at: when the round ends, in the clock's monotonic seconds; nobody sleeps beyond it for
            a turn that is further away than one interval.
    """

    interval_seconds: float
    ends_at: float = math.inf
    least_seconds: float = field(init=False)

    def __post_init__(self) -> None:
        """Remember the settings' own interval."""
        self.least_seconds = self.interval_seconds

    def throttled(self) -> None:
        """Double the interval, up to a limit."""
        self.interval_seconds = slower(self.interval_seconds)

    def accepted(self) -> None:
        """Come back a tenth of the way at each success."""
        step = (self.interval_seconds - self.least_seconds) / 10
        self.interval_seconds -= step


def start_batch(job: PlannedJob, *, epoch: int, pace: Pace, ports: Ports) -> Outcome:
    """Write the batch of a planned job and bring it as far as it goes.

    A batch of the very same people may have been let go before; its name is used up then.
    """
    for again in itertools.count():
        batch, state = ports.ledger.create_batch(
            Batch(
                batch=ids.batch_of(list(job.members), again=again),
                members=job.members,
                attempt=JOB_ATTEMPT,
                epoch=epoch,
                created_at=ports.clock.now(),
            )
        )
        if state in {BatchState.OPEN, BatchState.SEALED}:
            return finish_batch(batch, pace=pace, ports=ports)
        if not any(_waits(member, ports=ports) for member in job.members):
            # Another dispatcher was faster.
            break
    return Outcome.RELEASED


def finish_batch(batch: Batch, *, pace: Pace, ports: Ports) -> Outcome:
    """Bring an open or sealed batch, this dispatcher's or a dead one's, as far as it goes.

    A request that can never be launched ends here and holds up nobody else.
    """
    members = _claim(batch, ports=ports)
    try:
        sealed, members = _seal(members, batch=batch.batch, ports=ports)
        if sealed is None:
            ports.ledger.move_batch(batch.batch, to=BatchState.RELEASED)
            return Outcome.RELEASED
        ports.ledger.move_batch(batch.batch, to=BatchState.SEALED)
        members = _named(members, sealed.manifest, batch=batch.batch, ports=ports)
        existing = _create(sealed, members[0], pace=pace, ports=ports)
    except (Throttled, QuotaExceeded, CapacityMissing) as refusal:
        _tell(members, _sentence(refusal), ports=ports)
        return Outcome.HELD
    except (FinalError, BrokenError) as error:
        for record in members:
            end(record, error, ports=ports)
        ports.ledger.move_batch(batch.batch, to=BatchState.RELEASED)
        return Outcome.RELEASED
    hand_over(batch.batch, sealed.manifest, existing, ports=ports)
    for record in members:
        with logs.about(request=record.request, job=sealed.manifest.job):
            log.info("launched, %d in the job", len(members))
    ports.ledger.move_batch(batch.batch, to=BatchState.LAUNCHED)
    return Outcome.LAUNCHED


def _claim(batch: Batch, *, ports: Ports) -> tuple[RequestRecord, ...]:
    """Mark the members; return those whom this batch has and who still want their job."""
    mine = []
    for request, attempt in batch.members:
        record = ports.ledger.advance(
            request, Stamp(attempt, Status.CLAIMED), batch=batch.batch
        ).record
        if (record.attempt, record.batch) != (attempt, batch.batch):
            continue
        if record.status in TERMINAL:
            # Whoever ended it may have died before everybody knew.
            tell_ended(record, ports=ports)
            continue
        if passed := overdue(record, now=ports.clock.now()):
            end(record, passed, ports=ports)
            continue
        mine.append(record)
    return tuple(mine)


def _waits(member: tuple[str, int], *, ports: Ports) -> bool:
    record = ports.ledger.read(member[0])
    return (record.attempt, record.status) == (member[1], Status.QUEUED)


def _seal(
    members: tuple[RequestRecord, ...], *, batch: str, ports: Ports
) -> tuple[Sealed | None, tuple[RequestRecord, ...]]:
    """Seal the manifest of those members that can be trained; the others end, each alone."""
    sealed, refused = manifests.seal(members, batch=batch, objects=ports.objects)
    while refused:
        for record, error in refused:
            end(record, error, ports=ports)
        gone = {record.request for record, _ in refused}
        members = tuple(record for record in members if record.request not in gone)
        sealed, refused = manifests.seal(members, batch=batch, objects=ports.objects)
    return sealed, members


def _named(
    members: tuple[RequestRecord, ...], manifest: TrainingManifest, *, batch: str, ports: Ports
) -> tuple[RequestRecord, ...]:
    """Return the members that the manifest names; send the others back to their place.

    Another dispatcher may have sealed it before these were claimed. Only who is not named may go:
    a job that names somebody may be running.
    """
    named = {(task.request, task.attempt) for task in manifest.tasks}
    for record in members:
        if (record.request, record.attempt) not in named:
            ports.ledger.release(record.request, attempt=record.attempt, batch=batch)
    return tuple(record for record in members if (record.request, record.attempt) in named)


def _create(
    sealed: Sealed, first: RequestRecord, *, pace: Pace, ports: Ports
) -> TrainingJob | None:
    """Create the job in its turn; return it described if somebody had created it before.

    Raises:
        Throttled: too often in a row, or its turn comes after this round.
        QuotaExceeded, CapacityMissing: no room now.
        JobNameTaken: by a job that is not ours.
        InvalidRequest: SageMaker refuses the definition.
    """
    manifest = sealed.manifest
    hardware = preset(manifest.base, first.given.preset).hardware
    definition = training_job(
        manifest, sealed=sealed.body, hardware=hardware, settings=ports.settings
    )
    for remaining in reversed(range(MAX_THROTTLES)):
        _await_turn(pace, ports=ports)
        try:
            ports.training_jobs.create(definition)
        except Throttled:
            pace.throttled()
            if not remaining or ports.clock.monotonic_seconds() >= pace.ends_at:
                raise
        except JobNameTaken:
            return _ours(ports.training_jobs.describe(manifest.job), definition)
        else:
            pace.accepted()
            return None
    raise AssertionError("the last throttle is raised")


def _await_turn(pace: Pace, *, ports: Ports) -> None:
    """Sleep until this launch's turn, unless that comes long after the round.

    Raises:
        Throttled: it does; the round's rest is slept through, because no other turn comes earlier.
    """
    turn = ports.ledger.reserve_launch(interval_seconds=pace.interval_seconds)
    wait = (turn - ports.clock.now()) / timedelta(seconds=1)
    left = max(0.0, pace.ends_at - ports.clock.monotonic_seconds())
    if wait > max(left, pace.interval_seconds):
        ports.clock.sleep(left)
        raise Throttled(f"the next launch's turn is {wait:.0f} s away")
    ports.clock.sleep(wait)


def _ours(found: TrainingJob, definition: dict[str, Any]) -> TrainingJob:
    """Return a job of our name if it is ours: it reads this batch's manifest.

    It may know another digest of it, when the manifest was lost and written anew. The job's own
    end then tells what became of its tasks, and they go on with their next attempt.
    """
    name = container.MANIFEST_HYPERPARAMETER
    if found.hyperparameters.get(name) != definition["HyperParameters"][name]:
        raise JobNameTaken(
            f"training job {found.name} exists and trains another manifest", job=found.name
        )
    return found


def _tell(members: tuple[RequestRecord, ...], sentence: str, *, ports: Ports) -> None:
    for record in members:
        if record.waiting_for != sentence:
            with logs.about(request=record.request):
                log.info("held: %s", sentence)
            ports.ledger.annotate(record.request, attempt=record.attempt, waiting_for=sentence)


def _sentence(refusal: Throttled | QuotaExceeded | CapacityMissing) -> str:
    """Return what the person who waits is told."""
    if isinstance(refusal, QuotaExceeded):
        return f"{HELD_BY_QUOTA}: {refusal.message}"
    if isinstance(refusal, CapacityMissing):
        return f"{HELD_BY_CAPACITY}: {refusal.message}"
    return f"{HELD_BY_PACE}: the account may start one training job a second"
