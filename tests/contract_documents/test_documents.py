"""Every document: written canonically, read strictly, the same after any journey."""

from __future__ import annotations

import dataclasses
import importlib
import json
import pkgutil
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import atelier.contracts
from atelier.contracts.documents import (
    MAX_DEPTH,
    Document,
    DocumentError,
    canonical_json,
    decode,
    encode,
    parse_json,
)
from tests.contract_documents.drawing import (
    DOCUMENTS,
    any_document,
    places,
    plain,
    required_fields,
)

quick = settings(max_examples=20, deadline=None, derandomize=True)
by_name = pytest.mark.parametrize("kind", DOCUMENTS, ids=lambda kind: kind.__name__)
drawn = given(data=st.data())


def every_document():
    for module in pkgutil.iter_modules(atelier.contracts.__path__):
        importlib.import_module(f"atelier.contracts.{module.name}")
    # By name: a dataclass with slots leaves the class that it was made from behind.
    return {
        kind.__qualname__
        for kind in Document.__subclasses__()
        if kind.__module__.startswith("atelier.")
    }


def test_every_document_is_under_test():
    assert every_document() == {kind.__qualname__ for kind in DOCUMENTS}


def test_no_two_documents_share_a_schema():
    schemas = [kind.schema_name() for kind in DOCUMENTS]

    assert len(set(schemas)) == len(schemas)


@by_name
def test_a_document_is_frozen_and_has_no_field_called_schema(kind):
    assert kind.__dataclass_params__.frozen
    assert "schema" not in {field.name for field in dataclasses.fields(kind)}
    assert kind.SCHEMA.startswith("atelier.")
    assert max(kind.NEW_FIELDS, default=1) == kind.VERSION


@by_name
@quick
@drawn
def test_an_older_version_is_read_with_defaults_and_without_the_fields_that_came_later(kind, data):
    document = data.draw(DOCUMENTS[kind]).to_dict()
    for version, names in kind.NEW_FIELDS.items():
        older = document | {"schema": f"{kind.SCHEMA}/{version - 1}"}
        with pytest.raises(DocumentError, match=f"belongs to {kind.SCHEMA}/{version}"):
            kind.from_dict(older)
        read = kind.from_dict({k: v for k, v in older.items() if k not in names})
        came = {field.name: field for field in dataclasses.fields(kind) if field.name in names}
        assert set(came) == names
        for name, field in came.items():
            made = field.default_factory is not dataclasses.MISSING
            assert getattr(read, name) == (field.default_factory() if made else field.default)


# round trips


@by_name
@quick
@drawn
def test_what_was_written_reads_as_the_same_document(kind, data):
    document = data.draw(DOCUMENTS[kind])

    assert kind.from_json(document.to_json()) == document
    assert kind.from_dict(document.to_dict()) == document


@quick
@given(any_document)
def test_the_same_document_is_the_same_bytes_and_the_same_digest(document):
    again = type(document).from_json(document.to_json())

    assert again.to_json() == document.to_json()
    assert again.digest() == document.digest()


@quick
@given(any_document)
def test_the_written_form_is_compact_sorted_utf_8_and_says_what_it_is(document):
    text = document.to_json().decode()

    assert (
        json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        == text
    )
    assert json.loads(text)["schema"] == document.schema_name()


@quick
@given(any_document, st.randoms(use_true_random=False))
def test_a_document_reads_whatever_the_order_of_its_fields_and_spaces(document, chance):
    def shuffled(value):
        if isinstance(value, dict):
            pairs = list(value.items())
            chance.shuffle(pairs)
            return {name: shuffled(inner) for name, inner in pairs}
        return [shuffled(inner) for inner in value] if isinstance(value, list) else value

    text = json.dumps(shuffled(document.to_dict()), indent=3)

    assert type(document).from_json(text) == document


def test_canonical_bytes_never_change():
    # Digests of stored documents depend on these very bytes.
    value = {"b": [1, 2.5, None, True], "a": "ü\n", "é": {}}

    assert canonical_json(value) == '{"a":"ü\\n","b":[1,2.5,null,true],"é":{}}'.encode()


# strict refusals


@by_name
@quick
@drawn
def test_a_document_without_a_required_field_names_the_field(kind, data):
    written = data.draw(DOCUMENTS[kind]).to_dict()

    for name in required_fields(kind):
        less = {key: value for key, value in written.items() if key != name}
        with pytest.raises(DocumentError) as caught:
            kind.from_dict(less)
        assert caught.value.where == f"$.{name}"
        assert "missing" in caught.value.problem


@by_name
@quick
@drawn
def test_a_document_with_an_unknown_field_is_refused_and_told_what_is_known(kind, data):
    written = data.draw(DOCUMENTS[kind]).to_dict()

    with pytest.raises(DocumentError) as caught:
        kind.from_dict({**written, "colour": "red"})

    assert "colour" in caught.value.problem
    assert min(required_fields(kind)) in caught.value.problem


@by_name
@quick
@drawn
def test_a_document_is_never_read_as_another_or_as_another_version(kind, data):
    written = data.draw(DOCUMENTS[kind]).to_dict()

    for schema in (
        None,
        1,
        kind.SCHEMA,
        f"{kind.SCHEMA}/{kind.VERSION + 1}",
        "atelier.other/1",
        [],
        {},
    ):
        with pytest.raises(DocumentError) as caught:
            kind.from_dict({**written, "schema": schema})
        assert caught.value.where == "$.schema"
    del written["schema"]
    with pytest.raises(DocumentError):
        kind.from_dict(written)


def read_or_refused(kind, written):
    try:
        return kind.from_dict(written), None
    except DocumentError as problem:
        return None, problem


@by_name
def test_what_is_no_object_is_no_document(kind):
    for given_value in (None, [], "x", 1):
        with pytest.raises(DocumentError):
            kind.from_dict(given_value)


STRANGE = [None, True, -1, 0, 10**400, 1.5, -0.0, "", "\ud800", "x" * 3000, [], [[]], {}, {"": {}}]


@by_name
@settings(max_examples=40, deadline=None, derandomize=True)
@drawn
def test_any_change_of_a_document_reads_as_a_document_or_is_refused_with_the_place(kind, data):
    written = data.draw(DOCUMENTS[kind]).to_dict()
    changed = deepcopy(written)
    *above, last = data.draw(st.sampled_from([p for p in places(written) if p]))
    inner = changed
    for name in above:
        inner = inner[name]
    if data.draw(st.booleans()):
        inner[last] = data.draw(st.sampled_from(STRANGE) | plain)
    else:
        del inner[last]

    document, problem = read_or_refused(kind, changed)

    if document is not None:
        assert kind.from_json(document.to_json()) == document
    else:
        assert problem.where.startswith("$")
        assert problem.problem


@by_name
@quick
@drawn
def test_a_changed_byte_never_ends_in_anything_but_a_refusal_or_a_document(kind, data):
    body = bytearray(data.draw(DOCUMENTS[kind]).to_json())
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))

    try:
        document = kind.from_json(bytes(body))
    except DocumentError:
        return
    assert kind.from_json(document.to_json()) == document


@quick
@given(st.binary(max_size=200) | st.text(max_size=100))
def test_any_bytes_are_json_or_refused(body):
    try:
        value = parse_json(body)
    except (DocumentError, UnicodeEncodeError):
        return
    assert parse_json(canonical_json(value)) == value


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"a": 1, "a": 2}',
        b'{"a": {"b": 1, "b": 1}}',
        b'{"a": NaN}',
        b"[Infinity]",
        b"[-Infinity]",
        b"[1e999]",
        b'["\\ud800"]',
        b'{"\\ud800": 1}',
        b"1 2",
        b"{'a': 1}",
        b"[1,]",
        b"\xef\xbb\xbf{}",
        b"[" + b"9" * 5000 + b"]",
    ],
    ids=lambda text: repr(text[:20]),
)
def test_what_is_no_strict_json_is_refused(text):
    with pytest.raises(DocumentError):
        parse_json(text)


def test_a_text_beyond_the_limit_is_refused_before_it_is_parsed():
    assert parse_json(b"[1234]", max_bytes=6) == [1234]
    with pytest.raises(DocumentError) as caught:
        parse_json(b"{{{{{{{", max_bytes=6)
    assert "7 bytes; at most 6" in caught.value.problem
    with pytest.raises(DocumentError):
        parse_json("äöü", max_bytes=5)


@pytest.mark.parametrize(("opened", "closed"), [("[", "]"), ('{"a":', "}")])
def test_json_deeper_than_the_limit_is_refused(opened, closed):
    def nested(depth):
        return opened * depth + "1" + closed * depth

    parse_json(nested(MAX_DEPTH))
    for depth in (MAX_DEPTH + 1, 500, 100_000):
        with pytest.raises(DocumentError):
            parse_json(nested(depth))


# decoding


@dataclass(frozen=True, slots=True)
class Example:
    whole: int = 0
    number: float = 0.0
    flag: bool = False
    moment: datetime | None = None
    pair: tuple[int, str] = (0, "")
    word: Literal["a", "b"] = "a"
    either: int | str = 0


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("whole", 1.0, "a whole number"),
        ("whole", True, "a whole number"),
        ("whole", "1", "a whole number"),
        ("number", True, "a number"),
        ("number", "1.5", "a number"),
        ("number", float("inf"), "a finite number"),
        ("number", 10**400, "beyond what a double holds"),
        ("flag", 1, "true or false"),
        ("moment", 5, "an ISO 8601 time"),
        ("moment", "yesterday", "yesterday"),
        ("moment", "2026-01-01T00:00:00", "names no timezone"),
        ("moment", "0001-01-01T00:00:00+23:00", "years 1 to 9999"),
        ("pair", [1], "2 items"),
        ("pair", [1, 2], "text"),
        ("pair", "ab", "a list"),
        ("word", "c", "one of ['a', 'b']"),
    ],
)
def test_a_wrong_type_is_refused_with_the_place_and_what_was_expected(field, value, expected):
    with pytest.raises(DocumentError) as caught:
        decode(Example, {field: value})

    assert caught.value.where.startswith(f"$.{field}")
    assert expected in caught.value.problem


def test_a_whole_number_is_a_number_and_either_of_two_types_reads():
    read = decode(Example, {"number": 3, "either": "x"})

    assert (read.number, type(read.number), read.either) == (3.0, float, "x")


def test_what_has_no_json_form_is_not_written():
    with pytest.raises(TypeError):
        encode({"image": b"bytes"})
    with pytest.raises(ValueError, match="timezone"):
        encode(datetime(2026, 1, 1))  # noqa: DTZ001 - the very thing that is refused
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(float("nan"))


def test_a_set_is_written_sorted():
    assert encode(frozenset({"b", "a"})) == ["a", "b"]


def test_times_are_written_in_utc_with_milliseconds():
    moment = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)

    assert encode(moment) == "2026-01-02T03:04:05.678Z"
