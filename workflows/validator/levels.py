"""The graph of a state machine: which states there are, and where each one can go.

A machine has one level, and one more for every branch of a Parallel and every processor of a Map;
a state goes only to states of its own level.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

State = Mapping[str, Any]

TERMINAL_TYPES = frozenset({"Succeed", "Fail"})
INNER_MACHINES = ("ItemProcessor", "Iterator")
"""Where a Map keeps its inner machine; Iterator is the old name."""


@dataclass(frozen=True, slots=True)
class Edge:
    """One way out of a state.

    Attributes:
        target: name of the next state, which may not exist.
        place: where it is written: `Next`, `Default`, `Choices[0].Next`, `Catch[1].Next`.
    """

    target: str
    place: str


@dataclass(frozen=True, slots=True)
class Level:
    """States that can go to each other.

    Attributes:
        prefix: what stands before a state's name in findings: empty, or `Outer/`.
        start_at: where this level begins.
        states: by name.
    """

    prefix: str
    start_at: str
    states: Mapping[str, State]

    def reachable(self) -> frozenset[str]:
        """Return the states that some way from StartAt leads to."""
        return frozenset(_closure({self.start_at} & set(self.states), self._successors()))

    def leading_out(self) -> frozenset[str]:
        """Return the states from which some way leads to an end."""
        backwards: dict[str, set[str]] = {name: set() for name in self.states}
        for name, successors in self._successors().items():
            for successor in successors:
                backwards[successor].add(name)
        ends = {name for name, state in self.states.items() if is_end(state)}
        return frozenset(_closure(ends, backwards))

    def _successors(self) -> dict[str, set[str]]:
        return {
            name: {edge.target for edge in edges(state)} & set(self.states)
            for name, state in self.states.items()
        }


def levels(machine: Mapping[str, Any], prefix: str = "") -> Iterator[Level]:
    """Yield the machine's own level, then those inside its states."""
    yield Level(prefix, machine["StartAt"], machine["States"])
    for name, state in machine["States"].items():
        for label, inner in inner_machines(name, state):
            yield from levels(inner, f"{prefix}{label}/")


def inner_machines(name: str, state: State) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the machines inside a state with the label that findings call them by."""
    for number, branch in enumerate(state.get("Branches", ())):
        yield f"{name}[{number}]", branch
    for field in INNER_MACHINES:
        if field in state:
            yield name, state[field]


def edges(state: State) -> Iterator[Edge]:
    """Yield every way out of a state, in the order in which they are written."""
    for number, rule in enumerate(state.get("Choices", ())):
        yield Edge(rule["Next"], f"Choices[{number}].Next")
    if "Default" in state:
        yield Edge(state["Default"], "Default")
    if "Next" in state:
        yield Edge(state["Next"], "Next")
    for number, catcher in enumerate(state.get("Catch", ())):
        yield Edge(catcher["Next"], f"Catch[{number}].Next")


def is_end(state: State) -> bool:
    """Return whether an execution, or a branch, ends with this state."""
    return state["Type"] in TERMINAL_TYPES or state.get("End") is True


def _closure(start: set[str], ways: Mapping[str, set[str]]) -> set[str]:
    seen, waiting = set(start), list(start)
    while waiting:
        for name in ways[waiting.pop()] - seen:
            seen.add(name)
            waiting.append(name)
    return seen
