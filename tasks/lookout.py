"""Lookout: read what outlooks need, once for as many requests as are shown together.

A list costs one read of the queue, one of the measurements of each base model and preset in it, and
one of all that live if somebody waits for the quota. What only one request's own page shows (its
execution, its company) is read for that page alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain

from atelier.contracts.base_models import BASE_MODELS
from atelier.contracts.durations import Measurement
from atelier.contracts.errors import NotFound
from atelier.contracts.progress import Progress
from atelier.contracts.records import RequestRecord
from atelier.contracts.status import TERMINAL, Status
from tasks.durations import Durations
from tasks.forecast import Ahead, forecast
from tasks.launching import HELD_BY_QUOTA
from tasks.outlook import Outlook, outlook
from tasks.ports import Execution, Ports

QUEUE_READ = 1000
"""Whoever stands behind so many is told that many go first."""
PAGE = 200
LIVE_READ = 1000
"""Where more live, nobody can cheaply tell when an instance falls free, and nothing is said."""
WAITING = frozenset({Status.QUEUED, Status.CLAIMED})
IN_JOBS = frozenset({Status.LAUNCHING, Status.TRAINING})


@dataclass(slots=True)
class Lookout:
    """What is read of the ledger, kept for one answer: make a new one for the next."""

    ports: Ports
    _queue: list[RequestRecord] | None = field(default=None, init=False)
    _durations: dict[tuple[str, str], Durations] = field(default_factory=dict, init=False)
    _ends: Sequence[datetime] | None = field(default=None, init=False)

    def of(self, record: RequestRecord, progress: Progress | None) -> Outlook:
        """Return a request's outlook as a list shows it."""
        return self._outlook(record, progress)

    def closely(self, record: RequestRecord, progress: Progress | None) -> Outlook:
        """Return a request's outlook with a look at its execution and its company."""
        carried = self.ports.ledger.requests_of_job(record.job) if record.job else ()
        company = sum(
            other.host == record.host and other.status not in TERMINAL for other in carried
        )
        return self._outlook(
            record, progress, execution=self._execution(record), company=max(1, company)
        )

    def _outlook(
        self,
        record: RequestRecord,
        progress: Progress | None,
        *,
        execution: Execution | None = None,
        company: int = 1,
    ) -> Outlook:
        return outlook(
            record,
            progress,
            ahead=self._ahead(record),
            durations=self._measured(record),
            settings=self.ports.settings,
            now=self.ports.clock.now(),
            execution=execution,
            company=company,
        )

    def _execution(self, record: RequestRecord) -> Execution | None:
        if record.status in TERMINAL:
            return None
        with suppress(NotFound):
            return self.ports.executions.describe("onboarding", record.execution)
        return None

    def _measured(self, record: RequestRecord) -> Durations:
        key = (record.given.base, record.given.preset)
        if key not in self._durations:
            measured = self.ports.ledger.measurements(base=key[0], preset=key[1])
            found = Durations.of(measured)
            if found.lacks():
                found = Durations.of(measured, others=self._of_other_presets(*key))
            self._durations[key] = found
        return self._durations[key]

    def _of_other_presets(self, base: str, preset: str) -> Sequence[Measurement]:
        others = [name for name in BASE_MODELS[base].presets if name != preset]
        found = [self.ports.ledger.measurements(base=base, preset=name) for name in others]
        return sorted(chain.from_iterable(found), key=lambda m: m.at, reverse=True)

    def _ahead(self, record: RequestRecord) -> Ahead:
        if record.status not in WAITING:
            return Ahead()
        queue = self._waiting()
        names = [waiting.request for waiting in queue]
        place = names.index(record.request) + 1 if record.request in names else len(names) + 1
        before = queue[: place - 1]
        own = sum(other.given.tenant == record.given.tenant for other in before)
        held = record.waiting_for.startswith(HELD_BY_QUOTA)
        ends = self._job_ends() if held else ()
        return Ahead(place=place, waiting=len(names), own=own, ends=ends)

    def _waiting(self) -> list[RequestRecord]:
        """Return who waits for a launch: who was claimed first, then the queue."""
        if self._queue is None:
            ledger = self.ports.ledger
            claimed = [
                record
                for batch, _ in ledger.open_batches()
                for request, attempt in batch.members
                if (record := self._find(request)) is not None
                and (record.attempt, record.status) == (attempt, Status.CLAIMED)
            ]
            self._queue = [*claimed, *ledger.queued(limit=QUEUE_READ)]
        return self._queue

    def _find(self, request: str) -> RequestRecord | None:
        with suppress(NotFound):
            return self.ports.ledger.read(request)
        return None

    def _job_ends(self) -> Sequence[datetime]:
        """Return when the training jobs under way are expected to end, soonest first.

        Every tenant's count, as the quota is the account's; none where too many live to look at.
        """
        if self._ends is None:
            ends: dict[str, datetime] = {}
            for record in self._live() or ():
                if record.status in IN_JOBS and record.job is not None:
                    end = self._trained_at(record)
                    ends[record.job] = max(end, ends.get(record.job, end))
            self._ends = sorted(ends.values())
        return self._ends

    def _live(self) -> Sequence[RequestRecord] | None:
        """Return all that live, of every tenant; None where there are more than may be read."""
        live: list[RequestRecord] = []
        cursor: str | None = None
        while len(live) < LIVE_READ:
            page, cursor = self.ports.ledger.scan_requests(
                unfinished=True, cursor=cursor, limit=PAGE
            )
            live += page
            if cursor is None:
                return live
        return None

    def _trained_at(self, record: RequestRecord) -> datetime:
        now = self.ports.clock.now()
        coming = forecast(
            record,
            None,
            ahead=Ahead(),
            durations=self._measured(record),
            settings=self.ports.settings,
            now=now,
        )
        return coming.trained_at or now
