"""The local platform's Step Functions: our engine as the port `Executions`, tasks on threads."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from atelier.contracts import logs
from atelier.contracts.errors import (
    AlreadyExists,
    AtelierError,
    ContractBroken,
    InvalidRequest,
    LedgerContention,
    NotFound,
    ServiceUnavailable,
)
from tasks.causes import cause_of, failure_of
from tasks.ports import Execution
from workflows.engine import errors as engine_errors
from workflows.engine.engine import (
    Engine,
    ExecutionAlreadyExists,
    ExecutionDoesNotExist,
    ExecutionNotRedrivable,
    ExecutionRecord,
    InvalidToken,
    Report,
    StateMachineDoesNotExist,
    StorageBroken,
    StorageContended,
    StorageUnavailable,
    TaskCall,
    TaskDoesNotExist,
    TaskFailure,
    TaskRunnerClosed,
    TaskSuccess,
    TaskTimedOut,
)

log = logging.getLogger(__name__)
Task = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class PlatformStopping(Exception):
    """The platform goes down while a task sleeps: the task ends there, as with its process."""


@dataclass(slots=True)
class TaskThreads:
    """Runs Lambda-backed tasks on threads of this process, as Lambda would run their handlers.

    `tasks` maps a function's name to its task, ports already bound. An error of the tree leaves
    under its class name; anything else under its own, like a Lambda function's unhandled error. A
    task that ends with `PlatformStopping` reports nothing: the next process issues its call again.
    """

    tasks: Mapping[str, Task]
    threads: int = 16
    _pool: ThreadPoolExecutor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Make the threads."""
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="task")

    def start(self, call: TaskCall, report: Report) -> None:
        """Run a task on a free thread; its outcome goes to `report`.

        Raises:
            TaskRunnerClosed: the platform is stopping; the next process issues the call again.
        """
        try:
            self._pool.submit(self._run_named, call, report)
        except RuntimeError as problem:
            raise TaskRunnerClosed from problem

    def cancel(self, call_id: str) -> None:
        """Do nothing: a task is short and idempotent, and its outcome is no longer awaited."""

    def close(self) -> None:
        """Let running tasks end and take no new ones."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _run_named(self, call: TaskCall, report: Report) -> None:
        with logs.about(execution=call.execution_arn.rpartition(":")[2]):
            self._run(call, report)

    def _run(self, call: TaskCall, report: Report) -> None:
        try:
            outcome = TaskSuccess(dict(self.tasks[call.function](call.payload)))
        except AtelierError as error:
            report(TaskFailure(error=error.name(), cause=cause_of(failure_of(error))))
        except PlatformStopping:
            log.info("task %s stays open", call.function)
        except Exception as error:
            log.exception("task %s failed", call.function)
            cause = json.dumps({"errorType": type(error).__name__, "errorMessage": str(error)})
            report(TaskFailure(error=type(error).__name__, cause=cause))
        else:
            report(outcome)


@dataclass(frozen=True, slots=True)
class LocalExecutions:
    """Implements `tasks.ports.Executions` on our engine."""

    engine: Engine

    def start(self, machine: str, name: str, given: Mapping[str, Any]) -> Execution:
        """Start an execution, or find the one of that name and input while it runs."""
        with _told_in_the_tree(machine, name):
            self.engine.start_execution(machine, name=name, input=dict(given))
        return self.describe(machine, name)

    def describe(self, machine: str, name: str) -> Execution:
        """Return an execution by machine and name."""
        return _execution(machine, self._find(machine, name))

    def stop(self, machine: str, name: str, *, error: str, cause: str) -> None:
        """Abort an execution at once."""
        record = self._find(machine, name)
        if record.status == "RUNNING":
            with _told_in_the_tree(machine, name):
                self.engine.stop_execution(record.arn, error=error, cause=cause)

    def redrive(self, machine: str, name: str) -> Execution:
        """Let an execution that did not end well go on where it did not."""
        with _told_in_the_tree(machine, name):
            self.engine.redrive_execution(self.engine.execution_arn(machine, name))
        return self.describe(machine, name)

    def succeed_task(self, token: str, output: Mapping[str, Any]) -> bool:
        """Complete a callback; False when nobody waits for it any more."""
        return _answered(lambda: self.engine.send_task_success(token, dict(output)), "output")

    def fail_task(self, token: str, *, error: str, cause: str) -> bool:
        """Fail a callback; False when nobody waits for it any more."""
        return _answered(
            lambda: self.engine.send_task_failure(token, error=error, cause=cause), "cause"
        )

    def _find(self, machine: str, name: str) -> ExecutionRecord:
        with _told_in_the_tree(machine, name):
            return self.engine.describe_execution(self.engine.execution_arn(machine, name))


def _answered(answer: Callable[[], None], where: str) -> bool:
    """Answer a callback; say whether anybody waited for it."""
    try:
        with _stored_in_the_tree():
            answer()
    except (TaskTimedOut, TaskDoesNotExist, InvalidToken):
        return False
    except engine_errors.InvalidRequest as problem:
        raise InvalidRequest(problem.message, where=where) from problem
    return True


@contextmanager
def _stored_in_the_tree() -> Iterator[None]:
    """Raise the engine's storage errors as the ledger raises its own."""
    try:
        yield
    except StorageContended as problem:
        raise LedgerContention(problem.message) from problem
    except StorageUnavailable as problem:
        raise ServiceUnavailable(problem.message) from problem
    except StorageBroken as problem:
        raise ContractBroken(problem.message, where="executions") from problem


@contextmanager
def _told_in_the_tree(machine: str, name: str) -> Iterator[None]:
    """Raise what the engine refuses as the tree's errors, which ports speak in."""
    try:
        with _stored_in_the_tree():
            yield
    except ExecutionAlreadyExists as problem:
        raise AlreadyExists(
            f"execution {name} of {machine} exists", kind="execution", name=name
        ) from problem
    except ExecutionDoesNotExist as problem:
        raise NotFound(
            f"no execution {name} of {machine}", kind="execution", name=name
        ) from problem
    except StateMachineDoesNotExist as problem:
        raise NotFound(
            f"no state machine {machine}", kind="state machine", name=machine
        ) from problem
    except (engine_errors.InvalidRequest, ExecutionNotRedrivable) as problem:
        raise InvalidRequest(problem.message, where=f"execution {name} of {machine}") from problem


def _execution(machine: str, record: ExecutionRecord) -> Execution:
    return Execution(
        arn=record.arn,
        machine=machine,
        name=record.name,
        status=record.status,
        error=record.error,
        cause=record.cause,
    )
