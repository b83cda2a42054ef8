"""JSONPath: what paths select, what they refuse, where results go.

https://docs.aws.amazon.com/step-functions/latest/dg/amazon-states-language-paths.html
"""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.engine.jsontext import MISSING
from workflows.engine.paths import Scope, compile_path, put

DATA = {
    "a": {"b": [10, 20, {"c": None}], "with space": 1, "d-e": 2, "ü": 3},
    "list": [{"n": 1, "ok": True}, {"n": 5, "ok": False}, {"n": 9}],
}
SCOPE = Scope(DATA, {"name": {"x": [7]}}, {"State": {"Name": "Here"}})


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("$", DATA),
        ("$.a.b[0]", 10),
        ("$.a.b[-2]", 20),
        ("$['a']['b'][2].c", None),
        ('$["a"].b[1]', 20),
        ("$.a['with space']", 1),
        ("$.a.d-e", 2),
        ("$.a.ü", 3),
        ("$.a.b[9]", MISSING),
        ("$.a.none.deeper", MISSING),
        ("$.a.b.c", MISSING),
        ("$$.State.Name", "Here"),
        ("$$", {"State": {"Name": "Here"}}),
        ("$name.x[0]", 7),
        ("$name", {"x": [7]}),
        ("$nobody", MISSING),
        ("$.a.b[*]", [10, 20, {"c": None}]),
        ("$.list[*].n", [1, 5, 9]),
        ("$.list.*.n", [1, 5, 9]),
        ("$..n", [1, 5, 9]),
        ("$..c", [None]),
        ("$.a.b[0:2]", [10, 20]),
        ("$.a.b[-1:]", [{"c": None}]),
        ("$.a.b[::2]", [10, {"c": None}]),
        ("$.a.b[0,1]", [10, 20]),
        ("$.a['d-e','ü']", [2, 3]),
        ("$.none[*]", []),
        ("$.list[?(@.n > 1)].n", [5, 9]),
        ("$.list[?(@.n >= 5 && @.ok == false)].n", [5]),
        ("$.list[?(@.ok)].n", [1, 5]),
        ("$.list[?(!(@.ok))].n", [9]),
        ("$.list[?(@.n == 1 || @.n == 9)].n", [1, 9]),
        ("$.list[?(@.n < 'a')].n", []),
        ("$.list[?(@.ok != true)].n", [5, 9]),
        ("$.list[?(@.none == null)].n", []),
    ],
)
def test_a_path_selects(path, found):
    assert compile_path(path).find(SCOPE) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a.b",
        "$.",
        "$..",
        "$.a[",
        "$.a[]",
        "$.a[x]",
        "$.a b",
        "$ .a",
        "$.[0]",
        "$.a['b'",
        "$.a.length()",
        "$.a[1:2:0]",
        "$[?(@.n >)]",
        "$.a[?(1 =~ 2)]",
        "$[?(@.a == 1]",
    ],
)
def test_what_is_no_path_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        compile_path(text)


def test_only_a_path_of_names_and_indexes_below_the_data_says_where_to_write():
    assert compile_path("$.a[0]['b']").writes
    assert not any(compile_path(text).writes for text in ("$.a[*]", "$..a", "$$.a", "$name.a"))


@pytest.mark.parametrize(
    ("path", "document", "result"),
    [
        ("$", {"a": 1}, "new"),
        ("$.a", {"a": 1}, {"a": "new"}),
        ("$.x.y", {"a": 1}, {"a": 1, "x": {"y": "new"}}),
        ("$.l[1]", {"l": [1, 2]}, {"l": [1, "new"]}),
        ("$.l[0].k", {"l": [{}]}, {"l": [{"k": "new"}]}),
    ],
)
def test_a_result_is_put_where_the_path_says(path, document, result):
    assert put(compile_path(path).keys, document, "new") == result


@pytest.mark.parametrize(("path", "document"), [("$.a.b", {"a": 1}), ("$.a[3]", {"a": [1]})])
def test_a_result_that_fits_nowhere_is_refused(path, document):
    with pytest.raises(LookupError):
        put(compile_path(path).keys, document, "new")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    document=st.dictionaries(st.text("abc", min_size=1), json_values),
    names=st.lists(st.text("xyz", min_size=1), min_size=1, max_size=3),
    value=json_values,
)
def test_what_was_put_is_found_and_the_rest_is_as_it_was(document, names, value):
    before = repr(document)
    path = compile_path("$." + ".".join(names))
    changed = put(path.keys, document, value)
    assert path.find_in(changed) == value
    assert {k: v for k, v in changed.items() if k != names[0]} == document
    assert repr(document) == before


@given(st.text(max_size=40))
def test_any_text_is_a_path_or_refused_as_one(text):
    with suppress(ValueError):
        compile_path(text).find(SCOPE)
