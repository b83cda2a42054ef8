"""The intrinsic functions.

https://docs.aws.amazon.com/step-functions/latest/dg/intrinsic-functions.html
"""

from __future__ import annotations

import uuid

import pytest

from workflows.engine.errors import StateFailure
from workflows.engine.intrinsics import compile_call
from workflows.engine.paths import Scope

DATA = {"n": 4, "s": "it's {}", "l": [1, 2, 2, 3], "o": {"a": 1, "b": [True, None]}}


def evaluate(text: str, seed: str = "seed"):
    return compile_call(text).evaluate(Scope(DATA, {"v": "var"}, {"Id": "ctx"}, seed))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("States.Array()", []),
        ("States.Array(1, 'a', true, null, $.n, $v, $$.Id)", [1, "a", True, None, 4, "var", "ctx"]),
        ("States.ArrayPartition($.l, 3)", [[1, 2, 2], [3]]),
        ("States.ArrayContains($.l, 2)", True),
        ("States.ArrayContains($.l, '2')", False),
        ("States.ArrayRange(1, 9, 2)", [1, 3, 5, 7, 9]),
        ("States.ArrayRange(3, 1, -1)", [3, 2, 1]),
        ("States.ArrayGetItem($.l, 3)", 3),
        ("States.ArrayLength($.l)", 4),
        ("States.ArrayUnique($.l)", [1, 2, 3]),
        ("States.Base64Encode('hello')", "aGVsbG8="),
        ("States.Base64Decode('aGVsbG8=')", "hello"),
        ("States.Hash('hello', 'SHA-1')", "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d"),
        (
            "States.JsonMerge($.o, States.StringToJson('{\"a\": 2}'), false)",
            {"a": 2, "b": [True, None]},
        ),
        ("States.StringToJson('[1, 2]')", [1, 2]),
        ("States.JsonToString($.o)", '{"a":1,"b":[true,null]}'),
        ("States.MathAdd(1.5, -2)", 0),
        ("States.StringSplit('a,b;c', ',;')", ["a", "b", "c"]),
        ("States.Format('{} of {}', $.n, $.o)", "4 of {a=1, b=[true, null]}"),
        ("States.Format('it\\'s \\{{}\\}', 1)", "it's {1}"),
        ("States.Format($.s, 'x')", "it's x"),
        ("States.Format('a, b) {}', 'c)')", "a, b) c)"),
        ("States.ArrayLength( $.o['b'] )", 2),
    ],
)
def test_a_function_computes(text, value):
    assert evaluate(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "States.ArrayGetItem($.l, 9)",
        "States.ArrayPartition($.l, 0)",
        "States.ArrayRange(1, 5000, 1)",
        "States.ArrayLength('text')",
        "States.Base64Decode('%')",
        "States.Hash('x', 'CRC')",
        "States.JsonMerge($.o, $.o, true)",
        "States.StringToJson('{')",
        "States.MathAdd('1', 2)",
        "States.Format('{} {}', 1)",
        "States.MathRandom(5, 5)",
    ],
)
def test_what_a_function_refuses_is_an_intrinsic_failure(text):
    with pytest.raises(StateFailure) as failure:
        evaluate(text)
    assert failure.value.error == "States.IntrinsicFailure"


def test_a_path_that_selects_nothing_is_a_runtime_error():
    with pytest.raises(StateFailure) as failure:
        evaluate("States.ArrayLength($.none)")
    assert failure.value.error == "States.Runtime"


@pytest.mark.parametrize(
    "text",
    [
        "States.Nothing()",
        "States.UUID(1)",
        "States.Array(1",
        "States.Array(1) more",
        "States.Array(1 2)",
        "States.Array(one)",
        "Array(1)",
        "States.Array(" * 11 + ")" * 11,
        "States.Format()",
    ],
)
def test_what_is_no_call_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        compile_call(text)


def test_random_values_follow_from_the_seed_and_differ_within_a_visit():
    both = "States.Array(States.UUID(), States.UUID(), States.MathRandom(0, 1000))"
    first, second, number = evaluate(both)
    assert evaluate(both) == [first, second, number]
    assert first != second
    assert uuid.UUID(first).version == 4
    assert 0 <= number < 1000
    assert evaluate(both, "another seed") != [first, second, number]


def test_a_random_number_with_a_seed_of_its_own_is_always_the_same():
    assert evaluate("States.MathRandom(0, 9999, 7)") == evaluate(
        "States.MathRandom(0, 9999, 7)", "x"
    )
