"""One batch's way to a training job, each step safe to repeat after a crash anywhere.

    write the batch → mark its requests → seal the manifest → create the job → mark its requests
    launched → complete their tokens → batch launched

Nothing fences SageMaker, so nothing depends on being the only one here: names derive from the
members, the manifest is written once, and a job of that name with that manifest is a success,
whoever created it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import Any

from atelier.contracts import container, ids
from atelier.contracts.base_models import preset
from atelier.contracts.errors import (
    BrokenError,
    CapacityMissing,
    FinalError,
    JobNameTaken,
    QuotaExceeded,
    Throttled,
)
from atelier.contracts.manifest import TrainingManifest, host_name
from atelier.contracts.records import Batch, BatchState, RequestRecord
from atelier.contracts.status import TERMINAL, Stamp, Status
from tasks import manifests
from tasks.endings import JOB_ATTEMPT, end, overdue, tell_ended
from tasks.job_events import OUTCOMES
from tasks.planning import PlannedJob, slower, wait_for
from tasks.ports import Ports, TrainingJob
from tasks.training_job import training_job

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
    """How far apart launches are: the settings' rate, slower while the service asks for that."""

    interval_seconds: float
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
    """Write the batch of a planned job and bring it as far as it goes."""
    batch, state = ports.ledger.create_batch(
        Batch(
            batch=ids.batch_of(list(job.members)),
            members=job.members,
            attempt=JOB_ATTEMPT,
            epoch=epoch,
            created_at=ports.clock.now(),
        )
    )
    if state in {BatchState.LAUNCHED, BatchState.RELEASED}:
        return Outcome.RELEASED
    return finish_batch(batch, pace=pace, ports=ports)


def finish_batch(batch: Batch, *, pace: Pace, ports: Ports) -> Outcome:
    """Bring an open or sealed batch, this dispatcher's or a dead one's, as far as it goes.

    A request that can never be launched ends here and holds up nobody else.
    """
    members = _claim(batch, ports=ports)
    if not members:
        ports.ledger.move_batch(batch.batch, to=BatchState.RELEASED)
        return Outcome.RELEASED
    try:
        sealed = manifests.seal(PlannedJob((members,)), batch=batch.batch, objects=ports.objects)
        ports.ledger.move_batch(batch.batch, to=BatchState.SEALED)
        manifest = manifests.read_manifest(sealed)
        existing = _create(manifest, sealed, members[0], pace=pace, ports=ports)
    except (Throttled, QuotaExceeded, CapacityMissing) as refusal:
        _tell(members, _sentence(refusal), ports=ports)
        return Outcome.HELD
    except (FinalError, BrokenError) as error:
        for record in members:
            end(record, error, ports=ports)
        ports.ledger.move_batch(batch.batch, to=BatchState.RELEASED)
        return Outcome.RELEASED
    for record in members:
        _hand_over(record, manifest, existing, ports=ports)
    ports.ledger.move_batch(batch.batch, to=BatchState.LAUNCHED)
    return Outcome.LAUNCHED


def training_output(record: RequestRecord, *, ports: Ports) -> dict[str, Any]:
    """Return what LaunchTraining's token is completed with."""
    now = ports.clock.now()
    return {
        "attempt": record.attempt,
        "job": record.job,
        "host": record.host,
        "wait_seconds": wait_for(
            record, eta_seconds=None, turn=0, now=now, settings=ports.settings
        ),
        "turn": 0,
        "state": "running",
    }


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


def _create(
    manifest: TrainingManifest,
    sealed: bytes,
    first: RequestRecord,
    *,
    pace: Pace,
    ports: Ports,
) -> TrainingJob | None:
    """Create the job in its turn; return it described if somebody had created it before.

    Raises:
        Throttled: too often in a row.
        QuotaExceeded, CapacityMissing: no room now.
        JobNameTaken: by a job that is not ours.
        InvalidRequest: SageMaker refuses the definition.
    """
    hardware = preset(manifest.base, first.given.preset).hardware
    definition = training_job(manifest, sealed=sealed, hardware=hardware, settings=ports.settings)
    for remaining in reversed(range(MAX_THROTTLES)):
        turn = ports.ledger.reserve_launch(interval_seconds=pace.interval_seconds)
        ports.clock.sleep((turn - ports.clock.now()) / timedelta(seconds=1))
        try:
            ports.training_jobs.create(definition)
        except Throttled:
            pace.throttled()
            if not remaining:
                raise
        except JobNameTaken:
            return _ours(ports.training_jobs.describe(manifest.job), definition)
        else:
            pace.accepted()
            return None
    raise AssertionError("the last throttle is raised")


def _ours(found: TrainingJob, definition: dict[str, Any]) -> TrainingJob:
    name = container.MANIFEST_DIGEST_HYPERPARAMETER
    if found.hyperparameters.get(name) != definition["HyperParameters"][name]:
        raise JobNameTaken(
            f"training job {found.name} exists and trains another manifest", job=found.name
        )
    return found


def _hand_over(
    record: RequestRecord,
    manifest: TrainingManifest,
    existing: TrainingJob | None,
    *,
    ports: Ports,
) -> None:
    """Mark a request launched, then complete its token: the launcher's half of the handshake.

    LaunchTraining writes its token, then reads the status; here the status is written, then the
    token read, in one atomic write. Whoever comes second sees both.
    """
    rank = next(share.rank for share in manifest.hosts if record.request in share.requests)
    stamp = Stamp(record.attempt, Status.LAUNCHING, manifest.job)
    standing = ports.ledger.advance(
        record.request, stamp, host=host_name(rank), waiting_for=""
    ).record
    if (standing.attempt, standing.job) != (record.attempt, manifest.job):
        return
    if existing is not None and (outcome := OUTCOMES.get(existing.status)):
        # It ended before we knew that it began; its event found no request to settle.
        standing = ports.ledger.annotate(
            record.request,
            attempt=record.attempt,
            job_outcome=outcome,
            job_reason=existing.failure_reason,
        ).record
    if standing.token is not None and standing.status not in TERMINAL:
        output = training_output(standing, ports=ports)
        ports.executions.succeed_task(standing.token, output)


def _tell(members: tuple[RequestRecord, ...], sentence: str, *, ports: Ports) -> None:
    for record in members:
        if record.waiting_for != sentence:
            ports.ledger.annotate(record.request, attempt=record.attempt, waiting_for=sentence)


def _sentence(refusal: Throttled | QuotaExceeded | CapacityMissing) -> str:
    """Return what the person who waits is told."""
    if isinstance(refusal, QuotaExceeded):
        return f"{HELD_BY_QUOTA}: {refusal.message}"
    if isinstance(refusal, CapacityMissing):
        return f"{HELD_BY_CAPACITY}: {refusal.message}"
    return f"{HELD_BY_PACE}: the account may start one training job a second"
