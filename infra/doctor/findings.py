"""What the doctor says: invariants that hold or not, and findings with what to do about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


@dataclass(frozen=True, slots=True)
class Finding:
    """One disagreement.

    Attributes:
        invariant: name of the check that found it.
        subject: what it is about: `request r…`, `object artifacts/…`.
        found: what there is.
        expected: what should be there instead.
        do: what to do about it, one sentence.
    """

    invariant: str
    subject: str
    found: str
    expected: str
    do: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """A finding as a check yields it: the table knows the check's name."""

    subject: str
    found: str
    expected: str
    do: str


class Verdict(StrEnum):
    """What became of one invariant."""

    HELD = "held"
    BROKEN = "broken"
    NOT_LOOKED_AT = "not looked at"


@dataclass(frozen=True, slots=True)
class Invariant:
    """One invariant as it was found; `why_not` says why it was not looked at."""

    name: str
    promise: str
    verdict: Verdict
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What an examination found.

    Attributes:
        findings: every disagreement.
        looked_at: how many of each kind were read.
        invariants: every invariant of the table, in its order.
    """

    findings: tuple[Finding, ...]
    looked_at: Mapping[str, int]
    invariants: tuple[Invariant, ...]

    @property
    def healthy(self) -> bool:
        """Nothing disagrees in what was looked at."""
        return not self.findings

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "healthy": self.healthy,
            "looked_at": dict(self.looked_at),
            "invariants": [asdict(invariant) for invariant in self.invariants],
            "findings": [asdict(finding) for finding in self.findings],
        }
