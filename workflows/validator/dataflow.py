"""Which places in the data are certainly there when a state begins, and who reads one that is not.

A forward analysis over the graph: what a state writes is added, what ways of entering a state do
not agree on is dropped, until nothing changes. A Choice adds what its tests have seen, so a rule
that asks IsPresent makes the path safe behind it. A read of a place that is not certain is a
finding, with a way through the machine on which nobody writes it.

Source of the order in which fields apply:
https://docs.aws.amazon.com/step-functions/latest/dg/concepts-input-output-filtering.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from workflows.validator.levels import Level, State, inner_machines
from workflows.validator.paths import (
    Names,
    is_context,
    names_of,
    paths_in,
    template_expressions,
    template_leaves,
)

LAMBDA_INVOKE: Final = "arn:aws:states:::lambda:invoke"
INVOKE_RESULT: Final = (
    ("ExecutedVersion",),
    ("Payload",),
    ("SdkHttpMetadata",),
    ("SdkResponseMetadata",),
    ("StatusCode",),
)
"""What a call of a Lambda function leaves; a callback leaves what completes its token."""

ERROR_OUTPUT: Final = (("Error",), ("Cause",))

DIRECT_PATHS: Final = (
    "TimeoutSecondsPath",
    "HeartbeatSecondsPath",
    "SecondsPath",
    "TimestampPath",
    "ItemsPath",
    "MaxConcurrencyPath",
    "ToleratedFailureCountPath",
    "ToleratedFailurePercentagePath",
    "ErrorPath",
    "CausePath",
)
"""Fields whose path is applied to the state's input."""


@dataclass(frozen=True, slots=True)
class Known:
    """Places that are certainly there, each with everything below it; () means all there is."""

    places: frozenset[Names]

    @classmethod
    def of(cls, places: Iterable[Names]) -> Known:
        """Return the knowledge of these places."""
        return cls(frozenset(places))

    def holds(self, place: Names) -> bool:
        """Return whether `place` is there: known itself, inside a known one, or around one."""
        return place == () or any(
            known[: len(place)] == place or place[: len(known)] == known for known in self.places
        )

    def with_result(self, place: Names, leaves: Iterable[Names]) -> Known:
        """Return what is known once `place` was replaced by a value that has these leaves."""
        kept = {known for known in self.places if place and known[: len(place)] != place}
        return Known.of(kept | {(*place, *leaf) for leaf in leaves})

    def plus(self, places: Iterable[Names]) -> Known:
        """Return this knowledge and more places."""
        return Known.of(self.places | set(places))

    def below(self, place: Names) -> Known:
        """Return what is known of the value at `place`, seen from there."""
        inside = {known[len(place) :] for known in self.places if known[: len(place)] == place}
        whole = {()} if any(place[: len(known)] == known for known in self.places) else set()
        return Known.of(inside | whole)

    def agreed(self, other: Known) -> Known:
        """Return what both know."""
        return Known.of(
            {place for place in self.places if other._covers(place)}
            | {place for place in other.places if self._covers(place)}
        )

    def _covers(self, place: Names) -> bool:
        return any(place[: len(known)] == known for known in self.places)


EVERYTHING: Final = Known.of([()])
NOTHING: Final = Known.of([])


@dataclass(frozen=True, slots=True)
class Unwritten:
    """A read of a place that is not certain.

    Attributes:
        state: who reads, with the level's prefix.
        place: in which field.
        path: as written.
        way: states from StartAt to the reader on which nobody writes it; empty for a read inside
            the state itself.
    """

    state: str
    place: str
    path: str
    way: tuple[str, ...]


@dataclass(slots=True)
class _Visit:
    """One state entered with some knowledge: what it misses, and what is known on each way out."""

    misses: list[tuple[str, str]] = field(default_factory=list)
    onward: dict[str, Known] = field(default_factory=dict)
    inner: Known = EVERYTHING

    def read(self, place: str, path: str, scope: Known) -> None:
        if not is_context(path) and not scope.holds(names_of(path)):
            self.misses.append((place, path))

    def read_expression(self, place: str, expression: object, scope: Known) -> None:
        if isinstance(expression, str):
            for path in paths_in(expression):
                self.read(place, path, scope)

    def read_template(self, place: str, template: object, scope: Known) -> None:
        for key, expression in template_expressions(template):
            self.read_expression(f"{place} {key}", expression, scope)


def unwritten(level: Level, given: Known) -> Iterator[Unwritten]:
    """Yield every read, in reachable states, of a place that some way there does not write.

    Args:
        level: the states.
        given: what the input of StartAt certainly holds.
    """
    for name, known in _settle(level, given).items():
        visit = _visit(level.states[name], known)
        for place, path in dict.fromkeys(visit.misses):
            way = _way_without(level, given, name, names_of(path))
            yield Unwritten(f"{level.prefix}{name}", place, path, way)
        for label, inner in inner_machines(name, level.states[name]):
            inside = Level(f"{level.prefix}{label}/", inner["StartAt"], inner["States"])
            yield from unwritten(inside, visit.inner)


def _settle(level: Level, given: Known) -> dict[str, Known]:
    """Return what is certain at the entry of every reachable state."""
    if level.start_at not in level.states:
        return {}
    settled, waiting = {level.start_at: given}, [level.start_at]
    while waiting:
        name = waiting.pop()
        for target, known in _targets(level.states[name], settled[name]):
            if target not in level.states:
                continue
            agreed = known if target not in settled else settled[target].agreed(known)
            if settled.get(target) != agreed:
                settled[target] = agreed
                waiting.append(target)
    return settled


def _way_without(level: Level, given: Known, reader: str, place: Names) -> tuple[str, ...]:
    """Return a shortest way from StartAt to `reader` on which `place` is never certain."""
    start = (level.start_at, given.holds(place))
    came_from: dict[tuple[str, bool], tuple[str, bool] | None] = {start: None}
    waiting = [start]
    for here in waiting:
        name, held = here
        if name == reader and not held:
            way: list[str] = []
            step: tuple[str, bool] | None = here
            while step is not None:
                way.append(step[0])
                step = came_from[step]
            return tuple(reversed(way))
        known = Known.of([place]) if held else NOTHING
        for target, after in _targets(level.states[name], known):
            there = (target, after.holds(place))
            if target in level.states and there not in came_from:
                came_from[there] = here
                waiting.append(there)
    return ()


def _targets(state: State, known: Known) -> Iterator[tuple[str, Known]]:
    """Yield where a state can go, with what is known then."""
    onward = _visit(state, known).onward
    for number, rule in enumerate(state.get("Choices", ())):
        yield rule["Next"], onward[f"Choices[{number}]"]
    for name in ("Default", "Next"):
        if name in state:
            yield state[name], onward[name]
    for number, catcher in enumerate(state.get("Catch", ())):
        yield catcher["Next"], onward[f"Catch[{number}]"]


def _visit(state: State, known: Known) -> _Visit:
    visit = _Visit()
    selected = _select(visit, state, "InputPath", known)
    for name in DIRECT_PATHS:
        if name in state:
            visit.read_expression(name, state[name], selected)
    if "Choices" in state:
        _choose(visit, state, selected)
        return visit
    effective = selected
    if "Parameters" in state:
        visit.read_template("Parameters", state["Parameters"], selected)
        effective = Known.of(template_leaves(state["Parameters"]))
    visit.inner = effective if "Branches" in state else EVERYTHING
    combined = selected
    if state["Type"] in {"Task", "Pass", "Parallel", "Map"}:
        combined = _combine(state, known, _result(visit, state, effective))
    visit.onward["Next"] = _select(visit, state, "OutputPath", combined)
    for number, catcher in enumerate(state.get("Catch", ())):
        visit.onward[f"Catch[{number}]"] = _combine(catcher, known, Known.of(ERROR_OUTPUT))
    return visit


def _result(visit: _Visit, state: State, effective: Known) -> Known:
    """Return what is known of a state's result, ResultSelector applied."""
    result = EVERYTHING
    if state["Type"] == "Pass" and "Result" not in state:
        result = effective
    elif state.get("Resource") == LAMBDA_INVOKE:
        result = Known.of(INVOKE_RESULT)
    if "ResultSelector" not in state:
        return result
    visit.read_template("ResultSelector", state["ResultSelector"], result)
    return Known.of(template_leaves(state["ResultSelector"]))


def _combine(fields: Mapping[str, Any], known: Known, result: Known) -> Known:
    """Put a result into the data as ResultPath says."""
    path = fields.get("ResultPath", "$")
    return known if path is None else known.with_result(names_of(path), result.places)


def _select(visit: _Visit, state: State, name: str, known: Known) -> Known:
    """Apply InputPath or OutputPath."""
    path = state.get(name, "$")
    if path is None:
        return NOTHING
    visit.read(name, path, known)
    return EVERYTHING if is_context(path) else known.below(names_of(path))


def _choose(visit: _Visit, state: State, known: Known) -> None:
    """Follow a Choice: rules are tried in order, each with what the ones before it have seen."""
    for number, rule in enumerate(state["Choices"]):
        place = f"Choices[{number}]"
        _read_rule(visit, place, rule, known)
        when_true, when_false = _seen(rule)
        visit.onward[place] = _select(visit, state, "OutputPath", known.plus(when_true))
        known = known.plus(when_false)
    visit.onward["Default"] = _select(visit, state, "OutputPath", known)


def _read_rule(visit: _Visit, place: str, rule: Mapping[str, Any], known: Known) -> None:
    if "Not" in rule:
        _read_rule(visit, f"{place}.Not", rule["Not"], known)
    for name in ("And", "Or"):
        for number, inner in enumerate(rule.get(name, ())):
            _read_rule(visit, f"{place}.{name}[{number}]", inner, known)
            when_true, when_false = _seen(inner)
            known = known.plus(when_true if name == "And" else when_false)
    if "Variable" in rule and "IsPresent" not in rule:
        visit.read(place, rule["Variable"], known)
        for test, value in rule.items():
            if test.endswith("Path") and isinstance(value, str):
                visit.read(f"{place} {test}", value, known)


def _seen(rule: Mapping[str, Any]) -> tuple[frozenset[Names], frozenset[Names]]:
    """Return the places that are certain if a rule is true, and if it is false."""
    nowhere: frozenset[Names] = frozenset()
    if "Not" in rule:
        when_true, when_false = _seen(rule["Not"])
        return when_false, when_true
    if "And" in rule:
        inner = [_seen(r) for r in rule["And"]]
        return nowhere.union(*(t for t, _ in inner)), frozenset.intersection(*(f for _, f in inner))
    if "Or" in rule:
        inner = [_seen(r) for r in rule["Or"]]
        return frozenset.intersection(*(t for t, _ in inner)), nowhere.union(*(f for _, f in inner))
    if "IsPresent" not in rule or is_context(rule["Variable"]):
        return nowhere, nowhere
    place = frozenset({names_of(rule["Variable"])})
    return (place, nowhere) if rule["IsPresent"] else (nowhere, place)
