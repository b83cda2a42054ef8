"""Rules on the data: what states read, hand out and call."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from workflows.validator import dataflow
from workflows.validator.dataflow import Known
from workflows.validator.findings import meant
from workflows.validator.levels import State
from workflows.validator.paths import (
    CONTEXT_PATHS,
    is_context,
    names_of,
    paths_in,
    template_expressions,
)
from workflows.validator.subject import At, Found, Subject

CALLBACK: Final = ".waitForTaskToken"
JOB: Final = ".sync"
TOKEN: Final = ("Task", "Token")
PLACEHOLDER: Final = re.compile(r"\$\{([^}]*)\}")


def path_not_written(subject: Subject) -> Found:
    """Find a read of data that some way to it does not write."""
    outermost = next(subject.levels())
    given = Known.of(names_of(path) for path in subject.input_paths)
    for read in dataflow.unwritten(outermost, given):
        if read.place.startswith("ResultSelector"):
            why = "which a function's answer does not hold; what it returned lies at $.Payload"
        elif len(read.way) > 1:
            way = " → ".join(read.way)
            why = f"which nobody writes on the way {way}; write it before, or ask IsPresent first"
        else:
            why = "which is not there; correct the path, or write it before"
        yield At(read.state, f"{read.place} reads {read.path}, {why}")


def bad_expression(subject: Subject) -> Found:
    """Find a template key with .$ that has no path."""
    for name, state in subject.states():
        for field in ("Parameters", "ResultSelector", "ItemSelector"):
            for key, expression in template_expressions(state.get(field)):
                if not isinstance(expression, str) or not expression.startswith(("$", "States.")):
                    yield At(
                        name,
                        f"{field} {key} is {expression!r}; a key that ends in .$ takes a path or "
                        "an intrinsic function, so correct it or drop the .$",
                    )


def unknown_context(subject: Subject) -> Found:
    """Find a path into the context object that is not there."""
    for name, state in subject.states():
        for path in _context_paths(state):
            names = names_of(path)
            if not any(names[: len(k)] == k or k[: len(names)] == names for k in CONTEXT_PATHS):
                yield At(name, f"{path} is nothing that the context object holds; correct the path")


def callback_without_token(subject: Subject) -> Found:
    """Find a callback without its token, or a token without its callback."""
    for name, state in subject.states():
        resource = str(state.get("Resource", ""))
        waits = resource.endswith(CALLBACK)
        hands_out = any(names_of(path)[:2] == TOKEN for path in _context_paths(state))
        if waits and not hands_out:
            yield At(
                name,
                "waits for a token that it hands to nobody; pass $$.Task.Token in Parameters",
            )
        # A job that is waited for (.sync) may be completed early by its token.
        if hands_out and not waits and JOB not in resource:
            yield At(
                name,
                "hands out $$.Task.Token without waiting for it; add .waitForTaskToken to the "
                "Resource",
            )


def unknown_placeholder(subject: Subject) -> Found:
    """Find a ${…} that no platform fills in."""
    if subject.placeholders is None:
        return
    for name, state in subject.states():
        for text in _texts({k: v for k, v in state.items() if k in {"Resource", "Parameters"}}):
            for placeholder in PLACEHOLDER.findall(text):
                if placeholder not in subject.placeholders:
                    yield At(
                        name,
                        f"no platform fills in ${{{placeholder}}}; "
                        f"{meant(placeholder, sorted(subject.placeholders))}",
                    )


def _context_paths(state: State) -> Iterator[str]:
    for field in ("Parameters", "ResultSelector", "ItemSelector"):
        for _, expression in template_expressions(state.get(field)):
            if isinstance(expression, str):
                yield from (path for path in paths_in(expression) if is_context(path))
    for key, value in state.items():
        if key.endswith("Path") and isinstance(value, str) and is_context(value):
            yield value


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
