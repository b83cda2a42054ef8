"""The door to `workflows.engine`: what Step Functions' API offers, in this process.

Calls may come from any thread; a lock lets one fold run at a time. Task outcomes only enter an
inbox, which `serve` empties, so that a task's thread never waits for the engine.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from atelier.contracts.clock import Clock
from workflows.engine.calls import (
    PAGE_LIMIT,
    Page,
    StartedExecution,
    check_page_size,
    check_told,
    json_text,
    position,
)
from workflows.engine.errors import (
    DoesNotExist,
    EngineError,
    ExecutionAlreadyExists,
    ExecutionDoesNotExist,
    ExecutionNotRedrivable,
    InvalidArn,
    InvalidDefinition,
    InvalidExecutionInput,
    InvalidName,
    InvalidOutput,
    InvalidRequest,
    InvalidToken,
    StateMachineDoesNotExist,
    StorageBroken,
    StorageContended,
    StorageError,
    StorageUnavailable,
    TaskDoesNotExist,
    TaskTimedOut,
    TooLate,
    UnsupportedDefinition,
    ValidationError,
)
from workflows.engine.execution import Execution, ExecutionStatus, Facts
from workflows.engine.happenings import (
    CallbackFailed,
    CallbackSucceeded,
    Heartbeat,
    Stopped,
)
from workflows.engine.history import HistoryEvent
from workflows.engine.host import Host, Recovery
from workflows.engine.jsontext import (
    Json,
    canonical,
    decode,
)
from workflows.engine.lambda_tasks import (
    Report,
    TaskCall,
    TaskFailure,
    TaskOutcome,
    TaskRunner,
    TaskRunnerClosed,
    TaskSuccess,
    is_lambda,
)
from workflows.engine.registry import Registered, Registry
from workflows.engine.sqlite_store import SqliteHistoryStore
from workflows.engine.status_events import StatusEvents, Subscriber
from workflows.engine.store import (
    ExecutionRecord,
    HistoryStore,
    MemoryHistoryStore,
)
from workflows.engine.tokens import read_token

__all__ = [
    "DoesNotExist",
    "Engine",
    "EngineError",
    "ExecutionAlreadyExists",
    "ExecutionDoesNotExist",
    "ExecutionNotRedrivable",
    "ExecutionRecord",
    "ExecutionStatus",
    "HistoryEvent",
    "HistoryStore",
    "InvalidArn",
    "InvalidDefinition",
    "InvalidExecutionInput",
    "InvalidName",
    "InvalidOutput",
    "InvalidRequest",
    "InvalidToken",
    "MemoryHistoryStore",
    "Page",
    "Recovery",
    "Registered",
    "Report",
    "SqliteHistoryStore",
    "StartedExecution",
    "StateMachineDoesNotExist",
    "StorageBroken",
    "StorageContended",
    "StorageError",
    "StorageUnavailable",
    "Subscriber",
    "TaskCall",
    "TaskDoesNotExist",
    "TaskFailure",
    "TaskOutcome",
    "TaskRunner",
    "TaskRunnerClosed",
    "TaskSuccess",
    "TaskTimedOut",
    "TooLate",
    "UnsupportedDefinition",
    "ValidationError",
]

_log: Final = logging.getLogger(__name__)

_LONGEST_NAP_SECONDS: Final = 0.5
_SHORTEST_PAUSE_SECONDS: Final = 0.05
_LONGEST_PAUSE_SECONDS: Final = 5.0


class Engine:
    """Runs executions.

    Args:
        store: Where histories live.
        tasks: Runs the functions behind Task states.
        clock: The time; a ManualClock for virtual time.
        region: The region in ARNs.
        account: The account in ARNs.
        batch: How many happenings one transaction takes at most.
    """

    def __init__(
        self,
        *,
        store: HistoryStore,
        tasks: TaskRunner,
        clock: Clock,
        region: str = "local",
        account: str = "000000000000",
        batch: int = 256,
    ) -> None:
        self._store = store
        self._clock = clock
        self._region = region
        self._role_arn = f"arn:aws:iam::{account}:role/{region}"
        self._token_key = store.token_key()
        self._registry = Registry(region=region, account=account, supports=is_lambda)
        self._status_events = StatusEvents(region=region, account=account)
        self._lock = threading.RLock()
        self._host = Host(
            store=store,
            tasks=tasks,
            clock=clock,
            make=self._execution,
            announce=self._status_events,
            batch=batch,
        )

    # --- state machines ------------------------------------------------------------------------

    def register(
        self,
        name: str,
        definition: Mapping[str, Json],
        *,
        substitutions: Mapping[str, str] | None = None,
    ) -> str:
        """Create a state machine, or update it: running executions keep the old definition.

        Args:
            name: Its name.
            definition: Amazon States Language.
            substitutions: What its `${Name}` placeholders stand for.

        Returns:
            Its ARN.

        Raises:
            InvalidName: AWS would refuse the name.
            InvalidDefinition: the definition breaks the language.
            UnsupportedDefinition: it uses what this engine does not run.
        """
        with self._lock:
            return self._registry.register(name, definition, substitutions or {}).arn

    def describe_state_machine(self, machine: str) -> Registered:
        """Return a state machine by name or ARN, its placeholders filled in.

        Raises:
            StateMachineDoesNotExist: there is none.
        """
        return self._registry.find(machine)

    def subscribe(self, subscriber: Subscriber) -> None:
        """Tell `subscriber` every change of an execution's status from now on."""
        self._status_events.subscribe(subscriber)

    # --- executions ----------------------------------------------------------------------------

    def start_execution(
        self,
        machine: str,
        *,
        name: str,
        input: Json,  # noqa: A002 - AWS's word
    ) -> StartedExecution:
        """Start an execution; a name starts one execution only.

        Args:
            machine: The state machine's name or ARN.
            name: The execution's name.
            input: A JSON value.

        Raises:
            StateMachineDoesNotExist: there is no such state machine.
            InvalidName: AWS would refuse the name.
            InvalidExecutionInput: the input is no JSON, or too large.
            ExecutionAlreadyExists: the name was used, for another input or a while ago.
        """
        text = json_text(input, InvalidExecutionInput, "State Machine Execution Input")
        with self._lock:
            registered = self._registry.find(machine)
            arn = self._registry.execution_arn(registered, name)
            known = self._store.find(arn)
            if known is not None:
                same = canonical(decode(known.input)) == canonical(decode(text))
                if same and known.status is ExecutionStatus.RUNNING:
                    return StartedExecution(arn, known.start_date)
                raise ExecutionAlreadyExists(
                    f"Execution Already Exists: '{arn}' is {known.status.value}; a name starts one "
                    "execution only"
                )
            record = ExecutionRecord(
                arn=arn,
                machine_arn=registered.arn,
                name=name,
                status=ExecutionStatus.RUNNING,
                start_date=self._clock.now(),
                input=text,
                definition=registered.definition,
            )
            self._host.open(record)
            return StartedExecution(arn, record.start_date)

    def redrive_execution(self, execution_arn: str) -> datetime:
        """Let an execution that failed, timed out or was aborted go on where it did.

        The states that did not complete are worked on again, with the same definition and input,
        new task tokens, new timeouts, and as many retries as at first.

        Returns:
            When it went on.

        Raises:
            ExecutionDoesNotExist: there is no such execution.
            ExecutionNotRedrivable: it runs or has succeeded, ended more than 14 days ago, was
                redriven 1,000 times, has no room in its history, or cannot be folded any more.
        """
        with self._lock:
            record = self.describe_execution(execution_arn)
            reason = record.why_not_redrivable(self._clock.now())
            if reason is not None:
                raise ExecutionNotRedrivable(f"Execution Not Redrivable: '{record.arn}': {reason}")
            self._host.redrive(record)
            return self.describe_execution(execution_arn).redrive_date or self._clock.now()

    def stop_execution(
        self, execution_arn: str, *, error: str | None = None, cause: str | None = None
    ) -> datetime:
        """Stop an execution at once, whatever it waits for; one that has ended stays as it is.

        Returns:
            When it ended.

        Raises:
            ExecutionDoesNotExist: there is no such execution.
            ValidationError: error or cause is too long.
        """
        check_told(error, cause)
        with self._lock:
            self._host.ensure_open(self.describe_execution(execution_arn))
            self._host.fold([(execution_arn, Stopped(error, cause))])
            return self.describe_execution(execution_arn).stop_date or self._clock.now()

    def execution_arn(self, machine: str, name: str) -> str:
        """Return the ARN that an execution of that name has or would have.

        Raises:
            StateMachineDoesNotExist: no machine of that name or ARN is registered.
        """
        return self._registry.execution_arn(self._registry.find(machine), name)

    def describe_execution(self, execution_arn: str) -> ExecutionRecord:
        """Return what is known about an execution.

        Raises:
            InvalidArn: this is no execution's ARN.
            ExecutionDoesNotExist: there is no such execution.
        """
        self._registry.check_execution_arn(execution_arn)
        record = self._store.find(execution_arn)
        if record is None:
            raise ExecutionDoesNotExist(f"Execution Does Not Exist: '{execution_arn}'")
        return record

    def list_executions(
        self,
        machine: str | None = None,
        *,
        status: str | None = None,
        max_results: int = 100,
        next_token: str | None = None,
    ) -> Page[ExecutionRecord]:
        """Return executions, the newest first; of one state machine, or of all.

        Raises:
            StateMachineDoesNotExist: there is no such state machine.
            InvalidToken: `next_token` comes from elsewhere.
            ValidationError: there is no such status, or `max_results` is outside 1…1000.
        """
        check_page_size(max_results)
        if status is not None and status not in ExecutionStatus.__members__:
            raise ValidationError(f"status is one of {', '.join(ExecutionStatus)}, not {status!r}")
        skip = position(next_token, 0)
        machine_arn = None if machine is None else self._registry.find(machine).arn
        wanted = None if status is None else ExecutionStatus(status)
        found = self._store.executions(machine_arn, status=wanted, skip=skip, limit=max_results + 1)
        more = len(found) > max_results
        return Page(tuple(found[:max_results]), str(skip + max_results) if more else None)

    def get_execution_history(
        self,
        execution_arn: str,
        *,
        max_results: int = PAGE_LIMIT,
        reverse: bool = False,
        next_token: str | None = None,
    ) -> Page[HistoryEvent]:
        """Return a part of an execution's history, from its beginning or from its end.

        Raises:
            ExecutionDoesNotExist: there is no such execution.
            InvalidToken: `next_token` comes from elsewhere.
            ValidationError: `max_results` is outside 1…1000.
        """
        check_page_size(max_results)
        self.describe_execution(execution_arn)
        beyond = position(next_token, 2**31 if reverse else 0)
        found = self._store.events(
            execution_arn, beyond=beyond, limit=max_results + 1, reverse=reverse
        )
        more = len(found) > max_results
        kept = tuple(found[:max_results])
        return Page(kept, str(kept[-1].id) if more else None)

    # --- callbacks -----------------------------------------------------------------------------

    def send_task_success(self, token: str, output: Json) -> None:
        """Answer a callback task with a JSON value.

        Raises:
            InvalidToken: the token is not one of ours.
            InvalidOutput: the output is no JSON, or too large.
            TaskDoesNotExist: the token's execution is not known here.
            TaskTimedOut: the attempt is over.
        """
        value = decode(json_text(output, InvalidOutput, "Output"))
        with self._lock:
            execution_arn, attempt = self._awaited(token)
            self._host.fold([(execution_arn, CallbackSucceeded(attempt, value))])

    def send_task_failure(
        self, token: str, *, error: str | None = None, cause: str | None = None
    ) -> None:
        """Fail a callback task.

        Raises:
            InvalidToken: the token is not one of ours.
            TaskDoesNotExist: the token's execution is not known here.
            TaskTimedOut: the attempt is over.
            ValidationError: error or cause is too long.
        """
        check_told(error, cause)
        with self._lock:
            execution_arn, attempt = self._awaited(token)
            self._host.fold([(execution_arn, CallbackFailed(attempt, error, cause))])

    def send_task_heartbeat(self, token: str) -> None:
        """Tell that a callback task is alive.

        Raises:
            InvalidToken: the token is not one of ours.
            TaskDoesNotExist: the token's execution is not known here.
            TaskTimedOut: the attempt is over.
        """
        with self._lock:
            execution_arn, attempt = self._awaited(token)
            self._host.fold([(execution_arn, Heartbeat(attempt))])

    def _awaited(self, token: str) -> tuple[str, int]:
        execution_arn, attempt = read_token(self._token_key, token)
        if self._host.awaits(execution_arn, attempt):
            return execution_arn, attempt
        record = self._store.find(execution_arn)
        if record is None:
            raise TaskDoesNotExist("Task Does Not Exist: its execution is not known here")
        self._host.ensure_open(record)
        if self._host.awaits(execution_arn, attempt):
            return execution_arn, attempt
        raise TaskTimedOut(
            "Task Timed Out: the attempt was answered before, ran out of time, or its execution "
            "has ended"
        )

    # --- running -------------------------------------------------------------------------------

    def recover(self) -> Recovery:
        """Take up every open execution again; call it before `serve`, again if need be.

        Each journal is folded again and must lead to the recorded events; an execution that
        cannot go on so fails, and does not keep the others from going on.

        Raises:
            StorageError: not all could be taken up.
        """
        with self._lock:
            return self._host.recover()

    def serve(self, stop: threading.Event) -> None:
        """Run until `stop` is set; in a thread of its own.

        While histories cannot be stored it goes on trying: what happens meanwhile is kept.

        Raises:
            StorageBroken: trying again is of no use; the message says what is.
        """
        tries = 0
        while not stop.is_set():
            self._host.wake.clear()
            try:
                self.run_due()
            except StorageBroken:
                raise
            except StorageError as problem:
                if not tries:
                    _log.error("executions stand still until they can be stored: %s", problem)
                tries += 1
                stop.wait(min(_SHORTEST_PAUSE_SECONDS * 2**tries, _LONGEST_PAUSE_SECONDS))
                continue
            if tries:
                _log.warning("executions go on; they were stored at try %d", tries + 1)
                tries = 0
            due = self._next_due()
            nap = _LONGEST_NAP_SECONDS
            if due is not None:
                nap = min(nap, (due - self._clock.now()).total_seconds())
            if nap > 0:
                self._host.wake.wait(nap)

    def run_due(self) -> None:
        """Take in everything that has happened by now; time does not move.

        Raises:
            StorageError: it could not be stored; it is kept for the next call.
        """
        while True:
            with self._lock:
                if not self._host.fold_due():
                    return

    def run_for(self, seconds: float) -> None:
        """Let the clock run for `seconds`, stopping at every timer; for a ManualClock."""
        end = self._clock.now() + timedelta(seconds=seconds)
        self.run_due()
        while (due := self._next_due()) is not None and due <= end:
            self._clock.sleep((due - self._clock.now()).total_seconds())
            self.run_due()
        self._clock.sleep((end - self._clock.now()).total_seconds())
        self.run_due()

    def run_until_idle(self) -> None:
        """Let the clock jump from timer to timer until none is left; for a ManualClock.

        Timeouts are timers: tasks and callbacks that are not answered by then run into theirs.
        """
        self.run_due()
        while (due := self._next_due()) is not None:
            self._clock.sleep((due - self._clock.now()).total_seconds())
            self.run_due()

    def _next_due(self) -> datetime | None:
        with self._lock:
            return self._host.next_due()

    # --- from the store to memory --------------------------------------------------------------

    def _execution(self, record: ExecutionRecord) -> Execution:
        facts = Facts(
            arn=record.arn,
            name=record.name,
            machine_arn=record.machine_arn,
            machine_name=record.machine_arn.rpartition(":")[2],
            input=decode(record.input),
            started_at=record.start_date,
            role_arn=self._role_arn,
            region=self._region,
        )
        machine = self._registry.parsed(record.definition)
        return Execution(facts, machine, token_key=self._token_key)
