"""The host: one fold at a time over journal, timers and tasks; the door to `workflows.engine`.

Whatever happens — a call, a task's outcome, a timer — goes through `_fold`: advance the execution,
commit the step, and only then perform its effects and tell subscribers. So a process may die
anywhere: `recover` folds the journals again, arms the timers by their recorded times, and issues
the tasks that have no outcome once more.

Calls may come from any thread; a lock lets one fold run at a time. Task outcomes only enter an
inbox, which `serve` empties, so that a task's thread never waits for the engine.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import queue
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Generic, TypeVar

from atelier.contracts.clock import Clock
from workflows.engine.errors import (
    RUNTIME,
    DoesNotExist,
    EngineError,
    ExecutionAlreadyExists,
    ExecutionDoesNotExist,
    InvalidArn,
    InvalidDefinition,
    InvalidExecutionInput,
    InvalidName,
    InvalidOutput,
    InvalidRequest,
    InvalidToken,
    StateMachineDoesNotExist,
    TaskDoesNotExist,
    TaskTimedOut,
    TooLate,
    UnsupportedDefinition,
    ValidationError,
)
from workflows.engine.execution import Closing, Execution, ExecutionStatus, Facts
from workflows.engine.happenings import (
    Abandoned,
    CallbackFailed,
    CallbackSucceeded,
    CancelTask,
    Effect,
    Happening,
    Heartbeat,
    SetTimer,
    Started,
    StartTask,
    Stopped,
    TaskErred,
    TaskReturned,
    TimerFired,
)
from workflows.engine.history import HistoryEvent, error_details
from workflows.engine.jsontext import DATA_LIMIT_BYTES, Json, canonical, decode, encode, size_bytes
from workflows.engine.lambda_tasks import (
    Report,
    TaskCall,
    TaskFailure,
    TaskOutcome,
    TaskRunner,
    TaskSuccess,
    call_of,
    is_lambda,
    result_of,
)
from workflows.engine.registry import Registry
from workflows.engine.sqlite_store import SqliteHistoryStore
from workflows.engine.status_events import Subscriber, status_event
from workflows.engine.store import (
    ExecutionRecord,
    HistoryStore,
    JournalEntry,
    MemoryHistoryStore,
    closed,
)
from workflows.engine.tokens import read_token

__all__ = [
    "DoesNotExist",
    "Engine",
    "EngineError",
    "ExecutionAlreadyExists",
    "ExecutionDoesNotExist",
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
    "Report",
    "SqliteHistoryStore",
    "StartedExecution",
    "StateMachineDoesNotExist",
    "Subscriber",
    "TaskCall",
    "TaskDoesNotExist",
    "TaskFailure",
    "TaskOutcome",
    "TaskRunner",
    "TaskSuccess",
    "TaskTimedOut",
    "TooLate",
    "UnsupportedDefinition",
    "ValidationError",
]

_log: Final = logging.getLogger(__name__)
_T = TypeVar("_T")

ERROR_LIMIT_CHARACTERS: Final = 256
CAUSE_LIMIT_CHARACTERS: Final = 32_768
HISTORY_PAGE_EVENTS: Final = 1_000
_LONGEST_NAP_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Page(Generic[_T]):
    """A part of a list; `next_token` asks for the part behind it, None ends the list."""

    items: tuple[_T, ...]
    next_token: str | None


@dataclass(frozen=True, slots=True)
class StartedExecution:
    """What StartExecution returns."""

    arn: str
    start_date: datetime


@dataclass(frozen=True, slots=True)
class Recovery:
    """What `recover` found.

    Attributes:
        recovered: The executions that go on.
        abandoned: Those that could not, with the reason; they have failed.
    """

    recovered: tuple[str, ...]
    abandoned: Mapping[str, str]


@dataclass(slots=True)
class _Live:
    """An open execution in memory."""

    execution: Execution
    record: ExecutionRecord
    steps: int = 0


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
        self._tasks = tasks
        self._clock = clock
        self._region = region
        self._account = account
        self._batch = batch
        self._role_arn = f"arn:aws:iam::{account}:role/{region}"
        self._token_key = store.token_key()
        self._registry = Registry(region=region, account=account, supports=is_lambda)
        self._lock = threading.RLock()
        self._live: dict[str, _Live] = {}
        self._timers: list[tuple[datetime, int, str, int]] = []
        self._timer_order = itertools.count()
        self._inbox: queue.SimpleQueue[tuple[str, Happening]] = queue.SimpleQueue()
        self._wake = threading.Event()
        self._subscribers: list[Subscriber] = []

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

    def subscribe(self, subscriber: Subscriber) -> None:
        """Tell `subscriber` every change of an execution's status from now on."""
        self._subscribers.append(subscriber)

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
        try:
            text = encode(input)
            given = decode(text)
        except (ValueError, TypeError, RecursionError) as error:
            raise InvalidExecutionInput(f"Invalid State Machine Execution Input: {error}") from None
        if size_bytes(text) > DATA_LIMIT_BYTES:
            raise InvalidExecutionInput(
                f"The input has {size_bytes(text)} bytes; at most {DATA_LIMIT_BYTES} are taken"
            )
        with self._lock:
            registered = self._registry.find(machine)
            arn = self._registry.execution_arn(registered, name)
            known = self._store.find(arn)
            if known is not None:
                if known.status is ExecutionStatus.RUNNING and canonical(
                    decode(known.input)
                ) == canonical(given):
                    return StartedExecution(arn, known.start_date)
                raise ExecutionAlreadyExists(
                    f"Execution Already Exists: '{arn}' is {known.status.value}; a name is used once"
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
            self._live[arn] = _Live(self._execution(record), record)
            self._fold([(arn, Started())])
            return StartedExecution(arn, record.start_date)

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
        _check_told(error, cause)
        with self._lock:
            self.describe_execution(execution_arn)
            self._fold([(execution_arn, Stopped(error, cause))])
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
        """
        skip = _position(next_token, 0)
        machine_arn = None if machine is None else self._registry.find(machine).arn
        wanted = None if status is None else ExecutionStatus(status)
        found = self._store.executions(machine_arn, status=wanted, skip=skip, limit=max_results + 1)
        more = len(found) > max_results
        return Page(tuple(found[:max_results]), str(skip + max_results) if more else None)

    def get_execution_history(
        self,
        execution_arn: str,
        *,
        max_results: int = HISTORY_PAGE_EVENTS,
        reverse: bool = False,
        next_token: str | None = None,
    ) -> Page[HistoryEvent]:
        """Return a part of an execution's history, from its beginning or from its end.

        Raises:
            ExecutionDoesNotExist: there is no such execution.
            InvalidToken: `next_token` comes from elsewhere.
            ValidationError: `max_results` is outside 1…1000.
        """
        if not 0 < max_results <= HISTORY_PAGE_EVENTS:
            raise ValidationError(f"max_results is 1 to {HISTORY_PAGE_EVENTS}, not {max_results}")
        self.describe_execution(execution_arn)
        beyond = _position(next_token, 2**31 if reverse else 0)
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
        try:
            text = encode(output)
            value = decode(text)
        except (ValueError, TypeError, RecursionError) as error:
            raise InvalidOutput(f"Invalid Output: {error}") from None
        if size_bytes(text) > DATA_LIMIT_BYTES:
            raise InvalidOutput(
                f"The output has {size_bytes(text)} bytes; at most {DATA_LIMIT_BYTES} are taken"
            )
        with self._lock:
            execution_arn, attempt = self._awaited(token)
            self._fold([(execution_arn, CallbackSucceeded(attempt, value))])

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
        _check_told(error, cause)
        with self._lock:
            execution_arn, attempt = self._awaited(token)
            self._fold([(execution_arn, CallbackFailed(attempt, error, cause))])

    def send_task_heartbeat(self, token: str) -> None:
        """Tell that a callback task is alive.

        Raises:
            InvalidToken: the token is not one of ours.
            TaskDoesNotExist: the token's execution is not known here.
            TaskTimedOut: the attempt is over.
        """
        with self._lock:
            execution_arn, attempt = self._awaited(token)
            self._fold([(execution_arn, Heartbeat(attempt))])

    def _awaited(self, token: str) -> tuple[str, int]:
        execution_arn, attempt = read_token(self._token_key, token)
        live = self._live.get(execution_arn)
        if live is not None and live.execution.awaits_attempt(attempt):
            return execution_arn, attempt
        if live is None and self._store.find(execution_arn) is None:
            raise TaskDoesNotExist("Task Does Not Exist: its execution is not known here")
        raise TaskTimedOut(
            "Task Timed Out: the attempt was answered before, ran out of time, or its execution "
            "has ended"
        )

    # --- running -------------------------------------------------------------------------------

    def recover(self) -> Recovery:
        """Take up every open execution again; call it once, before `serve`.

        Each journal is folded again and must lead to the recorded events; an execution that
        cannot go on so fails, and does not keep the others from going on.
        """
        recovered: list[str] = []
        abandoned: dict[str, str] = {}
        with self._lock:
            for record in self._store.running():
                if record.arn in self._live:
                    continue
                journal = self._store.journal(record.arn)
                try:
                    live = self._refold(record, journal)
                except (EngineError, _Diverged) as error:
                    abandoned[record.arn] = str(error)
                    self._abandon(record, journal, f"The engine cannot go on with it: {error}")
                    continue
                self._live[record.arn] = live
                recovered.append(record.arn)
                self._perform(record.arn, live.execution.pending())
        return Recovery(tuple(recovered), abandoned)

    def serve(self, stop: threading.Event) -> None:
        """Run until `stop` is set; in a thread of its own."""
        while not stop.is_set():
            self._wake.clear()
            self.run_due()
            due = self._next_due()
            nap = _LONGEST_NAP_SECONDS
            if due is not None:
                nap = min(nap, (due - self._clock.now()).total_seconds())
            if nap > 0:
                self._wake.wait(nap)

    def run_due(self) -> None:
        """Take in everything that has happened by now; time does not move."""
        while True:
            with self._lock:
                batch = self._take_batch()
                if not batch:
                    return
                self._fold(batch)

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

    def _take_batch(self) -> list[tuple[str, Happening]]:
        batch: list[tuple[str, Happening]] = []
        while len(batch) < self._batch:
            try:
                batch.append(self._inbox.get_nowait())
            except queue.Empty:
                break
        now = self._clock.now()
        while self._timers and self._timers[0][0] <= now and len(batch) < self._batch:
            _, _, execution_arn, timer = heapq.heappop(self._timers)
            batch.append((execution_arn, TimerFired(timer)))
        return batch

    def _next_due(self) -> datetime | None:
        with self._lock:
            while self._timers:
                due, _, execution_arn, timer = self._timers[0]
                live = self._live.get(execution_arn)
                if live is not None and live.execution.awaits_timer(timer):
                    return due
                heapq.heappop(self._timers)
            return None

    # --- the fold ------------------------------------------------------------------------------

    def _fold(self, happenings: Sequence[tuple[str, Happening]]) -> None:
        """Advance, commit, then act; what nobody awaits any more leaves no trace."""
        now = self._clock.now()
        entries: list[JournalEntry] = []
        effects: list[tuple[str, Sequence[Effect]]] = []
        changed: list[ExecutionRecord] = []
        touched = dict.fromkeys(execution_arn for execution_arn, _ in happenings)
        try:
            for execution_arn, happening in happenings:
                live = self._live.get(execution_arn)
                if live is None:
                    continue
                step = live.execution.advance(happening, now)
                if not step.events and not step.effects:
                    continue
                live.steps += 1
                opens = live.record if live.steps == 1 else None
                entries.append(
                    JournalEntry(
                        execution_arn,
                        live.steps,
                        step.at,
                        happening,
                        step.events,
                        opens,
                        step.closing,
                    )
                )
                effects.append((execution_arn, step.effects))
                if opens is not None:
                    changed.append(live.record)
                if step.closing is not None:
                    changed.append(closed(live.record, step.closing, step.at))
                    del self._live[execution_arn]
            if entries:
                self._store.commit(entries)
        except BaseException:
            # Memory is ahead of the journal: forget it. A restart recovers from the journal.
            for execution_arn in touched:
                self._live.pop(execution_arn, None)
            raise
        for execution_arn, asked in effects:
            self._perform(execution_arn, asked)
        for record in changed:
            self._announce(record)

    def _perform(self, execution_arn: str, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, SetTimer):
                entry = (effect.due, next(self._timer_order), execution_arn, effect.timer)
                heapq.heappush(self._timers, entry)
                self._wake.set()
            elif isinstance(effect, StartTask):
                self._start_task(execution_arn, effect)
            elif isinstance(effect, CancelTask):
                self._tasks.cancel(f"{execution_arn}#{effect.attempt}")

    def _start_task(self, execution_arn: str, begun: StartTask) -> None:
        attempt = begun.attempt
        try:
            call = call_of(execution_arn, begun)
        except ValueError as error:
            self._deliver(execution_arn, TaskErred(attempt, RUNTIME, str(error)))
            return

        def report(outcome: TaskOutcome) -> None:
            happening: Happening
            if isinstance(outcome, TaskFailure):
                happening = TaskErred(attempt, outcome.error, outcome.cause)
            else:
                try:
                    payload = decode(encode(outcome.payload))
                    happening = TaskReturned(attempt, result_of(call, begun.resource, payload))
                except (ValueError, TypeError, RecursionError) as error:
                    happening = TaskErred(attempt, "Runtime.MarshalError", str(error))
            self._deliver(execution_arn, happening)

        try:
            self._tasks.start(call, report)
        except Exception as error:
            # One function that cannot be started harms its own execution only.
            _log.exception("%s could not be started", call.function)
            report(TaskFailure("Lambda.Unknown", f"{type(error).__name__}: {error}"))

    def _deliver(self, execution_arn: str, happening: Happening) -> None:
        self._inbox.put((execution_arn, happening))
        self._wake.set()

    def _announce(self, record: ExecutionRecord) -> None:
        event = status_event(record, region=self._region, account=self._account)
        for subscriber in self._subscribers:
            try:
                subscriber(event)
            except Exception:
                # Status events are best effort, as on AWS; the execution does not depend on them.
                _log.exception("a subscriber failed on %s", record.arn)

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

    def _refold(self, record: ExecutionRecord, journal: Sequence[JournalEntry]) -> _Live:
        execution = self._execution(record)
        for entry in journal:
            step = execution.advance(entry.happening, entry.at)
            if step.events != entry.events:
                raise _Diverged(entry, step.events)
        return _Live(execution, record, len(journal))

    def _abandon(
        self, record: ExecutionRecord, journal: Sequence[JournalEntry], cause: str
    ) -> None:
        last = max((event.id for entry in journal for event in entry.events), default=0)
        now = self._clock.now()
        details = error_details(RUNTIME, cause)
        event = HistoryEvent(last + 1, last, "ExecutionFailed", now, details)
        closing = Closing(ExecutionStatus.FAILED, None, RUNTIME, cause)
        self._store.commit(
            [
                JournalEntry(
                    record.arn,
                    len(journal) + 1,
                    now,
                    Abandoned(cause),
                    (event,),
                    closing=closing,
                )
            ]
        )
        self._announce(closed(record, closing, now))


class _Diverged(Exception):
    """Folding a journal again led elsewhere than it did when it was written."""

    def __init__(self, entry: JournalEntry, events: Sequence[HistoryEvent]) -> None:
        told = [event.type for event in entry.events]
        now = [event.type for event in events]
        super().__init__(
            f"step {entry.number} ({type(entry.happening).__name__}) led to {told}, and now leads "
            f"to {now if now != told else 'the same types with other details'}"
        )


def _position(token: str | None, start: int) -> int:
    if token is None:
        return start
    if not token.isdecimal():
        raise InvalidToken(f"Invalid Token: {token!r} was not handed out with a page")
    return int(token)


def _check_told(error: str | None, cause: str | None) -> None:
    told: tuple[tuple[str, Any, int], ...] = (
        ("error", error, ERROR_LIMIT_CHARACTERS),
        ("cause", cause, CAUSE_LIMIT_CHARACTERS),
    )
    for name, text, limit in told:
        if text is not None and len(text) > limit:
            raise ValidationError(f"{name} has {len(text)} characters; at most {limit} are taken")
