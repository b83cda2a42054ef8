"""JSON values and their text: compact, UTF-8, strict, as histories carry them.

Values are shared between states and never changed in place; whoever changes one copies it first.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final, TypeAlias

Json: TypeAlias = Any
"""Anything that `json.loads` returns."""


class _Missing:
    """What a path finds where there is nothing; JSON's null is something."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()

DATA_LIMIT_BYTES: Final = 262_144
"""What one input, output or result may weigh (AWS: 256 KiB of UTF-8)."""

DEPTH_LIMIT: Final = 200
"""How deep data may nest that comes from outside: whatever walks it, and what a few states wrap
around it, stays well within Python's own stack."""

_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_SORTED: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True
)


def _refuse_constant(name: str) -> Json:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits[:40]} is beyond what a double holds")
    return number


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


def encode(value: Json) -> str:
    """Write `value` as compact JSON that UTF-8 can carry.

    Raises:
        ValueError: it holds NaN or an infinity, which JSON does not know, or half a character.
        TypeError: it is no JSON value.
        RecursionError: it is nested too deeply.
    """
    text = _ENCODER.encode(value)
    if not text.isascii():
        text.encode()
    return text


def canonical(value: Json) -> str:
    """Write `value` with sorted keys: two values are the same when their canonical texts are."""
    return _SORTED.encode(value)


def decode(text: str) -> Json:
    """Read JSON, refusing the constants that only Python and JavaScript know.

    A number that no double holds (`1e999`) is refused too: as an infinity it could not be written.

    Raises:
        ValueError: the text is not JSON, or not such that it can be written again.
    """
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply to be read") from None


def decode_from_outside(text: str) -> Json:
    """Read JSON as `decode` does, and refuse what nests deeper than data may when it comes in.

    Raises:
        ValueError: the text is no such JSON.
    """
    value = decode(text)
    # Few brackets cannot nest deep; only other texts are looked through.
    if text.count("[") + text.count("{") <= DEPTH_LIMIT:
        return value
    level = [value]
    for _ in range(DEPTH_LIMIT + 1):
        level = [item for item in level if isinstance(item, list | dict)]
        if not level:
            return value
        level = [
            inner for item in level for inner in (item.values() if isinstance(item, dict) else item)
        ]
    raise ValueError(f"the JSON is nested deeper than {DEPTH_LIMIT}")


def copied(value: Json) -> Json:
    """Return a copy that shares nothing with `value` which can change, by way of its JSON.

    Raises:
        ValueError: it holds NaN or an infinity, or is nested too deeply.
        TypeError: it is no JSON value.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    return decode(encode(value))


def size_bytes(text: str) -> int:
    """Return how many bytes `text` takes as UTF-8."""
    return len(text) if text.isascii() else len(text.encode())
