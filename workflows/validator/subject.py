"""A machine under examination, as the rules see it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from workflows.validator.levels import Level, State, levels


@dataclass(frozen=True, slots=True)
class Subject:
    """A machine under examination.

    Attributes:
        machine: its definition.
        input_paths: what every input certainly holds.
        placeholders: which `${…}` the platforms fill in, or None when that is not known.
    """

    machine: Mapping[str, Any]
    input_paths: tuple[str, ...]
    placeholders: frozenset[str] | None

    def levels(self) -> Iterator[Level]:
        """Yield the machine's levels, outermost first."""
        return levels(self.machine)

    def states(self) -> Iterator[tuple[str, State]]:
        """Yield every state with the name that findings call it by."""
        for level in self.levels():
            for name, state in level.states.items():
                yield f"{level.prefix}{name}", state

    def error_lists(self) -> Iterator[tuple[str, str, list[Mapping[str, Any]]]]:
        """Yield (state, `Retry` or `Catch`, its entries)."""
        for name, state in self.states():
            for field in ("Retry", "Catch"):
                if field in state:
                    yield name, field, state[field]


@dataclass(frozen=True, slots=True)
class At:
    """What a rule found: in which state, and what to do about it."""

    state: str
    message: str


Found = Iterator[At]
"""What a rule yields; the rule's name is added by who asks it."""
