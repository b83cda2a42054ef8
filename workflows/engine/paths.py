"""JSONPath as the Amazon States Language uses it: paths that read, reference paths that write.

A path starts at the state's data (`$.a`), the context object (`$$.Execution.Id`) or a variable
(`$name.a`). A path of names and indexes alone is definite and selects one value or nothing;
wildcards, slices, unions, descent and filters make it indefinite, and it selects a list.

Source: https://docs.aws.amazon.com/step-functions/latest/dg/amazon-states-language-paths.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from workflows.engine.filters import compile_filter
from workflows.engine.jsontext import MISSING, Json


@dataclass(slots=True)
class Scope:
    """What expressions of one state can see.

    Attributes:
        data: What `$` means at this point of the visit.
        variables: The workflow variables as they were when the state was entered.
        context: The context object, `$$`.
        seed: Where this visit's randomness comes from; the same seed gives the same draws.
    """

    data: Json
    variables: Mapping[str, Json]
    context: Json
    seed: str = ""
    _random: Random | None = field(default=None, repr=False)

    def on(self, data: Json) -> Scope:
        """Return this scope with another meaning of `$`."""
        return Scope(data, self.variables, self.context, self.seed, self._random)

    def random(self) -> Random:
        """Return the visit's own source of randomness."""
        if self._random is None:
            self._random = Random(self.seed)  # noqa: S311 - reproducible on purpose
        return self._random


Select = Callable[[Json], Iterable[Json]]
"""One step of an indefinite path: a value's selected children."""


@dataclass(frozen=True, slots=True)
class Path:
    """A compiled path.

    Attributes:
        text: The path as written.
        root: `data`, `context` or `variable`.
        variable: The variable's name when that is the root.
        keys: Names and indexes of a definite path.
        selects: The steps of an indefinite path; None for a definite one.
    """

    text: str
    root: str
    variable: str
    keys: tuple[str | int, ...]
    selects: tuple[Select, ...] | None

    def find(self, scope: Scope) -> Json:
        """Return what the path selects: a value or MISSING; a list when it is indefinite."""
        return self.find_in(self.root_in(scope))

    def root_in(self, scope: Scope) -> Json:
        """Return the value that the path starts from."""
        if self.root == "data":
            return scope.data
        if self.root == "context":
            return scope.context
        return scope.variables.get(self.variable, MISSING)

    def find_in(self, value: Json) -> Json:
        """Return what the path selects below `value`, its root taken as given."""
        if self.selects is not None:
            found = [] if value is MISSING else [value]
            for select in self.selects:
                found = [child for parent in found for child in select(parent)]
            return found
        for key in self.keys:
            value = _child(value, key)
            if value is MISSING:
                break
        return value

    def explain_missing(self, value: Json) -> str:
        """Say why a definite path finds nothing below `value`, in AWS's words."""
        told = "$"
        for place, key in enumerate(self.keys):
            told += f"['{key}']" if isinstance(key, str) else f"[{key}]"
            value = _child(value, key)
            if value is MISSING and place < len(self.keys) - 1:
                return f"Missing property in path {told}"
        return f"No results for path: {told}"

    @property
    def writes(self) -> bool:
        """Whether this is a reference path: it can say where a result goes."""
        return self.root == "data" and self.selects is None


def put(keys: Sequence[str | int], document: Json, value: Json) -> Json:
    """Return `document` with `value` at `keys`; what is on the way is copied, never changed.

    Objects that are missing on the way are made, as AWS does for ResultPath.

    Raises:
        LookupError: a name meets something that is no object, or an index finds no element.
    """
    if not keys:
        return value
    key, rest = keys[0], keys[1:]
    if isinstance(key, str):
        if not isinstance(document, dict):
            raise LookupError(  # noqa: TRY004 - nothing is found under that name
                f"'{key}' cannot be set on something that is no object"
            )
        return {**document, key: put(rest, document.get(key, {}), value)}
    if not isinstance(document, list) or not 0 <= key < len(document):
        raise LookupError(f"there is no element {key}")
    copy = list(document)
    copy[key] = put(rest, document[key], value)
    return copy


def compile_path(text: str) -> Path:
    """Compile a path.

    Raises:
        ValueError: the text is no path; the message says from which character on.
    """
    if not text.startswith("$"):
        raise ValueError(f"a path starts with $, not as {text!r} does")
    root, variable, position = "data", "", 1
    if text.startswith("$$"):
        root, position = "context", 2
    elif match := _VARIABLE.match(text, 1):
        root, variable, position = "variable", match.group(), match.end()
    keys: list[str | int] = []
    selects: list[Select] = []
    definite = True
    while position < len(text):
        key, select, position = _step(text, position)
        definite = definite and key is not None
        if key is not None:
            keys.append(key)
        selects.append(select)
    if definite:
        return Path(text, root, variable, tuple(keys), None)
    return Path(text, root, variable, (), tuple(selects))


_VARIABLE: Final = re.compile(r"[^\W\d][\w]*")
_NAME: Final = re.compile(r"[^\s.\[\]()'\",*@$?:&|=!<>+]+")
_INDEX: Final = re.compile(r"\[\s*(-?\d+)\s*\]")
_QUOTED: Final = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)\"""")
_UNION: Final = re.compile(r"\[([^\]?]*)\]")
_SLICE: Final = re.compile(r"\[\s*(-?\d*)\s*:\s*(-?\d*)\s*(?::\s*(-?\d*)\s*)?\]")


def _step(text: str, position: int) -> tuple[str | int | None, Select, int]:
    """Read one step; its key is None unless it selects one child at most."""
    if text.startswith("..", position):
        position += 2
        if text.startswith("[", position):
            _, select, end = _bracket(text, position)
        else:
            _, select, end = _dotted(text, position)
        return None, _descend(select), end
    if text[position] == ".":
        return _dotted(text, position + 1)
    if text[position] == "[":
        return _bracket(text, position)
    raise ValueError(f"{text!r} is no path from character {position} on: {text[position:]!r}")


def _dotted(text: str, position: int) -> tuple[str | int | None, Select, int]:
    if text.startswith("*", position):
        return None, _children, position + 1
    match = _NAME.match(text, position)
    if match is None or text.startswith("(", match.end()):
        raise ValueError(f"{text!r} is no path from character {position} on: {text[position:]!r}")
    name = match.group()
    return name, _picking((name,)), match.end()


def _bracket(text: str, position: int) -> tuple[str | int | None, Select, int]:
    if text.startswith("[*]", position):
        return None, _children, position + 3
    if match := _INDEX.match(text, position):
        index = int(match.group(1))
        return index, _picking((index,)), match.end()
    if match := _SLICE.match(text, position):
        return None, _slicing(*match.groups()), match.end()
    if text.startswith("[?(", position):
        keep, end = compile_filter(text, position + 3, find=lambda path: compile_path(path).find_in)
        return None, _filtering(keep), end
    names: list[str | int] = []
    cursor = position + 1
    while match := _QUOTED.match(text, cursor):
        single, double = match.groups()
        names.append(re.sub(r"\\(.)", r"\1", double if single is None else single))
        cursor = match.end()
        if text.startswith("]", cursor):
            return (names[0] if len(names) == 1 else None), _picking(tuple(names)), cursor + 1
        cursor = _after_comma(text, cursor)
    if match := _UNION.match(text, position):
        parts = match.group(1).split(",")
        if all(re.fullmatch(r"\s*-?\d+\s*", part) for part in parts):
            return None, _picking(tuple(int(part) for part in parts)), match.end()
    raise ValueError(f"{text!r} is no path from character {position} on: {text[position:]!r}")


def _after_comma(text: str, position: int) -> int:
    match = re.compile(r"\s*,\s*").match(text, position)
    if match is None:
        raise ValueError(f"{text!r} is no path from character {position} on: {text[position:]!r}")
    return match.end()


def _child(value: Json, key: str | int) -> Json:
    if isinstance(key, str):
        return value.get(key, MISSING) if isinstance(value, dict) else MISSING
    if isinstance(value, list) and -len(value) <= key < len(value):
        return value[key]
    return MISSING


def _children(value: Json) -> Iterable[Json]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else ()


def _picking(keys: tuple[str | int, ...]) -> Select:
    def select(value: Json) -> Iterator[Json]:
        for key in keys:
            child = _child(value, key)
            if child is not MISSING:
                yield child

    return select


def _slicing(start: str | None, stop: str | None, stride: str | None) -> Select:
    part = slice(*(int(bound) if bound else None for bound in (start, stop, stride)))
    if part.step == 0:
        raise ValueError("a slice cannot step by 0")
    return lambda value: value[part] if isinstance(value, list) else ()


def _filtering(keep: Callable[[Json], bool]) -> Select:
    return lambda value: [child for child in _children(value) if keep(child)]


def _descend(select: Select) -> Select:
    def every(value: Json) -> Iterator[Json]:
        yield from select(value)
        for child in _children(value):
            yield from every(child)

    return every
