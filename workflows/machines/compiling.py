"""From the machines in Python to their committed JSON: compiled, validated, written or compared."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

from workflows.machines import dispatch, onboarding
from workflows.machines.asl import FOLDER, MACHINES, Compiled
from workflows.machines.sdk import Machine
from workflows.validator.findings import Finding, render
from workflows.validator.validating import validate_text

Builders = Mapping[str, Callable[[], Machine]]
BUILDERS: Builders = {
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


def compile_machine(name: str, builders: Builders = BUILDERS) -> str:
    """Return the text of a machine's definition: the same machine is the same text."""
    written = builders[name]().to_dict()
    states = {name: _ordered(state, STATE_FIELDS) for name, state in written["States"].items()}
    ordered = {**_ordered(written, MACHINE_FIELDS), "States": states}
    return json.dumps(ordered, indent=2, ensure_ascii=False) + "\n"


def write(
    out: TextIO, problems: TextIO, folder: Path = FOLDER, *, builders: Builders = BUILDERS
) -> int:
    """Write every definition; one that the validator finds fault with is not written.

    Returns:
        The exit code: 0, or 1 after a finding.
    """
    code = 0
    for name, machine in MACHINES.items():
        text = compile_machine(name, builders)
        if found := findings(machine, text):
            problems.write(f"{machine.file} is not written:\n{render(found)}")
            code = 1
            continue
        (folder / machine.file).write_text(text, encoding="utf-8")
        out.write(f"{machine.file}: {len(text):,} characters\n")
    return code


def check(problems: TextIO, folder: Path = FOLDER) -> int:
    """Say how the committed definitions differ from the compiled ones.

    Returns:
        The exit code: 0 when they do not, else 1.
    """
    differences = [text for machine in MACHINES.values() if (text := difference(machine, folder))]
    for text in differences:
        problems.write(text)
    if differences:
        problems.write("Run `python -m workflows.machines` and commit what it writes.\n")
    return 1 if differences else 0


def findings(machine: Compiled, text: str) -> tuple[Finding, ...]:
    """Return what the validator says of one of our machines."""
    return validate_text(text, input_paths=machine.input_paths, placeholders=machine.placeholders)


def difference(machine: Compiled, folder: Path = FOLDER) -> str:
    """Return how the committed text differs from the compiled one; empty when it does not."""
    path = folder / machine.file
    committed = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = difflib.unified_diff(
        committed.splitlines(keepends=True),
        compile_machine(machine.name).splitlines(keepends=True),
        fromfile=f"{path.name} (committed)",
        tofile=f"{path.name} (compiled)",
    )
    return "".join(lines)


def _ordered(fields: Mapping[str, Any], order: tuple[str, ...]) -> dict[str, Any]:
    if unknown := sorted(set(fields) - set(order)):
        raise ValueError(f"fields {unknown} have no place in the reading order; give them one")
    return {name: fields[name] for name in order if name in fields}
