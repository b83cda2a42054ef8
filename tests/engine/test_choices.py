"""Choice rules.

https://docs.aws.amazon.com/step-functions/latest/dg/state-choice.html
"""

from __future__ import annotations

import pytest

from workflows.engine.choices import compile_test
from workflows.engine.errors import StateFailure
from workflows.engine.paths import Scope

DATA = {
    "s": "photo.png",
    "t": "photo.png",
    "n": 5,
    "m": 7,
    "b": True,
    "nothing": None,
    "early": "2026-01-01T00:00:00Z",
    "late": "2026-01-01T02:00:00+01:00",
}


def holds(**rule) -> bool:
    return compile_test(rule).holds(Scope(DATA, {}, {}))


@pytest.mark.parametrize(
    ("variable", "comparator", "operand", "expected"),
    [
        ("$.s", "StringEquals", "photo.png", True),
        ("$.s", "StringEqualsPath", "$.t", True),
        ("$.s", "StringLessThan", "q", True),
        ("$.s", "StringGreaterThanEquals", "photo.png", True),
        ("$.s", "StringMatches", "*.png", True),
        ("$.s", "StringMatches", "ph*o.p*", True),
        ("$.s", "StringMatches", "photo?png", False),
        ("$.s", "StringMatches", "*", True),
        ("$.s", "StringMatches", "photo.png*", True),
        ("$.s", "StringMatches", "photo.png*g", False),
        ("$.s", "StringMatches", "*o*o*n*", True),
        ("$.s", "StringMatches", "*n*o*", False),
        ("$.s", "StringMatches", "photo\\.png", True),
        ("$.s", "StringMatches", "\\*.png", False),
        ("$.n", "NumericEquals", 5.0, True),
        ("$.n", "NumericLessThanPath", "$.m", True),
        ("$.n", "NumericGreaterThan", 5, False),
        ("$.s", "NumericEquals", 5, False),
        ("$.b", "NumericEquals", 1, False),
        ("$.b", "BooleanEquals", True, True),
        ("$.n", "BooleanEquals", True, False),
        ("$.early", "TimestampLessThan", "2026-01-01T00:00:01Z", True),
        ("$.early", "TimestampLessThanPath", "$.late", True),
        ("$.s", "TimestampEquals", "2026-01-01T00:00:00Z", False),
        ("$.nothing", "IsNull", True, True),
        ("$.n", "IsNumeric", True, True),
        ("$.b", "IsNumeric", True, False),
        ("$.s", "IsString", False, False),
        ("$.early", "IsTimestamp", True, True),
        ("$.s", "IsTimestamp", True, False),
        ("$.b", "IsBoolean", True, True),
        ("$.none", "IsPresent", False, True),
        ("$.nothing", "IsPresent", True, True),
    ],
)
def test_a_comparator_compares(variable, comparator, operand, expected):
    assert holds(Variable=variable, **{comparator: operand}) is expected


def test_and_or_and_not_combine_rules_and_look_no_further_than_needed():
    five = {"Variable": "$.n", "NumericEquals": 5}
    seven = {"Variable": "$.n", "NumericEquals": 7}
    missing = {"Variable": "$.none", "NumericEquals": 7}
    assert holds(Or=[five, missing])
    assert not holds(And=[seven, missing])
    assert holds(Not=seven)
    assert holds(And=[five, {"Not": {"Or": [seven, seven]}}])


def test_a_variable_that_is_not_there_fails_the_state():
    with pytest.raises(StateFailure) as failure:
        holds(Variable="$.none", StringEquals="x")
    assert failure.value.error == "States.Runtime"
    assert failure.value.cause == (
        "Invalid path '$.none': The choice state's condition path references an invalid value."
    )


@pytest.mark.parametrize(
    "rule",
    [
        {"Variable": "$.n"},
        {"Variable": "$.n", "NumericEquals": 1, "StringEquals": "1"},
        {"Variable": "$.n", "NumericEquals": "1"},
        {"Variable": "$.n", "NumericAlmost": 1},
        {"Variable": "n", "NumericEquals": 1},
        {"NumericEquals": 1},
        {"Variable": "$.n", "IsPresent": "yes"},
        {"And": []},
        {"Not": 1},
        {"Variable": "$.n", "TimestampEquals": "yesterday"},
        {"Variable": "$.n", "StringMatchesPath": "$.s"},
    ],
)
def test_what_is_no_rule_is_refused(rule):
    with pytest.raises(ValueError, match=r"."):
        compile_test(rule)


def test_a_pattern_of_many_stars_takes_no_longer_than_the_value_is_long():
    rule = {"Variable": "$.long", "StringMatches": "*a" * 60 + "b"}
    assert not compile_test(rule).holds(Scope({"long": "a" * 100_000}, {}, {}))
