"""What is said of a set of photos: a verdict on each, and findings on the set as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from atelier.contracts.documents import Document


class Reason(StrEnum):
    """Why a photo is not used."""

    NOT_AN_IMAGE = "not-an-image"
    ANIMATION = "animation"
    TRUNCATED = "truncated"
    TOO_LARGE = "too-large"
    TOO_SMALL = "too-small"
    BLURRED = "blurred"
    TOO_DARK = "too-dark"
    TOO_BRIGHT = "too-bright"
    TOO_FLAT = "too-flat"
    DUPLICATE = "duplicate"
    MISSING = "missing"
    CHANGED = "changed"


class Note(StrEnum):
    """What could be better about a photo that is used."""

    SMALL = "small"
    SOFT = "soft"
    SHAKEN = "shaken"
    DARK = "dark"
    BRIGHT = "bright"
    PALE = "pale"


@dataclass(frozen=True, slots=True)
class PhotoVerdict:
    """What became of one photo.

    Attributes:
        name: as in its upload set.
        reason: why it is not used, or None when it is accepted.
        detail: one sentence for people, with numbers; empty when it is accepted.
        same_as: name of the photo that it repeats, exactly for duplicates.
        width, height: pixels of our re-encoding; 0 when it is not used.
        digest: SHA-256 of our re-encoding; empty when it is not used.
        notes: note → one sentence for people, on a photo that is used.
    """

    name: str
    reason: Reason | None = None
    detail: str = ""
    same_as: str | None = None
    width: int = 0
    height: int = 0
    digest: str = ""
    notes: Mapping[str, str] = field(default_factory=dict)

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
    ALL_ALIKE = "all-alike"


class Advice(StrEnum):
    """What would make a set better that makes a model as it is."""

    FEW_VIEWS = "few-views"
    FEW_PHOTOS = "few-photos"
    LOW_RESOLUTION = "low-resolution"


@dataclass(frozen=True, slots=True)
class SetLimits:
    """What makes a set.

    Attributes:
        least, most: how many photos: accepted ones at least, offered ones at most.
        advised: fewer accepted ones make a model that knows the subject from few sides.
        most_whole_pixels: of all photos that decode only as a whole, which takes 15 to 40 ns a
            pixel: 16 s of one processor. Thirty 12-megapixel photos saved as PNG pass.
    """

    least: int
    most: int
    advised: int = 8
    most_whole_pixels: int = 400_000_000


@dataclass(frozen=True, slots=True)
class SetReport(Document):
    """The report on one set.

    Attributes:
        photos: a verdict on each photo, in the set's order.
        findings: finding → one sentence for people; empty when the set makes a model.
        advice: advice → one sentence for people; refuses nothing.
    """

    SCHEMA = "atelier.set-report"

    photos: tuple[PhotoVerdict, ...]
    findings: Mapping[str, str]
    advice: Mapping[str, str] = field(default_factory=dict)

    @property
    def accepted(self) -> tuple[str, ...]:
        """Names of the photos that are used, in the set's order."""
        return tuple(photo.name for photo in self.photos if photo.accepted)

    @property
    def refused(self) -> Mapping[str, str]:
        """Name of each photo that is not used → why, for people."""
        return {photo.name: photo.detail for photo in self.photos if not photo.accepted}

    @property
    def notes(self) -> Mapping[str, str]:
        """Name of each photo that is used and could be better → how, for people."""
        return {p.name: "; ".join(p.notes.values()) for p in self.photos if p.notes}

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


def set_report(
    photos: Sequence[PhotoVerdict], limits: SetLimits, *, few_views: bool = False
) -> SetReport:
    """Return the report on a set, given a verdict on each of its photos.

    Args:
        photos: the verdicts, in the set's order.
        limits: how many photos make a set.
        few_views: whether the accepted photos resemble each other very much.
    """
    if report := crowded(len(photos), limits):
        return report
    accepted = [photo for photo in photos if photo.accepted]
    repeated = sum(photo.reason is Reason.DUPLICATE for photo in photos)
    findings: dict[str, str] = {}
    if len(accepted) < limits.least:
        findings[Finding.TOO_FEW] = (
            f"{len(accepted)} of {len(photos)} photos can be used; "
            f"at least {limits.least} are needed"
        )
        if len(accepted) + repeated >= limits.least:
            findings[Finding.ALL_ALIKE] = (
                f"{repeated} of {len(photos)} photos only repeat others; take the subject from "
                "other sides, in other places, in other light"
            )
    advice = {} if findings else _advice(accepted, limits, few_views=few_views)
    return SetReport(tuple(photos), findings, advice)


def _advice(
    accepted: Sequence[PhotoVerdict], limits: SetLimits, *, few_views: bool
) -> dict[str, str]:
    advice: dict[str, str] = {}
    if few_views:
        advice[Advice.FEW_VIEWS] = (
            "the photos resemble each other; other sides, places and light make a model that can "
            "draw the subject anywhere"
        )
    if len(accepted) < limits.advised:
        advice[Advice.FEW_PHOTOS] = (
            f"{len(accepted)} photos make a model; {limits.advised} to 15 make a better one"
        )
    small = sum(Note.SMALL in photo.notes for photo in accepted)
    if 2 * small > len(accepted):
        advice[Advice.LOW_RESOLUTION] = (
            f"{small} of {len(accepted)} photos are smaller than the model draws; send the "
            "originals instead of previews if there are any"
        )
    return advice
