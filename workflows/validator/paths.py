"""Paths in a definition: which ones a state reads, as names to walk from the root.

Only what the data-flow rule needs: `$.a.b[0].c` is the names ("a", "b"), because what lies below an
index or a filter is the writer's business.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

Names = tuple[str, ...]
"""A place in the data, as names from the root; () is the root itself."""

CONTEXT_PATHS: tuple[Names, ...] = (
    ("Execution", "Id"),
    ("Execution", "Input"),
    ("Execution", "Name"),
    ("Execution", "RoleArn"),
    ("Execution", "StartTime"),
    ("Execution", "RedriveCount"),
    ("Execution", "RedriveTime"),
    ("State", "EnteredTime"),
    ("State", "Name"),
    ("State", "RetryCount"),
    ("StateMachine", "Id"),
    ("StateMachine", "Name"),
    ("Task", "Token"),
    ("Map", "Item"),
)
"""What the context object `$$` holds
(https://docs.aws.amazon.com/step-functions/latest/dg/input-output-contextobject.html)."""

_NAME = re.compile(r"\.([^.\[\]'\"*?()@$,\s]+)|\['((?:\\.|[^'\\])+)'\]|\[\"((?:\\.|[^\"\\])+)\"\]")
_LITERAL = re.compile(r"(?<!\[)'(?:\\.|[^'\\])*'")
_PATH_IN_CALL = re.compile(r"\$\$?(?:\.[^.\[\]'\"*?()@$,\s]+|\[[^\]]*\])*")


def names_of(path: str) -> Names:
    """Return the names that a path walks, up to its first index, wildcard or filter."""
    position, names = len(path) - len(path.lstrip("$")), []
    while found := _NAME.match(path, position):
        names.append(next(group for group in found.groups() if group is not None))
        position = found.end()
    return tuple(names)


def is_context(path: str) -> bool:
    """Return whether a path reads the context object instead of the state's data."""
    return path.startswith("$$")


def paths_in(expression: str) -> Iterator[str]:
    """Yield the paths in a path or an intrinsic function call, literals left out."""
    if expression.startswith("$"):
        yield expression
    else:
        yield from _PATH_IN_CALL.findall(_LITERAL.sub("", expression))


def template_expressions(template: object) -> Iterator[tuple[str, object]]:
    """Yield (key, expression) of every `key.$` in a payload template, however deep."""
    if isinstance(template, Mapping):
        for key, value in template.items():
            if str(key).endswith(".$"):
                yield str(key), value
            else:
                yield from template_expressions(value)
    elif isinstance(template, list):
        for value in template:
            yield from template_expressions(value)


def template_leaves(template: Mapping[str, Any]) -> Iterator[Names]:
    """Yield the places that a payload template fills."""
    for key, value in template.items():
        name = str(key).removesuffix(".$")
        if isinstance(value, Mapping) and value and not str(key).endswith(".$"):
            for leaf in template_leaves(value):
                yield (name, *leaf)
        else:
            yield (name,)
