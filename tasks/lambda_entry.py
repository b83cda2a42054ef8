"""The Lambda functions' one entry: parse, run, encode. A composition root binds the ports.

Lambda names a failed invocation's error after the exception's class and its cause after the
exception's text, and takes nothing else along. So an error of the tree is raised under its own
class name, with our JSON as its text (`tasks.causes` reads it back).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from atelier.contracts.documents import encode
from atelier.contracts.errors import AtelierError
from tasks.causes import cause_of, failure_of
from tasks.logged import run_logged
from tasks.ports import Ports
from tasks.table import TASKS

TASK_VARIABLE = "ATELIER_TASK"
"""Which task a function runs: a name of `tasks.table.TASKS`."""

Handler = Callable[[Mapping[str, Any], object], dict[str, Any]]


class LambdaError(Exception):
    """Base of what leaves a function; its subclasses bear the tree's names."""


def make_handler(environment: Mapping[str, str], *, ports: Ports) -> Handler:
    """Return the handler of the function that the environment names.

    Raises:
        ValueError: it names none.
    """
    name = environment.get(TASK_VARIABLE, "")
    if name not in TASKS:
        raise ValueError(f"{TASK_VARIABLE} is {name!r}; one of {sorted(TASKS)} is allowed")
    task = TASKS[name]

    def handle(event: Mapping[str, Any], _context: object) -> dict[str, Any]:
        try:
            return dict(encode(run_logged(name, task, event, ports=ports)))
        except AtelierError as error:
            # Only the text may leave: a chained traceback would show payloads in the cause.
            raise lambda_error(error) from None

    return handle


def lambda_error(error: AtelierError) -> LambdaError:
    """Return the exception that Lambda reports under the error's own name."""
    kind: type[LambdaError] = type(error.name(), (LambdaError,), {})
    return kind(cause_of(failure_of(error)))
