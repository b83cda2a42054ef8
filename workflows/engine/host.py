"""The host: open executions in memory, their timers, and an inbox for what happens to them.

Whatever happens goes through `fold`: advance the execution, commit the step, and only then perform
its effects and tell subscribers. So the process may die anywhere: `recover` folds the journals
again, arms the timers by their recorded times, and issues the tasks that have no outcome again.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import queue
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from atelier.contracts.clock import Clock
from workflows.engine.errors import RUNTIME, told_cause
from workflows.engine.execution import Closing, Execution, ExecutionStatus, Step
from workflows.engine.happenings import (
    Abandoned,
    CancelTask,
    Effect,
    Happening,
    SetTimer,
    Started,
    StartTask,
    TaskErred,
    TimerFired,
)
from workflows.engine.history import HistoryEvent, error_details
from workflows.engine.lambda_tasks import (
    TaskFailure,
    TaskOutcome,
    TaskRunner,
    TaskRunnerClosed,
    call_of,
    happening_of,
)
from workflows.engine.status_events import StatusEvents
from workflows.engine.store import (
    ExecutionRecord,
    HistoryStore,
    JournalEntry,
    MakeExecution,
    closed,
)

_log: Final = logging.getLogger(__name__)


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


@dataclass(slots=True)
class _Batch:
    """What one fold has led to, before it is committed."""

    entries: list[JournalEntry] = field(default_factory=list)
    effects: list[tuple[str, Sequence[Effect]]] = field(default_factory=list)
    changed: list[ExecutionRecord] = field(default_factory=list)
    broken: dict[str, Exception] = field(default_factory=dict)


class Host:
    """Advances executions and performs what they ask for.

    Args:
        store: Where histories live.
        tasks: Runs functions.
        clock: The time.
        make: Makes an execution from its record.
        announce: Tells status changes.
        batch: How many happenings one transaction takes at most.
    """

    def __init__(
        self,
        *,
        store: HistoryStore,
        tasks: TaskRunner,
        clock: Clock,
        make: MakeExecution,
        announce: StatusEvents,
        batch: int,
    ) -> None:
        self._store = store
        self._tasks = tasks
        self._clock = clock
        self._make = make
        self._announce = announce
        self._batch = batch
        self._live: dict[str, _Live] = {}
        self._timers: list[tuple[datetime, int, str, int]] = []
        self._timer_order = itertools.count()
        self._inbox: queue.SimpleQueue[tuple[str, Happening]] = queue.SimpleQueue()
        self.wake = threading.Event()

    # --- what is open --------------------------------------------------------------------------

    def open(self, record: ExecutionRecord) -> None:
        """Begin an execution: its record and first step are committed together."""
        self._live[record.arn] = _Live(self._make(record), record)
        self.fold([(record.arn, Started())])

    def ensure_open(self, record: ExecutionRecord) -> None:
        """Take up an execution that runs, according to its record, but is not in memory yet."""
        if record.status is ExecutionStatus.RUNNING and record.arn not in self._live:
            self._take_up(record)

    def awaits(self, execution_arn: str, attempt: int) -> bool:
        """Say whether a task attempt still has no outcome."""
        live = self._live.get(execution_arn)
        return live is not None and live.execution.awaits_attempt(attempt)

    def deliver(self, execution_arn: str, happening: Happening) -> None:
        """Put a happening into the inbox; from any thread."""
        self._inbox.put((execution_arn, happening))
        self.wake.set()

    def take_batch(self) -> list[tuple[str, Happening]]:
        """Take what has happened by now: the inbox first, then the timers that are due."""
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

    def next_due(self) -> datetime | None:
        """Return when the next timer is due that somebody waits for."""
        while self._timers:
            due, _, execution_arn, timer = self._timers[0]
            live = self._live.get(execution_arn)
            if live is not None and live.execution.awaits_timer(timer):
                return due
            heapq.heappop(self._timers)
        return None

    # --- folding -------------------------------------------------------------------------------

    def fold(self, happenings: Sequence[tuple[str, Happening]]) -> None:
        """Advance, commit, then act; what nobody awaits any more leaves no trace."""
        batch = self._advance(happenings)
        if batch.entries:
            try:
                self._store.commit(batch.entries)
            except BaseException:
                self._forget(arn for arn, _ in happenings)
                raise
        for execution_arn, effects in batch.effects:
            self._perform(execution_arn, effects)
        for record in batch.changed:
            self._announce.tell(record)
        for execution_arn, error in batch.broken.items():
            live = self._live.pop(execution_arn)
            self._abandon(live.record, told_cause(f"The engine failed on it: {error!r}"))

    def _advance(self, happenings: Sequence[tuple[str, Happening]]) -> _Batch:
        now = self._clock.now()
        batch = _Batch()
        for execution_arn, happening in happenings:
            live = self._live.get(execution_arn)
            if live is None or execution_arn in batch.broken:
                continue
            try:
                step = live.execution.advance(happening, now)
            except Exception as error:  # noqa: BLE001 - one execution never harms another
                _log.exception("%s could not take in %s", execution_arn, happening)
                batch.broken[execution_arn] = error
                continue
            if step.events or step.effects:
                self._note(batch, live, step)
        for execution_arn in batch.broken:
            batch.entries = [e for e in batch.entries if e.execution_arn != execution_arn]
            batch.effects = [e for e in batch.effects if e[0] != execution_arn]
            batch.changed = [r for r in batch.changed if r.arn != execution_arn]
        return batch

    def _note(self, batch: _Batch, live: _Live, step: Step) -> None:
        record = live.record
        live.steps += 1
        opens = record if live.steps == 1 else None
        batch.entries.append(
            JournalEntry(
                record.arn,
                live.steps,
                step.at,
                step.happening,
                step.events,
                opens,
                step.closing,
            )
        )
        batch.effects.append((record.arn, step.effects))
        if opens is not None:
            batch.changed.append(record)
        if step.closing is not None:
            batch.changed.append(closed(record, step.closing, step.at))
            del self._live[record.arn]

    def _forget(self, execution_arns: Iterable[str]) -> None:
        """Memory is ahead of the journal: take these executions up again from the journal."""
        for execution_arn in dict.fromkeys(execution_arns):
            self._live.pop(execution_arn, None)
            record = self._store.find(execution_arn)
            if record is not None and record.status is ExecutionStatus.RUNNING:
                self._take_up(record)

    # --- acting --------------------------------------------------------------------------------

    def _perform(self, execution_arn: str, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, SetTimer):
                entry = (effect.due, next(self._timer_order), execution_arn, effect.timer)
                heapq.heappush(self._timers, entry)
                self.wake.set()
            elif isinstance(effect, StartTask):
                self._start_task(execution_arn, effect)
            elif isinstance(effect, CancelTask):
                self._tasks.cancel(f"{execution_arn}#{effect.attempt}")

    def _start_task(self, execution_arn: str, begun: StartTask) -> None:
        try:
            call = call_of(execution_arn, begun)
        except ValueError as error:
            self.deliver(execution_arn, TaskErred(begun.attempt, RUNTIME, str(error)))
            return

        def report(outcome: TaskOutcome) -> None:
            self.deliver(execution_arn, happening_of(call, begun, outcome))

        try:
            self._tasks.start(call, report)
        except TaskRunnerClosed:
            _log.info("%s stays open until the next recovery", call.id)
        except Exception as error:  # noqa: BLE001 - a function that does not start fails alone
            _log.exception("%s could not be started", call.function)
            report(TaskFailure("Lambda.Unknown", f"{type(error).__name__}: {error}"))

    # --- from the journal to memory ------------------------------------------------------------

    def recover(self) -> Recovery:
        """Take up every open execution that is not in memory."""
        recovered: list[str] = []
        abandoned: dict[str, str] = {}
        for record in self._store.running():
            if record.arn not in self._live:
                reason = self._take_up(record)
                if reason is None:
                    recovered.append(record.arn)
                else:
                    abandoned[record.arn] = reason
        return Recovery(tuple(recovered), abandoned)

    def _take_up(self, record: ExecutionRecord) -> str | None:
        """Fold a journal again and go on; or end the execution and return why."""
        journal = self._store.journal(record.arn)
        try:
            execution = self._refold(record, journal)
        except Exception as error:  # noqa: BLE001 - one execution never harms another
            _log.warning("%s cannot go on: %s", record.arn, error)
            self._abandon(record, told_cause(f"The engine cannot go on with it: {error}"))
            return str(error)
        self._live[record.arn] = _Live(execution, record, len(journal))
        self._perform(record.arn, execution.pending())
        return None

    def _refold(self, record: ExecutionRecord, journal: Sequence[JournalEntry]) -> Execution:
        execution = self._make(record)
        for entry in journal:
            step = execution.advance(entry.happening, entry.at)
            if step.events != entry.events:
                raise _Diverged(entry, step.events)
        return execution

    def _abandon(self, record: ExecutionRecord, cause: str) -> None:
        """End an execution that cannot be folded; its history says so."""
        journal = self._store.journal(record.arn)
        last = max((event.id for entry in journal for event in entry.events), default=0)
        now = self._clock.now()
        details = error_details(RUNTIME, cause)
        event = HistoryEvent(last + 1, last, "ExecutionFailed", now, details)
        closing = Closing(ExecutionStatus.FAILED, None, RUNTIME, cause)
        entry = JournalEntry(
            record.arn,
            len(journal) + 1,
            now,
            Abandoned(cause),
            (event,),
            opens=None if journal else record,
            closing=closing,
        )
        self._store.commit([entry])
        self._announce.tell(closed(record, closing, now))


class _Diverged(Exception):
    """Folding a journal again led elsewhere than it did when it was written."""

    def __init__(self, entry: JournalEntry, events: Sequence[HistoryEvent]) -> None:
        told = [event.type for event in entry.events]
        now = [event.type for event in events]
        super().__init__(
            f"step {entry.number} ({type(entry.happening).__name__}) led to {told}, and now leads "
            f"to {now if now != told else 'the same types with other details'}"
        )
