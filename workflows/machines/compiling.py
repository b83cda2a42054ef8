"""From the machines in Python to the text of their committed JSON, and the comparison of both."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping
from typing import Any

from workflows.machines import dispatch, onboarding
from workflows.machines.asl import MACHINES
from workflows.machines.sdk import Machine

BUILDERS: Mapping[str, Callable[[], Machine]] = {
    onboarding.NAME: onboarding.build,
    dispatch.NAME: dispatch.build,
}

MACHINE_FIELDS = ("Comment", "Version", "TimeoutSeconds", "StartAt", "States")
STATE_FIELDS = (
    "Type",
    "Comment",
    "Resource",
    "Parameters",
    "TimeoutSeconds",
    "TimeoutSecondsPath",
    "SecondsPath",
    "ResultSelector",
    "ResultPath",
    "Retry",
    "Catch",
    "Choices",
    "Default",
    "Error",
    "ErrorPath",
    "Cause",
    "CausePath",
    "Next",
    "End",
)
"""The order in which people read a state: what it is, why, what it does, where it goes."""


def compile_machine(name: str) -> str:
    """Return the text of a machine's definition: the same machine is the same text."""
    written = BUILDERS[name]().to_dict()
    states = {name: _ordered(state, STATE_FIELDS) for name, state in written["States"].items()}
    ordered = {**_ordered(written, MACHINE_FIELDS), "States": states}
    return json.dumps(ordered, indent=2, ensure_ascii=False) + "\n"


def difference(name: str) -> str:
    """Return how the committed text differs from the compiled one; empty when it does not."""
    path = MACHINES[name].path
    committed = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = difflib.unified_diff(
        committed.splitlines(keepends=True),
        compile_machine(name).splitlines(keepends=True),
        fromfile=f"{path.name} (committed)",
        tofile=f"{path.name} (compiled)",
    )
    return "".join(lines)


def _ordered(fields: Mapping[str, Any], order: tuple[str, ...]) -> dict[str, Any]:
    if unknown := sorted(set(fields) - set(order)):
        raise ValueError(f"fields {unknown} have no place in the reading order; give them one")
    return {name: fields[name] for name in order if name in fields}
