"""The validator's door: a definition in, findings out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from workflows.validator import rules
from workflows.validator.findings import Finding
from workflows.validator.shape import MALFORMED, shape_findings
from workflows.validator.subject import Subject

MAX_DEFINITION_CHARACTERS = 1_048_576


def validate(
    machine: Mapping[str, Any],
    *,
    input_paths: Sequence[str] = (),
    placeholders: Collection[str] | None = None,
) -> tuple[Finding, ...]:
    """Return what is wrong with a state machine, nothing if nothing is.

    Args:
        machine: the definition, a JSON object.
        input_paths: paths that every input of an execution holds, such as `$.epoch`.
        placeholders: names that a platform fills in, `RegisterFunction` for `${RegisterFunction}`;
            without them placeholders are not looked at.
    """
    found = tuple(shape_findings(machine))
    if found:
        return found
    known = None if placeholders is None else frozenset(placeholders)
    subject = Subject(machine, tuple(input_paths), known)
    return tuple(rules.ask(subject))


def validate_text(
    text: str, *, input_paths: Sequence[str] = (), placeholders: Collection[str] | None = None
) -> tuple[Finding, ...]:
    """Return what is wrong with a definition as text, where also a name can stand twice."""
    if len(text) > MAX_DEFINITION_CHARACTERS:
        message = f"{len(text):,} characters; AWS takes {MAX_DEFINITION_CHARACTERS:,}, so split it"
        return (Finding("", MALFORMED, message),)
    twice: list[Finding] = []

    def pairs(given: list[tuple[str, Any]]) -> dict[str, Any]:
        for name, count in Counter(name for name, _ in given).items():
            if count > 1:
                message = f"stands {count} times in one object; only the last is read, name it once"
                twice.append(Finding(name, "duplicate-name", message))
        return dict(given)

    try:
        machine = json.loads(text, object_pairs_hook=pairs)
    except (ValueError, RecursionError) as problem:
        return (Finding("", MALFORMED, f"no readable JSON: {problem}"),)
    found = validate(machine, input_paths=input_paths, placeholders=placeholders)
    return (*twice, *found)
