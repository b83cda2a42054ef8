"""A case: evidence with the time, what counts as settled, and the indexes that checks share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import TypeVar

from atelier.contracts.records import RequestRecord
from atelier.contracts.status import TERMINAL
from infra.doctor.evidence import Bucket, Evidence, ExecutionSeen, Ledger, Training

T = TypeVar("T")

GRACE_SECONDS = 180.0
"""Longer than a reconciler's pause, a round of dispatch, and the retries of an announcement."""
SKEW_SECONDS = 5.0
"""So far the clocks of the platform and of whoever reads its stores may differ."""


@dataclass(frozen=True)
class Case:
    """What a check is given.

    Attributes:
        evidence: what was read.
        now: the platform's time.
        grace_seconds: what is younger may still be under way.
    """

    evidence: Evidence
    now: datetime
    grace_seconds: float = GRACE_SECONDS
    skew: timedelta = field(default=timedelta(seconds=SKEW_SECONDS), init=False)

    @property
    def ledger(self) -> Ledger:
        """The ledger; only checks that need it ask."""
        return _present(self.evidence.ledger)

    @property
    def executions(self) -> Mapping[str, ExecutionSeen]:
        """Executions by ARN."""
        return _present(self.evidence.executions)

    @property
    def training(self) -> Training:
        """Training jobs."""
        return _present(self.evidence.training)

    @property
    def bucket(self) -> Bucket:
        """Objects."""
        return _present(self.evidence.bucket)

    def settled(self, moment: datetime) -> bool:
        """Return whether what happened then has had the time to lead to what follows from it.

        Time counts only while a platform lives: after its start for what is older, and until its
        last sign of life if it does not run.
        """
        life = self.evidence.life
        until = self.evidence.read_at
        if not life.running:
            until = min(until, life.last_sign_at)
        since = moment if life.began_at is None else max(moment, life.began_at)
        return (until - since).total_seconds() >= self.grace_seconds

    def live(self) -> Iterator[RequestRecord]:
        """Yield the requests that have not ended."""
        return (r for r in self.ledger.requests.values() if r.status not in TERMINAL)

    @cached_property
    def by_name(self) -> Mapping[tuple[str, str], ExecutionSeen]:
        """(machine, name) → execution."""
        return {(e.machine, e.name): e for e in self.executions.values()}

    @cached_property
    def carriers(self) -> Mapping[str, tuple[ExecutionSeen, ...]]:
        """Request → the onboarding executions that speak of it."""
        found: dict[str, list[ExecutionSeen]] = defaultdict(list)
        of_name = {r.execution: r.request for r in self.ledger.requests.values()}
        for execution in self.executions.values():
            if execution.machine == "onboarding":
                request = execution.carries or of_name.get(execution.name)
                if request is not None:
                    found[request].append(execution)
        return {request: tuple(each) for request, each in found.items()}

    @cached_property
    def dispatchers(self) -> tuple[ExecutionSeen, ...]:
        """Executions of the dispatch machine."""
        return tuple(e for e in self.executions.values() if e.machine == "dispatch")


def _present(part: T | None) -> T:
    assert part is not None  # noqa: S101 - the table names what each check needs
    return part
