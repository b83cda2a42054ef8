"""The compiled state machines, as every platform reads them: JSON beside this module.

    onboarding   one execution per attempt of an onboarding request
    dispatch     one execution per epoch of the dispatcher

Reading them needs the standard library alone. `python -m workflows.machines` writes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from atelier.contracts.documents import parse_json

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Compiled:
    """What is known of a machine without compiling it.

    Attributes:
        name: as `Executions.start` takes it.
        functions: names of the task functions that its placeholders stand for.
        input_paths: what every input holds; states may read these without anybody writing them.
    """

    name: str
    functions: tuple[str, ...]
    input_paths: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        """The definition's file name."""
        return f"{self.name}.asl.json"

    @property
    def path(self) -> Path:
        """Where the committed definition lies."""
        return FOLDER / self.file

    @property
    def placeholders(self) -> Mapping[str, str]:
        """Placeholder (without `${}`) → function: `RegisterFunction` → `Register`."""
        return {f"{function}Function": function for function in self.functions}


MACHINES: Mapping[str, Compiled] = {
    machine.name: machine
    for machine in (
        Compiled(
            "onboarding",
            functions=(
                "Register",
                "LaunchTraining",
                "SyncCheckpoints",
                "PublishModel",
                "Announce",
                "RecordFailure",
            ),
        ),
        Compiled("dispatch", functions=("LaunchRound",), input_paths=("$.epoch",)),
    )
}


def load(name: str) -> dict[str, Any]:
    """Return a machine's definition, its function placeholders still in place.

    Raises:
        KeyError: there is no machine of that name.
    """
    return cast("dict[str, Any]", parse_json(MACHINES[name].path.read_bytes()))
