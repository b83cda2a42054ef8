"""LaunchRound: work on the queue for a while, then say whether there is more.

It first finishes what a dispatcher that died left behind. The epoch is closed only if nobody rang
since the last scan that found nothing. A batch that meets an error that passes is tried again by
the next scan and holds up no other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Any

from atelier.contracts.errors import WaitError
from tasks.launching import Outcome, Pace, finish_batch, start_batch
from tasks.payload import whole_number
from tasks.planning import PlannedJob, plan
from tasks.ports import Ports

log = logging.getLogger(__name__)

SCAN = 100
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 10.0


def run(given: Mapping[str, Any], *, ports: Ports) -> dict[str, Any]:
    """Launch who waits: `{"epoch"}` → `{"epoch", "more"}`."""
    epoch = whole_number(given, "epoch")
    ledger, clock = ports.ledger, ports.clock
    ends_at = clock.monotonic_seconds() + ports.settings.round_seconds
    work = _Round(
        epoch=epoch,
        ends_at=ends_at,
        pace=Pace(1.0 / ports.settings.launches_per_second, ends_at=ends_at),
        ports=ports,
    )
    pause = FIRST_PAUSE_SECONDS
    while not work.over:
        state = ledger.dispatch_state()
        if state.epoch != epoch:
            # Somebody closed this epoch; the next one's dispatcher works now.
            return {"epoch": epoch, "more": False}
        match work.scan():
            case _Scan.NOTHING_LEFT:
                if ledger.close_epoch(epoch=epoch, doorbell=state.doorbell):
                    return {"epoch": epoch, "more": False}
            case _Scan.HELD:
                clock.sleep(min(pause, work.remaining_seconds))
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            case _Scan.OUT_OF_TIME:
                break
    return {"epoch": epoch, "more": True}


class _Scan(Enum):
    NOTHING_LEFT = "nothing left"
    HELD = "held"
    OUT_OF_TIME = "out of time"


@dataclass(slots=True)
class _Round:
    """One round's work.

    Attributes:
        tried: (request, attempt) that this round has started; an index that lags behind may show
            them in the queue for a moment longer.
    """

    epoch: int
    ends_at: float
    pace: Pace
    ports: Ports
    tried: set[tuple[str, int]] = field(default_factory=set)

    @property
    def remaining_seconds(self) -> float:
        return max(0.0, self.ends_at - self.ports.clock.monotonic_seconds())

    @property
    def over(self) -> bool:
        return self.remaining_seconds <= 0

    def scan(self) -> _Scan:
        """Finish what is open, then start who is queued, until nobody is or something holds."""
        held = False
        for batch, _ in self.ports.ledger.open_batches():
            if self.over:
                return _Scan.OUT_OF_TIME
            outcome = _outlasting(
                partial(finish_batch, batch, pace=self.pace, ports=self.ports), batch.batch
            )
            held = held or outcome is Outcome.HELD
        # Who is claimed can no longer be overtaken: claim nobody while there is no room.
        return _Scan.HELD if held else self._start_queued()

    def _start_queued(self) -> _Scan:
        while queued := self.ports.ledger.queued(limit=SCAN):
            fresh = [r for r in queued if (r.request, r.attempt) not in self.tried]
            if not fresh:
                return _Scan.HELD
            for job in plan(fresh, most=self.ports.settings.tasks_per_job):
                if self.over:
                    return _Scan.OUT_OF_TIME
                if self._start(job) is Outcome.HELD:
                    return _Scan.HELD
                self.tried.update(job.members)
        return _Scan.NOTHING_LEFT

    def _start(self, job: PlannedJob) -> Outcome:
        start = partial(start_batch, job, epoch=self.epoch, pace=self.pace, ports=self.ports)
        return _outlasting(start, f"of {job.members[0][0]}")


def _outlasting(bring: Callable[[], Outcome], batch: str) -> Outcome:
    """Bring a batch as far as it goes; one that meets an error that passes is held.

    Each of its steps may be repeated, as after a crash.
    """
    try:
        return bring()
    except WaitError as problem:
        log.warning("batch %s is tried again: %s", batch, problem)
        return Outcome.HELD
