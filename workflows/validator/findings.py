"""What the validator says: findings as data, one line each for people."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        state: which state, `Outer/Inner` inside a Parallel or Map; empty for the machine itself.
        rule: name in `rules.RULES`.
        message: what was found and what to do about it.
    """

    state: str
    rule: str
    message: str

    def __str__(self) -> str:
        """Return the line that people read."""
        return f"{self.state or 'the machine'}: {self.message} [{self.rule}]"


def render(findings: Iterable[Finding]) -> str:
    """Return the findings as text, one line each."""
    return "".join(f"{finding}\n" for finding in findings)


def meant(name: str, known: Collection[str]) -> str:
    """Return the end of a message about an unknown name: the nearest known one, or all of them."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(known) or 'none'}"
