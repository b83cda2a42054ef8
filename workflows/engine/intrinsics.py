"""The intrinsic functions of JSONPath states: `States.Format('{}-{}', $.request, $.attempt)`.

An expression is compiled once and evaluated per visit. Randomness comes from the visit's seed, so
that a replayed visit draws the same numbers and UUIDs.

Source: https://docs.aws.amazon.com/step-functions/latest/dg/intrinsic-functions.html
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from workflows.engine.errors import INTRINSIC_FAILURE, RUNTIME, StateFailure
from workflows.engine.jsontext import MISSING, Json, canonical, decode, decode_from_outside, encode
from workflows.engine.paths import Path, Scope, compile_path

NESTING_LIMIT: Final = 10
TEXT_LIMIT: Final = 10_000
RANGE_LIMIT: Final = 1_000


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant argument; `raw` keeps a string's escapes, which Format reads itself."""

    value: Json
    raw: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """A compiled call."""

    text: str
    function: str
    arguments: tuple[Literal | Path | Call, ...]

    def evaluate(self, scope: Scope) -> Json:
        """Compute the call's value.

        Raises:
            StateFailure: States.Runtime when a path selects nothing, States.IntrinsicFailure when
                the function refuses its arguments.
        """
        values = [_value(argument, scope, self.text) for argument in self.arguments]
        if self.function == "Format" and isinstance(self.arguments[0], Literal):
            values[0] = self.arguments[0].raw
        try:
            return _FUNCTIONS[self.function].compute(values, scope)
        except (ValueError, TypeError, LookupError, RecursionError) as refusal:
            raise StateFailure(
                INTRINSIC_FAILURE,
                f"The function '{self.text}' had the following error: {refusal}",
            ) from refusal


def compile_call(text: str) -> Call:
    """Compile `States.Name(argument, …)`.

    Raises:
        ValueError: the text is no call of a known function, or nests deeper than 10.
    """
    call, end = _call(text, 0, depth=1)
    if end != len(text):
        raise ValueError(f"{text!r} goes on after its closing bracket: {text[end:]!r}")
    return call


_HEAD: Final = re.compile(r"\s*States\.(\w+)\(")
_STRING: Final = re.compile(r"'((?:[^'\\]|\\.)*)'", re.DOTALL)
_NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_WORD: Final = re.compile(r"(true|false|null)\b")
_SPACE: Final = re.compile(r"\s*")
_WORDS: Final[dict[str, Json]] = {"true": True, "false": False, "null": None}


def _call(text: str, position: int, *, depth: int) -> tuple[Call, int]:
    if depth > NESTING_LIMIT:
        raise ValueError(f"functions nest at most {NESTING_LIMIT} deep")
    head = _HEAD.match(text, position)
    if head is None or head.group(1) not in _FUNCTIONS:
        raise ValueError(f"{text[position:]!r} calls no intrinsic function")
    name, cursor = head.group(1), _skip(text, head.end())
    arguments: list[Literal | Path | Call] = []
    while not text.startswith(")", cursor):
        if arguments:
            if not text.startswith(",", cursor):
                raise ValueError(f"{text!r}: a comma or bracket is missing at {text[cursor:]!r}")
            cursor = _skip(text, cursor + 1)
        argument, cursor = _argument(text, cursor, depth)
        arguments.append(argument)
        cursor = _skip(text, cursor)
    fewest, most = _FUNCTIONS[name].arity
    if not fewest <= len(arguments) <= most:
        raise ValueError(f"States.{name} takes {fewest} to {most} arguments, not {len(arguments)}")
    return Call(text[position : cursor + 1].strip(), name, tuple(arguments)), cursor + 1


def _argument(text: str, position: int, depth: int) -> tuple[Literal | Path | Call, int]:
    if text.startswith("States.", position):
        return _call(text, position, depth=depth + 1)
    if text.startswith("$", position):
        end = _end_of_path(text, position)
        return compile_path(text[position:end].rstrip()), end
    if match := _STRING.match(text, position):
        raw = match.group(1)
        return Literal(re.sub(r"\\(.)", r"\1", raw, flags=re.DOTALL), raw), match.end()
    if match := _WORD.match(text, position):
        return Literal(_WORDS[match.group()]), match.end()
    if match := _NUMBER.match(text, position):
        return Literal(decode(match.group())), match.end()
    raise ValueError(f"{text!r}: no argument is {text[position:]!r}")


def _end_of_path(text: str, position: int) -> int:
    brackets, quote = 0, ""
    for index in range(position, len(text)):
        character = text[index]
        if quote:
            quote = "" if character == quote and text[index - 1] != "\\" else quote
        elif character in "'\"":
            quote = character
        elif character in "[(":
            brackets += 1
        elif character in "])" and brackets:
            brackets -= 1
        elif character in ",)" and not brackets:
            return index
    raise ValueError(f"{text!r}: the bracket of a function is not closed")


def _skip(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _value(argument: Literal | Path | Call, scope: Scope, text: str) -> Json:
    if isinstance(argument, Literal):
        return argument.value
    if isinstance(argument, Call):
        return argument.evaluate(scope)
    value = argument.find(scope)
    if value is MISSING:
        raise StateFailure(
            RUNTIME,
            f"The JSONPath '{argument.text}' specified for the function '{text}' could not be "
            f"found in the input '{encode(scope.data)}'",
        )
    return value


# --- the functions ---------------------------------------------------------------------------


def _need(value: Json, kind: type, words: str) -> Json:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{words} is expected, not {encode(value)}")
    return value


def _list(value: Json) -> list[Json]:
    found: list[Json] = _need(value, list, "an array")
    return found


def _text(value: Json) -> str:
    found: str = _need(value, str, "a string")
    return found


def _short(value: Json) -> str:
    text = _text(value)
    if len(text) > TEXT_LIMIT:
        raise ValueError(f"a string of at most {TEXT_LIMIT} characters is expected")
    return text


def _whole(value: Json) -> int:
    """Round halves up as Java does: 0.5 is 1, -1.5 is -1."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"a number is expected, not {encode(value)}")
    return value if isinstance(value, int) else math.floor(value + 0.5)


def _java(value: Json) -> str:
    """Write a value as AWS's own formatter does, which is Java's toString."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}={_java(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_java(item) for item in value) + "]"
    return value if isinstance(value, str) else encode(value)


def _format(values: Sequence[Json], _scope: Scope) -> str:
    pieces = re.split(r"(\\.|\{\})", _text(values[0]), flags=re.DOTALL)
    holes = pieces.count("{}")
    if holes != len(values) - 1:
        raise ValueError(f"{holes} places are to be filled, with {len(values) - 1} values")
    rest = iter(values[1:])
    return "".join(
        _java(next(rest)) if piece == "{}" else piece[1:] if piece[:1] == "\\" else piece
        for piece in pieces
    )


def _partition(values: Sequence[Json], _scope: Scope) -> list[list[Json]]:
    items, size = _list(values[0]), _whole(values[1])
    if size <= 0:
        raise ValueError(f"a chunk holds at least one element, not {size}")
    return [items[start : start + size] for start in range(0, len(items), size)]


def _contains(values: Sequence[Json], _scope: Scope) -> bool:
    wanted = canonical(values[1])
    return any(canonical(item) == wanted for item in _list(values[0]))


def _range(values: Sequence[Json], _scope: Scope) -> list[int]:
    first, last, stride = (_whole(value) for value in values)
    if stride == 0:
        raise ValueError("the increment is not 0")
    # Counted by hand: no range tells a length beyond what an index holds.
    count = max(0, (last - first) // stride + 1)
    if count > RANGE_LIMIT:
        raise ValueError(f"at most {RANGE_LIMIT:,} elements are made, not {count:,}")
    return [first + number * stride for number in range(count)]


def _item(values: Sequence[Json], _scope: Scope) -> Json:
    items, index = _list(values[0]), _whole(values[1])
    if not 0 <= index < len(items):
        raise LookupError(f"there is no element {index} among {len(items)}")
    return items[index]


def _unique(values: Sequence[Json], _scope: Scope) -> list[Json]:
    return list({canonical(item): item for item in reversed(_list(values[0]))}.values())[::-1]


def _base64_decode(values: Sequence[Json], _scope: Scope) -> str:
    try:
        return base64.b64decode(_short(values[0]), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ValueError(f"the text is not Base64 of UTF-8: {error}") from error


_HASHES: Final = {
    "MD5": "md5",
    "SHA-1": "sha1",
    "SHA-256": "sha256",
    "SHA-384": "sha384",
    "SHA-512": "sha512",
}


def _hash(values: Sequence[Json], _scope: Scope) -> str:
    data, algorithm = values[0], _text(values[1])
    if algorithm not in _HASHES:
        raise ValueError(f"the algorithm is one of {', '.join(_HASHES)}, not {algorithm}")
    text = _short(data if isinstance(data, str) else encode(data))
    return hashlib.new(_HASHES[algorithm], text.encode(), usedforsecurity=False).hexdigest()


def _merge(values: Sequence[Json], _scope: Scope) -> dict[str, Json]:
    first, second, deep = values
    if deep is not False:
        raise ValueError("only shallow merging is supported: the third argument is false")
    _need(first, dict, "an object")
    _need(second, dict, "an object")
    return {**first, **second}


def _parse(values: Sequence[Json], _scope: Scope) -> Json:
    text = _text(values[0])
    return decode_from_outside(text) if text.strip() else None


def _random_number(values: Sequence[Json], scope: Scope) -> int:
    start, end = _whole(values[0]), _whole(values[1])
    if start >= end:
        raise ValueError(f"the start {start} is to be below the end {end}")
    dice = Random(_whole(values[2])) if len(values) > 2 else scope.random()  # noqa: S311
    return dice.randrange(start, end)


def _split(values: Sequence[Json], _scope: Scope) -> list[str]:
    text, separators = _text(values[0]), _text(values[1])
    if not separators:
        return [text]
    return [part for part in re.split(f"[{re.escape(separators)}]", text) if part]


def _uuid(_values: Sequence[Json], scope: Scope) -> str:
    return str(uuid.UUID(int=scope.random().getrandbits(128), version=4))


@dataclass(frozen=True, slots=True)
class _Function:
    arity: tuple[int, int]
    compute: Callable[[Sequence[Json], Scope], Json]


_MANY: Final = 10_000

_FUNCTIONS: Final[dict[str, _Function]] = {
    "Array": _Function((0, _MANY), lambda values, _: list(values)),
    "ArrayPartition": _Function((2, 2), _partition),
    "ArrayContains": _Function((2, 2), _contains),
    "ArrayRange": _Function((3, 3), _range),
    "ArrayGetItem": _Function((2, 2), _item),
    "ArrayLength": _Function((1, 1), lambda values, _: len(_list(values[0]))),
    "ArrayUnique": _Function((1, 1), _unique),
    "Base64Encode": _Function(
        (1, 1), lambda values, _: base64.b64encode(_short(values[0]).encode()).decode()
    ),
    "Base64Decode": _Function((1, 1), _base64_decode),
    "Hash": _Function((2, 2), _hash),
    "JsonMerge": _Function((3, 3), _merge),
    "StringToJson": _Function((1, 1), _parse),
    "JsonToString": _Function((1, 1), lambda values, _: encode(values[0])),
    "MathRandom": _Function((2, 3), _random_number),
    "MathAdd": _Function((2, 2), lambda values, _: _whole(values[0]) + _whole(values[1])),
    "StringSplit": _Function((2, 2), _split),
    "UUID": _Function((0, 0), _uuid),
    "Format": _Function((1, _MANY), _format),
}
