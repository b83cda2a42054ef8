"""How long the parts of an onboarding took: what the ledger keeps so that predictions are measured.

    START → TRAINING → SAMPLING → PUBLISHING

The first three are the training host's, from the launch of its job; publishing begins with the look
that finds the training done and ends when the request is ready.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from atelier.contracts.documents import Document

KEPT_MEASUREMENTS = 50
"""Of each base model and preset, the newest; older ones speak of a machine that has changed."""


class Phase(StrEnum):
    """A part of an onboarding whose length is measured and predicted."""

    START = "start"
    """From the launch of the job to the first optimiser step: instance, image, base model, data."""
    TRAINING = "training"
    SAMPLING = "sampling"
    """The samples, and writing the adapter file."""
    PUBLISHING = "publishing"


@dataclass(frozen=True, slots=True)
class Taken:
    """How long a phase took, and how much work it was.

    Attributes:
        seconds: measured.
        units: how many seconds the same work takes by the table of costs
            (`tasks.planning.BASE_COSTS`); 1 for what does not grow with its work.
    """

    seconds: float
    units: float = 1.0

    def __post_init__(self) -> None:
        """Check that it is a duration of some work."""
        if self.seconds < 0 or self.units <= 0:
            raise ValueError(f"{self.seconds} s of {self.units} units")

    @property
    def rate(self) -> float:
        """Seconds per unit."""
        return self.seconds / self.units


@dataclass(frozen=True, slots=True)
class Measurement(Document):
    """What one onboarding took, phase by phase.

    Attributes:
        request, attempt: whose.
        base, preset: what its durations may be compared with.
        at: when it became ready, UTC.
        taken: `Phase` → how long; a phase that cannot be told is missing.
    """

    SCHEMA = "atelier.measurement"

    request: str
    attempt: int
    base: str
    preset: str
    at: datetime
    taken: Mapping[str, Taken]


@dataclass(frozen=True, slots=True)
class Measurements(Document):
    """The last measurements of one base model and preset, newest first."""

    SCHEMA = "atelier.measurements"

    kept: tuple[Measurement, ...]
