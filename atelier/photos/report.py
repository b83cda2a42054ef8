"""What is said of a set of photos: a verdict on each, and findings on the set as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a photo is not used."""

    NOT_AN_IMAGE = "not-an-image"
    TRUNCATED = "truncated"
    TOO_LARGE = "too-large"
    TOO_SMALL = "too-small"
    DUPLICATE = "duplicate"
    MISSING = "missing"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class PhotoVerdict:
    """What became of one photo.

    Attributes:
        name: as in its upload set.
        reason: why it is not used, or None when it is accepted.
        detail: one sentence for people, with numbers; empty when it is accepted.
        same_as: name of the photo that it repeats, exactly for duplicates.
        width, height: pixels of our re-encoding; 0 when it is not used.
    """

    name: str
    reason: Reason | None = None
    detail: str = ""
    same_as: str | None = None
    width: int = 0
    height: int = 0

    def __post_init__(self) -> None:
        """Check that a duplicate names what it repeats."""
        if (self.reason is Reason.DUPLICATE) != (self.same_as is not None):
            raise ValueError(f"{self.name}: reason {self.reason} and same_as do not agree")

    @property
    def accepted(self) -> bool:
        """Whether the photo is used."""
        return self.reason is None


class Finding(StrEnum):
    """What is wrong with a set as a whole."""

    TOO_FEW = "too-few"
    TOO_MANY = "too-many"


@dataclass(frozen=True, slots=True)
class SetLimits:
    """How many photos make a set: accepted ones at least, offered ones at most."""

    least: int
    most: int


@dataclass(frozen=True, slots=True)
class SetReport:
    """The report on one set.

    Attributes:
        photos: a verdict on each photo, in the set's order.
        findings: finding → one sentence for people; empty when the set makes a model.
    """

    photos: tuple[PhotoVerdict, ...]
    findings: Mapping[Finding, str]

    @property
    def accepted(self) -> tuple[str, ...]:
        """Names of the photos that are used, in the set's order."""
        return tuple(photo.name for photo in self.photos if photo.accepted)

    @property
    def refused(self) -> Mapping[str, str]:
        """Name of each photo that is not used → why, for people."""
        return {photo.name: photo.detail for photo in self.photos if not photo.accepted}

    @property
    def makes_a_model(self) -> bool:
        """Whether the set can be trained on."""
        return not self.findings


def crowded(count: int, limits: SetLimits) -> SetReport | None:
    """Return the report on a set with too many photos, none of which is looked at, else None."""
    if count <= limits.most:
        return None
    sentence = f"{count} photos; at most {limits.most} are taken"
    return SetReport((), {Finding.TOO_MANY: sentence})


def set_report(photos: Sequence[PhotoVerdict], limits: SetLimits) -> SetReport:
    """Return the report on a set, given a verdict on each of its photos."""
    if report := crowded(len(photos), limits):
        return report
    accepted = sum(photo.accepted for photo in photos)
    findings = {}
    if accepted < limits.least:
        findings[Finding.TOO_FEW] = (
            f"{accepted} of {len(photos)} photos can be used; at least {limits.least} are needed"
        )
    return SetReport(tuple(photos), findings)
