"""Run a task with a log line before nothing and after everything: which task, of what, how long.

Everything that is logged inside names the onboarding, the job and the execution that the payload
speaks of. The line after it has only what the machines branch on; payloads hold tokens and what
people wrote, and are never logged.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, Final, Protocol

from atelier.contracts import ids, logs
from atelier.contracts.errors import AtelierError, WaitError
from tasks.ports import Ports

log = logging.getLogger(__name__)

TOLD: Final = ("state", "wait_seconds", "turn", "known", "version", "more", "outcome", "mended")
"""What of a task's result is told: words and numbers of ours."""
_EXECUTION: Final = re.compile(r"[A-Za-z0-9_-]{1,80}")


class Task(Protocol):
    """A task, as `tasks.table` has it."""

    def __call__(self, given: Mapping[str, Any], *, ports: Ports) -> dict[str, Any]:
        """Take a state's payload and return its result."""
        ...


def run_logged(name: str, task: Task, given: Mapping[str, Any], *, ports: Ports) -> dict[str, Any]:
    """Run a task; its errors are told by name and leave as they are."""
    clock = ports.clock
    began = clock.monotonic_seconds()
    with logs.about(task=name, **subject_of(given)):
        try:
            result = task(given, ports=ports)
        except AtelierError as error:
            level = logging.INFO if isinstance(error, WaitError) else logging.WARNING
            seconds = clock.monotonic_seconds() - began
            log.log(level, "%s raised %s after %.2f s", name, error.name(), seconds)
            raise
        with logs.about(**subject_of(result)):
            seconds = clock.monotonic_seconds() - began
            log.info("%s took %.2f s%s", name, seconds, _outcome(result))
    return result


def subject_of(given: Mapping[str, Any]) -> dict[str, str]:
    """Return the ids that a payload or a result names, as far as they are ids."""
    found = {
        "request": (given.get("request"), ids.REQUEST_PATTERN),
        "job": (given.get("job") or given.get("TrainingJobName"), ids.JOB_PATTERN),
        "execution": (given.get("execution") or given.get("name"), _EXECUTION),
    }
    return {
        name: value
        for name, (value, pattern) in found.items()
        if isinstance(value, str) and pattern.fullmatch(value)
    }


def _outcome(result: Mapping[str, Any]) -> str:
    told = [f"{name} {result[name]}" for name in TOLD if isinstance(result.get(name), str | int)]
    return f": {', '.join(told)}" if told else ""
