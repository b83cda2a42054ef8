"""JSON values and their text: compact, UTF-8, strict, as histories carry them.

Values are shared between states and never changed in place; whoever changes one copies it first.
"""

from __future__ import annotations

import json
from typing import Any, Final, TypeAlias

Json: TypeAlias = Any
"""Anything that `json.loads` returns."""

DATA_LIMIT_BYTES: Final = 262_144
"""What one input, output or result may weigh (AWS: 256 KiB of UTF-8)."""

_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_SORTED: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True
)


def encode(value: Json) -> str:
    """Write `value` as compact JSON.

    Raises:
        ValueError: it holds NaN or an infinity, which JSON does not know.
        TypeError: it is no JSON value.
    """
    return _ENCODER.encode(value)


def canonical(value: Json) -> str:
    """Write `value` with sorted keys: two values are the same when their canonical texts are."""
    return _SORTED.encode(value)


def decode(text: str) -> Json:
    """Read JSON, refusing the constants that only Python and JavaScript know.

    Raises:
        ValueError: the text is not JSON.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply to be read") from None


def size_bytes(text: str) -> int:
    """Return how many bytes `text` takes as UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _refuse_constant(name: str) -> Json:
    raise ValueError(f"{name} is not JSON")
