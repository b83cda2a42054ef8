"""Choice rules: comparators in one table, And, Or and Not around them.

A comparison between values of different kinds is false; a Variable that selects nothing fails the
state, except under IsPresent.

Source: https://docs.aws.amazon.com/step-functions/latest/dg/state-choice.html
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

from atelier.contracts.clock import from_iso
from workflows.engine.errors import RUNTIME, StateFailure
from workflows.engine.jsontext import MISSING, Json, encode
from workflows.engine.paths import Path, Scope, compile_path

_TIMESTAMP: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})")


def to_timestamp(value: Json) -> datetime | None:
    """Read an RFC 3339 timestamp with T and Z or an offset; None when it is none."""
    if not isinstance(value, str) or not _TIMESTAMP.fullmatch(value):
        return None
    try:
        return from_iso(value)
    except ValueError:
        return None


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_string(value: Json) -> bool:
    return isinstance(value, str)


def _is_boolean(value: Json) -> bool:
    return isinstance(value, bool)


def _is_timestamp(value: Json) -> bool:
    return to_timestamp(value) is not None


def _matches(value: str, pattern: str) -> bool:
    """Match `*` against any run of characters; a backslash takes the next character as it is.

    Each piece between stars is sought once, from left to right: time is linear in the value for
    each piece, however the pattern is written.
    """
    pieces = [""]
    for part in re.findall(r"\\.|.", pattern, flags=re.DOTALL):
        if part == "*":
            pieces.append("")
        else:
            pieces[-1] += part[-1]
    if len(pieces) == 1:
        return value == pieces[0]
    first, *middle, last = pieces
    if not value.startswith(first) or len(value) < len(first) + len(last):
        return False
    place, end = len(first), len(value) - len(last)
    for piece in middle:
        place = value.find(piece, place, end)
        if place < 0:
            return False
        place += len(piece)
    return value.endswith(last)


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a family of comparators compares: which values qualify, and as what."""

    qualifies: Callable[[Json], bool]
    read: Callable[[Json], Json] = lambda value: value


_KINDS: Final[Mapping[str, _Kind]] = {
    "String": _Kind(_is_string),
    "Numeric": _Kind(_is_number),
    "Boolean": _Kind(_is_boolean),
    "Timestamp": _Kind(_is_timestamp, to_timestamp),
}
_RELATIONS: Final[Mapping[str, Callable[[Json, Json], bool]]] = {
    "Equals": operator.eq,
    "LessThan": operator.lt,
    "GreaterThan": operator.gt,
    "LessThanEquals": operator.le,
    "GreaterThanEquals": operator.ge,
}
_COMPARATORS: Final[Mapping[str, tuple[_Kind, Callable[[Json, Json], bool]]]] = {
    **{
        f"{name}{relation}": (kind, compare)
        for name, kind in _KINDS.items()
        for relation, compare in _RELATIONS.items()
        if name != "Boolean" or relation == "Equals"
    },
    "StringMatches": (_Kind(_is_string), _matches),
}
_TYPE_TESTS: Final[Mapping[str, Callable[[Json], bool]]] = {
    "IsNull": lambda value: value is None,
    "IsNumeric": _is_number,
    "IsString": _is_string,
    "IsBoolean": _is_boolean,
    "IsTimestamp": _is_timestamp,
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """`{"Variable": …, "StringEquals": …}`; `other` is a constant or, for …Path, a path."""

    variable: Path
    kind: _Kind
    compare: Callable[[Json, Json], bool]
    other: Json | Path

    def holds(self, scope: Scope) -> bool:
        """Say whether both values are of the comparator's kind and stand in its relation."""
        left = _present(self.variable, scope)
        right = _present(self.other, scope) if isinstance(self.other, Path) else self.other
        if not (self.kind.qualifies(left) and self.kind.qualifies(right)):
            return False
        return self.compare(self.kind.read(left), self.kind.read(right))


@dataclass(frozen=True, slots=True)
class TypeTest:
    """`{"Variable": …, "IsNumeric": true}`."""

    variable: Path
    test: Callable[[Json], bool]
    wanted: bool

    def holds(self, scope: Scope) -> bool:
        """Say whether the value is, or is not, of the type."""
        return self.test(_present(self.variable, scope)) is self.wanted


@dataclass(frozen=True, slots=True)
class Presence:
    """`{"Variable": …, "IsPresent": true}`: the one test that may look at nothing."""

    variable: Path
    wanted: bool

    def holds(self, scope: Scope) -> bool:
        """Say whether the variable is, or is not, there."""
        return (self.variable.find(scope) is not MISSING) is self.wanted


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of a test."""

    test: Test

    def holds(self, scope: Scope) -> bool:
        """Say whether the inner test does not hold."""
        return not self.test.holds(scope)


@dataclass(frozen=True, slots=True)
class AllOf:
    """And."""

    tests: tuple[Test, ...]

    def holds(self, scope: Scope) -> bool:
        """Say whether every test holds, asking no further than the first that does not."""
        return all(test.holds(scope) for test in self.tests)


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Or."""

    tests: tuple[Test, ...]

    def holds(self, scope: Scope) -> bool:
        """Say whether any test holds, asking no further than the first that does."""
        return any(test.holds(scope) for test in self.tests)


Test: TypeAlias = Comparison | TypeTest | Presence | Not | AllOf | AnyOf

_BESIDE_A_TEST: Final = frozenset({"Variable", "Next", "Assign", "Comment"})


def compile_test(rule: Json) -> Test:
    """Compile a choice rule's condition.

    Raises:
        ValueError: the rule has no comparator, several, or one that does not exist.
    """
    if not isinstance(rule, dict):
        raise ValueError(f"a choice rule is an object, not {encode(rule)}")  # noqa: TRY004
    names = [key for key in rule if key not in _BESIDE_A_TEST]
    if len(names) != 1:
        raise ValueError(f"a choice rule has exactly one comparator, not {names}")
    name, operand = names[0], rule[names[0]]
    if name == "Not":
        return Not(compile_test(operand))
    if name in ("And", "Or"):
        if not isinstance(operand, list) or not operand:
            raise ValueError(f"{name} holds a list of at least one rule")
        tests = tuple(compile_test(inner) for inner in operand)
        return AllOf(tests) if name == "And" else AnyOf(tests)
    variable = compile_path(rule["Variable"]) if isinstance(rule.get("Variable"), str) else None
    if variable is None:
        raise ValueError(f"{name} needs a Variable that is a path")
    return _leaf(name, operand, variable)


def _leaf(name: str, operand: Json, variable: Path) -> Test:
    if name == "IsPresent" or name in _TYPE_TESTS:
        if not isinstance(operand, bool):
            raise ValueError(f"{name} is true or false, not {encode(operand)}")
        if name == "IsPresent":
            return Presence(variable, operand)
        return TypeTest(variable, _TYPE_TESTS[name], operand)
    if name.endswith("Path") and name.removesuffix("Path") in _COMPARATORS:
        kind, compare = _COMPARATORS[name.removesuffix("Path")]
        if not isinstance(operand, str) or name == "StringMatchesPath":
            raise ValueError(f"{name} does not exist or is no path: {encode(operand)}")
        return Comparison(variable, kind, compare, compile_path(operand))
    if name not in _COMPARATORS:
        raise ValueError(f"{name} is no comparator")
    kind, compare = _COMPARATORS[name]
    if not kind.qualifies(operand):
        raise ValueError(f"{name} cannot compare with {encode(operand)}")
    return Comparison(variable, kind, compare, operand)


def _present(path: Path, scope: Scope) -> Json:
    value = path.find(scope)
    if value is MISSING:
        raise StateFailure(
            RUNTIME,
            f"Invalid path '{path.text}': The choice state's condition path references an invalid "
            "value.",
        )
    return value
