"""Durations: how long an onboarding's phases took, and how long the next one's will take.

A phase's length is the work of it, in seconds by the table of costs (`tasks.planning`), times the
median of what a unit of that work took in the last onboardings of the same base model and preset.
Nothing measured yet means that the table itself is the estimate, and `Expected.measured` says 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median

from atelier.contracts.durations import Measurement, Phase, Taken
from atelier.contracts.progress import Progress, TrainingState
from atelier.contracts.records import RequestRecord
from atelier.contracts.request import OnboardingRequest
from atelier.contracts.status import Status
from tasks.planning import BASE_COSTS

PREVIEW_DENOISING_STEPS = 25
LATE_SHARE = 0.1
"""A phase that outlasts everything measured is expected to take so much longer than it has."""
PUBLISHING_SECONDS = 1.0
SAVING_SECONDS = 1.0
FIRST_STEP_SECONDS = 1.0
"""By the table: writing what a training leaves, and what its first step takes beyond the others."""
COUNTED = 11
"""So many of the newest measurements count: machines and their company change."""


def work(given: OnboardingRequest, phase: Phase, *, company: int = 1) -> float:
    """Return what a phase takes by the table of costs, in seconds.

    Args:
        given: what is trained.
        phase: the part of its life.
        company: how many tasks share the training host, this one included; they share each step.
    """
    cost, tuned = BASE_COSTS[given.base], given.hyperparameters
    match phase:
        case Phase.START:
            return cost.start_seconds
        case Phase.TRAINING:
            rows = tuned.steps * tuned.batch_size * (2 if tuned.prior_weight else 1)
            previews = tuned.steps // tuned.preview_every_steps if tuned.preview_every_steps else 0
            drawn = previews * PREVIEW_DENOISING_STEPS * cost.row_denoising_seconds
            return FIRST_STEP_SECONDS + company * (rows * cost.row_step_seconds + drawn)
        case Phase.SAMPLING:
            drawn = sum(s.denoising_steps for s in given.samples) * cost.row_denoising_seconds
            return SAVING_SECONDS + company * drawn
        case Phase.PUBLISHING:
            return PUBLISHING_SECONDS


@dataclass(frozen=True, slots=True)
class Expected:
    """How long something is expected to take, and how many measurements stand behind that."""

    seconds: float
    measured: int


@dataclass(frozen=True, slots=True)
class Durations:
    """What was measured of a base model and preset.

    Attributes:
        rates: phase → seconds per unit of work, one for each onboarding that was measured.
    """

    rates: Mapping[Phase, Sequence[float]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, measured: Sequence[Measurement], *, others: Sequence[Measurement] = ()
    ) -> Durations:
        """Return the durations behind measurements, which come newest first.

        Args:
            measured: of the base model and preset.
            others: of the base model's other presets: a unit of work takes as long there, so they
                speak of the phases that nothing else was measured of.
        """
        own, theirs = ({phase: _rates(of, phase) for phase in Phase} for of in (measured, others))
        return cls({phase: own[phase] or theirs[phase] for phase in Phase})

    def lacks(self) -> bool:
        """Return whether nothing was measured of some phase."""
        return not all(self.rates.get(phase) for phase in Phase)

    def expect(self, given: OnboardingRequest, phase: Phase, *, company: int = 1) -> Expected:
        """Return how long a whole phase will take."""
        units, rates = work(given, phase, company=company), self.rates.get(phase, ())
        if not rates:
            return Expected(units, 0)
        return Expected(units * median(rates), len(rates))

    def remaining(
        self, given: OnboardingRequest, phase: Phase, *, passed: float, company: int = 1
    ) -> float:
        """Return how long a phase will go on that has lasted `passed` seconds already.

        What is left is the median of those that lasted longer than that; beyond all of them a
        share of the time so far: who is late is likelier to be very late.
        """
        units, rates = work(given, phase, company=company), self.rates.get(phase, ())
        longer = [units * rate for rate in rates if units * rate > passed] or (
            [units] if not rates and units > passed else []
        )
        return median(longer) - passed if longer else passed * LATE_SHARE


def _rates(measured: Sequence[Measurement], phase: Phase) -> tuple[float, ...]:
    return tuple(m.taken[phase].rate for m in measured if phase in m.taken)[:COUNTED]


def measurement(
    record: RequestRecord, progress: Progress | None, *, company: int
) -> Measurement | None:
    """Return what a ready request's phases took, as far as its host and the ledger noted it.

    Args:
        record: the request, ready.
        progress: its host's last words.
        company: how many tasks shared the host, this one included.
    """
    entered, given = record.entered, record.given
    ready = entered.get(Status.READY.value)
    if ready is None:
        return None
    host = progress.entered if progress else {}
    moments = {
        Phase.START: (
            entered.get(Status.LAUNCHING.value),
            host.get(TrainingState.TRAINING.value),
        ),
        Phase.TRAINING: (
            host.get(TrainingState.TRAINING.value),
            host.get(TrainingState.SAMPLING.value),
        ),
        Phase.SAMPLING: (
            host.get(TrainingState.SAMPLING.value),
            host.get(TrainingState.DONE.value),
        ),
        Phase.PUBLISHING: (entered.get(Status.TRAINED.value), ready),
    }
    begun_again = TrainingState.STOPPED.value in host
    if begun_again or record.resume_from is not None:
        del moments[Phase.TRAINING]  # A part of it was trained before.
    if begun_again:
        del moments[Phase.START]
    trained_at = entered.get(Status.TRAINED.value)
    if record.redriven_at and trained_at and record.redriven_at >= trained_at:
        del moments[Phase.PUBLISHING]  # It stood still for a part of it.
    taken = {
        phase.value: Taken(round(seconds, 3), round(work(given, phase, company=company), 3))
        for phase, (began, over) in moments.items()
        if (seconds := _seconds(began, over)) is not None
    }
    if not taken:
        return None
    return Measurement(
        request=record.request,
        attempt=record.attempt,
        base=given.base,
        preset=given.preset,
        at=ready,
        taken=taken,
    )


def newest(kept: Sequence[Measurement], new: Measurement, *, most: int) -> Sequence[Measurement]:
    """Return measurements, newest first, with a new one; the same onboarding counts once."""
    others = [m for m in kept if (m.request, m.attempt) != (new.request, new.attempt)]
    return sorted([new, *others], key=lambda m: (m.at, m.request), reverse=True)[:most]


def _seconds(began: datetime | None, over: datetime | None) -> float | None:
    if began is None or over is None or over < began:
        return None
    return (over - began).total_seconds()
