"""Filter expressions inside paths, such as `$.photos[?(@.width >= 512 && @.ok == true)]`.

expression := and ("||" and)*      and := unary ("&&" unary)*
unary := "!" unary | "(" expression ")" | operand [comparison operand]
operand := "@" path | string | number | true | false | null
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from workflows.engine.jsontext import MISSING, Json, canonical

Keep = Callable[[Json], bool]
"""Whether a child passes the filter."""

_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<sign>\|\||&&|==|!=|<=|>=|<|>|!|\(|\)|\])"""
    r"""|(?P<path>@(?:\.[^\s.\[\]()'"=!<>&|]+|\[[^\]]*\])*)"""
    r"""|(?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
    r"""|(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)"""
    r"""|(?P<word>true|false|null))"""
)
_ORDERED: Final[dict[str, Callable[[Json, Json], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_WORDS: Final[dict[str, Json]] = {"true": True, "false": False, "null": None}


Find = Callable[[Json], Json]
"""What a path or a constant stands for, given the child that is looked at."""


def compile_filter(text: str, position: int, *, find: Callable[[str], Find]) -> tuple[Keep, int]:
    """Compile the filter that starts after `[?(`; return it and where the path goes on.

    Args:
        text: The whole path.
        position: Where the expression starts.
        find: Compiles a path that starts at the child, as `$…`.

    Raises:
        ValueError: the text is no filter expression.
    """
    reader = _Reader(text, position, find)
    keep = _either(reader)
    reader.expect(")")
    reader.expect("]")
    return keep, reader.position


@dataclass(slots=True)
class _Reader:
    text: str
    position: int
    find: Callable[[str], Find]

    def peek(self) -> tuple[str, str]:
        match = _TOKEN.match(self.text, self.position)
        if match is None or match.lastgroup is None:
            raise ValueError(
                f"{self.text!r} holds no filter from character {self.position} on: "
                f"{self.text[self.position :]!r}"
            )
        return match.lastgroup, match.group(match.lastgroup)

    def take(self) -> tuple[str, str]:
        token = self.peek()
        match = _TOKEN.match(self.text, self.position)
        assert match is not None  # noqa: S101 - peek has just found it
        self.position = match.end()
        return token

    def expect(self, sign: str) -> None:
        kind, value = self.take()
        if (kind, value) != ("sign", sign):
            raise ValueError(f"{self.text!r}: {sign!r} is expected where {value!r} stands")

    def at(self, *signs: str) -> bool:
        kind, value = self.peek()
        return kind == "sign" and value in signs


def _either(reader: _Reader) -> Keep:
    parts = [_both(reader)]
    while reader.at("||"):
        reader.take()
        parts.append(_both(reader))
    return parts[0] if len(parts) == 1 else lambda child: any(part(child) for part in parts)


def _both(reader: _Reader) -> Keep:
    parts = [_unary(reader)]
    while reader.at("&&"):
        reader.take()
        parts.append(_unary(reader))
    return parts[0] if len(parts) == 1 else lambda child: all(part(child) for part in parts)


def _unary(reader: _Reader) -> Keep:
    if reader.at("!"):
        reader.take()
        inner = _unary(reader)
        return lambda child: not inner(child)
    if reader.at("("):
        reader.take()
        inner = _either(reader)
        reader.expect(")")
        return inner
    left = _operand(reader)
    if not reader.at("==", "!=", *_ORDERED):
        return lambda child: left(child) is not MISSING
    sign = reader.take()[1]
    right = _operand(reader)
    return lambda child: _compare(sign, left(child), right(child))


def _operand(reader: _Reader) -> Find:
    kind, value = reader.take()
    if kind == "path":
        return reader.find("$" + value[1:])
    if kind == "string":
        literal: Json = re.sub(r"\\(.)", r"\1", value[1:-1])
    elif kind == "number":
        literal = float(value) if any(mark in value for mark in ".eE") else int(value)
    elif kind == "word":
        literal = _WORDS[value]
    else:
        raise ValueError(f"{reader.text!r}: a value is expected where {value!r} stands")
    return lambda _child: literal


def _compare(sign: str, left: Json, right: Json) -> bool:
    if left is MISSING or right is MISSING:
        return sign == "!=" and left is not right
    if sign in ("==", "!="):
        same = left == right if _numbers(left, right) else canonical(left) == canonical(right)
        return same is (sign == "==")
    comparable = _numbers(left, right) or (isinstance(left, str) and isinstance(right, str))
    return comparable and _ORDERED[sign](left, right)


def _numbers(*values: Json) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
