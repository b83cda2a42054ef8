"""JSON documents as frozen dataclasses: strict reading, canonical writing, schema and version.

Every file and message that crosses a process is a `Document`. Reading refuses what it does not
know (a missing or unknown field, another type, another schema) and says where; a document grows by
a new version, never by a silent extra field.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import hashlib
import json
import math
import types
import typing
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any, ClassVar, Self, TypeVar, Union, cast, get_args, get_origin

from atelier.contracts.clock import from_iso, to_iso

T = TypeVar("T")

MAX_DOCUMENT_BYTES = 8 * 1024 * 1024
MAX_DEPTH = 32
MOST_SHOWN = 60
"""Characters of a stranger's text that an error repeats."""
MOST_NAMED = 5
"""Names of a stranger's that an error repeats."""


class DocumentError(ValueError):
    """A document does not read: `where` (a path such as `$.tasks[2].seed`), and what is wrong."""

    def __init__(self, where: str, problem: str) -> None:
        """Keep the place and the problem as facts beside the message."""
        super().__init__(f"{where}: {problem}")
        self.where = where
        self.problem = problem


class Document:
    """Base of every document: mix into a frozen dataclass and set `SCHEMA`.

    The written form is the dataclass's fields plus `schema`, which reads `<SCHEMA>/<VERSION>`; no
    field may have that name. A version adds fields with a default, and names them in `NEW_FIELDS`.
    """

    __slots__ = ()
    SCHEMA: ClassVar[str]
    VERSION: ClassVar[int] = 1
    NEW_FIELDS: ClassVar[Mapping[int, frozenset[str]]] = MappingProxyType({})
    """Version → fields that came with it. Older versions are read, and may not have them."""

    @classmethod
    def schema_name(cls) -> str:
        """Return what `schema` says in the written form, such as `atelier.progress/1`."""
        return f"{cls.SCHEMA}/{cls.VERSION}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, with `schema` first."""
        return {"schema": self.schema_name(), **cast("dict[str, Any]", encode(self))}

    def to_json(self) -> bytes:
        """Return canonical JSON: the same document is the same bytes everywhere."""
        return canonical_json(self.to_dict())

    def digest(self) -> str:
        """Return the SHA-256 of the canonical JSON in hex."""
        return hashlib.sha256(self.to_json()).hexdigest()

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Self:
        """Read plain JSON values strictly.

        Raises:
            DocumentError: another schema or version, or a field that does not read.
        """
        if not isinstance(given, Mapping):
            raise DocumentError("$", f"expected an object, found {_name(given)}")
        version = cls._version_of(given.get("schema"))
        for number, names in cls.NEW_FIELDS.items():
            if version < number and (early := sorted(names & set(given))):
                raise DocumentError(
                    f"$.{early[0]}", f"belongs to {cls.SCHEMA}/{number}, found in /{version}"
                )
        return decode(cls, {k: v for k, v in given.items() if k != "schema"})

    @classmethod
    def _version_of(cls, schema: object) -> int:
        for number in (cls.VERSION, *(n - 1 for n in sorted(cls.NEW_FIELDS, reverse=True))):
            if schema == f"{cls.SCHEMA}/{number}":
                return number
        raise DocumentError("$.schema", f"expected {cls.schema_name()!r}, found {_name(schema)}")

    @classmethod
    def from_json(cls, text: bytes | str, *, max_bytes: int = MAX_DOCUMENT_BYTES) -> Self:
        """Read JSON text strictly and within `max_bytes`.

        Raises:
            DocumentError: too large, no JSON, or as `from_dict`.
        """
        return cls.from_dict(parse_json(text, max_bytes=max_bytes))


def parse_json(text: bytes | str, *, max_bytes: int = MAX_DOCUMENT_BYTES) -> Any:
    """Parse JSON, refusing duplicate keys, NaN and infinities, undue size and undue depth.

    Raises:
        DocumentError: the text is not such JSON.
    """
    body = text.encode() if isinstance(text, str) else text
    if len(body) > max_bytes:
        raise DocumentError("$", f"{len(body):,} bytes; at most {max_bytes:,} are read")
    try:
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_unique_pairs,
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
        )
    except DocumentError:
        raise
    except (ValueError, RecursionError) as problem:
        raise DocumentError("$", f"no readable JSON: {problem}") from problem
    check_plain(value)
    return value


def check_plain(value: object, where: str = "$", *, depth: int = 0) -> None:
    """Check that `value` is plain JSON: our depth, keys and texts that UTF-8 holds, no NaN.

    Raises:
        DocumentError: it is not.
    """
    level = [value]
    while level:
        if depth > MAX_DEPTH:
            raise DocumentError(where, f"nested deeper than {MAX_DEPTH}")
        inner: list[object] = []
        for item in level:
            if isinstance(item, Mapping):
                for key in item:
                    _check_text(key, where)
                inner.extend(item.values())
            elif isinstance(item, list | tuple):
                inner.extend(item)
            elif isinstance(item, str):
                _check_text(item, where)
            elif isinstance(item, float):
                _expect(math.isfinite(item), where, "a finite number", item)
            else:
                _expect(item is None or isinstance(item, int), where, "plain JSON", item)
        level, depth = inner, depth + 1


def canonical_json(value: object) -> bytes:
    """Write JSON with sorted keys, no spaces, UTF-8 and no NaN: equal values, equal bytes."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def encode(value: object) -> Any:
    """Turn dataclasses, enums, tuples, mappings and times into plain JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, datetime):
        return to_iso(value)
    if isinstance(value, Mapping):
        return {str(k): encode(v) for k, v in value.items()}
    if isinstance(value, list | tuple | frozenset):
        items = sorted(value) if isinstance(value, frozenset) else value
        return [encode(v) for v in items]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"{type(value).__name__} has no JSON form in our documents")


def decode(kind: type[T], given: object, where: str = "$") -> T:
    """Read plain JSON values as `kind`: a dataclass, enum, tuple, mapping, union or plain type.

    Raises:
        DocumentError: with the place and what was expected there.
    """
    return cast("T", _decode(kind, given, where, 0))


def _decode(kind: Any, given: object, where: str, depth: int) -> object:
    if depth > MAX_DEPTH:
        raise DocumentError(where, f"nested deeper than {MAX_DEPTH}")
    origin = get_origin(kind)
    if kind is Any:
        check_plain(given, where, depth=depth)
        return given
    if origin in {Union, types.UnionType}:
        return _decode_union(kind, given, where, depth)
    if origin is tuple:
        return _decode_tuple(kind, given, where, depth)
    if origin in {dict, Mapping}:
        _expect(isinstance(given, Mapping), where, "an object", given)
        _, value_kind = get_args(kind)
        pairs = cast("Mapping[str, object]", given).items()
        return {
            _check_text(k, where): _decode(value_kind, v, f"{where}.{k}", depth + 1)
            for k, v in pairs
        }
    if origin is typing.Literal:
        _expect(given in get_args(kind), where, f"one of {list(get_args(kind))}", given)
        return given
    if dataclasses.is_dataclass(kind):
        return _decode_dataclass(kind, given, where, depth)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _decode_enum(kind, given, where)
    return _decode_plain(kind, given, where)


def _decode_plain(kind: Any, given: object, where: str) -> object:
    if kind is datetime:
        _expect(isinstance(given, str), where, "an ISO 8601 time", given)
        try:
            return from_iso(cast("str", given))
        except ValueError as problem:
            raise DocumentError(where, str(problem)) from problem
    if kind is float:
        _expect(
            isinstance(given, int | float) and not isinstance(given, bool), where, "a number", given
        )
        try:
            number = float(cast("float", given))
        except OverflowError as problem:
            raise DocumentError(where, "a number beyond what a double holds") from problem
        _expect(math.isfinite(number), where, "a finite number", given)
        return number
    if kind is int:
        _expect(
            isinstance(given, int) and not isinstance(given, bool), where, "a whole number", given
        )
        return given
    if kind is bool:
        _expect(isinstance(given, bool), where, "true or false", given)
        return given
    if kind is str:
        return _check_text(given, where)
    raise TypeError(f"{where}: our documents hold no {kind!r}")


def _decode_union(kind: Any, given: object, where: str, depth: int) -> object:
    members = get_args(kind)
    if given is None and type(None) in members:
        return None
    problems = []
    for member in members:
        if member is type(None):
            continue
        try:
            return _decode(member, given, where, depth)
        except DocumentError as problem:
            problems.append(problem)
    # With several members, the one that read furthest has the useful message.
    raise max(problems, key=lambda p: len(p.where))


def _decode_tuple(kind: Any, given: object, where: str, depth: int) -> tuple[object, ...]:
    _expect(isinstance(given, list | tuple), where, "a list", given)
    items = cast("list[object]", given)
    members = get_args(kind)
    if len(members) == 2 and members[1] is Ellipsis:
        members = (members[0],) * len(items)
    _expect(len(items) == len(members), where, f"{len(members)} items", given)
    pairs = zip(members, items, strict=True)
    return tuple(_decode(m, v, f"{where}[{i}]", depth + 1) for i, (m, v) in enumerate(pairs))


def _decode_enum(kind: type[enum.Enum], given: object, where: str) -> enum.Enum:
    try:
        return kind(given)
    except ValueError as problem:
        allowed = [member.value for member in kind]
        raise DocumentError(where, f"expected one of {allowed}, found {_name(given)}") from problem


def _decode_dataclass(kind: Any, given: object, where: str, depth: int) -> object:
    _expect(isinstance(given, Mapping), where, "an object", given)
    mapping = cast("Mapping[str, object]", given)
    hints = _hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    if unknown := sorted(set(mapping) - set(fields)):
        near = difflib.get_close_matches(unknown[0][:MOST_SHOWN], fields, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise DocumentError(
            where, f"unknown fields {_names(unknown)}; {meant}allowed are {sorted(fields)}"
        )
    values: dict[str, object] = {}
    for name, field in fields.items():
        if name in mapping:
            values[name] = _decode(hints[name], mapping[name], f"{where}.{name}", depth + 1)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise DocumentError(f"{where}.{name}", "is missing")
    try:
        return kind(**values)
    except DocumentError:
        raise
    except ValueError as problem:
        raise DocumentError(where, str(problem)) from problem


@lru_cache(maxsize=256)
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _check_text(given: object, where: str) -> str:
    _expect(isinstance(given, str), where, "text", given)
    text = cast("str", given)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as problem:
            raise DocumentError(where, "text with half a surrogate pair") from problem
    return text


def _expect(holds: bool, where: str, what: str, found: object) -> None:  # noqa: FBT001 - a check
    if not holds:
        raise DocumentError(where, f"expected {what}, found {_name(found)}")


def _name(value: object) -> str:
    if value is None or isinstance(value, bool | int | float):
        return _short(repr(value))
    if isinstance(value, str):
        return repr(_short(value))
    if isinstance(value, Mapping):
        return "an object"
    return "a list" if isinstance(value, list | tuple) else type(value).__name__


def _names(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
    return f"{[_short(name) for name in names[:MOST_NAMED]]}{more}"


def _short(text: str) -> str:
    return text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 3] + "..."


def _unique_pairs(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = sorted(name for name, count in counts.items() if count > 1)
        raise DocumentError("$", f"keys stand twice: {_names(twice)}")
    return found


def _refuse_constant(name: str) -> object:
    raise DocumentError("$", f"{name} is no JSON number")


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise DocumentError("$", f"{text} is beyond what a double holds")
    return number
