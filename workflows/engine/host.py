"""The host: open executions in memory, their timers, and an inbox for what happens to them.

Whatever happens goes through `fold`: advance the execution, commit the step, and only then perform
its effects and tell subscribers. So the process may die anywhere: `recover` folds the journals
again, arms the timers by their recorded times, and issues the tasks that have no outcome again.

A commit that fails is a small crash: the executions that were to change are forgotten and taken up
again from their journals, but tasks that run in this process are not issued twice.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from atelier.contracts.clock import Clock
from workflows.engine.alarms import Alarms
from workflows.engine.errors import (
    RUNTIME,
    ExecutionNotRedrivable,
    StorageError,
    told_cause,
)
from workflows.engine.execution import Execution, ExecutionStatus, Step
from workflows.engine.happenings import (
    Abandoned,
    CancelTask,
    Effect,
    Happening,
    Redriven,
    SetTimer,
    Started,
    StartTask,
    TaskErred,
    TimerFired,
)
from workflows.engine.journal import abandoned, refolded
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
    changed,
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

    def leave_out(self, execution_arn: str) -> None:
        """Take back whatever an execution has led to."""
        self.entries = [e for e in self.entries if e.execution_arn != execution_arn]
        self.effects = [e for e in self.effects if e[0] != execution_arn]
        self.changed = [r for r in self.changed if r.arn != execution_arn]


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
        self._forgotten: dict[str, None] = {}
        self._alarms = Alarms()
        self._begun: dict[str, set[int]] = {}
        self._inbox: queue.SimpleQueue[tuple[str, Happening]] = queue.SimpleQueue()
        self._kept: deque[tuple[str, Happening]] = deque()
        self.wake = threading.Event()

    # --- what is open --------------------------------------------------------------------------

    def open(self, record: ExecutionRecord) -> None:
        """Begin an execution: its record and first step are committed together.

        Raises:
            StorageError: it could not be stored and has not begun.
        """
        self._live[record.arn] = _Live(self._make(record), record)
        self.fold([(record.arn, Started())])

    def redrive(self, record: ExecutionRecord) -> None:
        """Let an ended execution go on, which its record allows.

        Raises:
            ExecutionNotRedrivable: its journal does not lead to its history any more.
            StorageError: it could not be stored and does not go on.
        """
        journal = self._store.journal(record.arn)
        try:
            execution = refolded(record, journal, make=self._make)
        except Exception as error:
            raise ExecutionNotRedrivable(
                f"Execution Not Redrivable: '{record.arn}': the engine cannot go on with it: "
                f"{error}"
            ) from error
        self._live[record.arn] = _Live(execution, record, len(journal))
        self.fold([(record.arn, Redriven(record.redrive_count + 1))])

    def ensure_open(self, record: ExecutionRecord) -> None:
        """Take up an execution that runs, according to its record, but is not in memory.

        Raises:
            StorageError: its journal cannot be read.
        """
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

    def fold_due(self) -> bool:
        """Fold what has happened by now, as much as one transaction takes; False when it is all.

        Raises:
            StorageError: it could not be stored; it is kept and comes first the next time.
        """
        for execution_arn in tuple(self._forgotten):
            self._remember(execution_arn)
        batch = self._take_batch()
        if not batch:
            return False
        try:
            self.fold(batch)
        except StorageError:
            self._keep(batch)
            raise
        return True

    def _keep(self, batch: Sequence[tuple[str, Happening]]) -> None:
        self._kept.extendleft(reversed(batch))
        for execution_arn, happening in batch:
            if isinstance(happening, TimerFired):
                self._alarms.hold(execution_arn, happening.timer)

    def _take_batch(self) -> list[tuple[str, Happening]]:
        """Take what was kept, then the inbox, then the timers that are due."""
        batch: list[tuple[str, Happening]] = []
        while self._kept and len(batch) < self._batch:
            execution_arn, happening = self._kept.popleft()
            batch.append((execution_arn, happening))
            if isinstance(happening, TimerFired):
                self._alarms.release(execution_arn, happening.timer)
        while len(batch) < self._batch:
            try:
                batch.append(self._inbox.get_nowait())
            except queue.Empty:
                break
        now = self._clock.now()
        while len(batch) < self._batch and (due := self._alarms.take(now)) is not None:
            execution_arn, timer = due
            batch.append((execution_arn, TimerFired(timer)))
        return batch

    def next_due(self) -> datetime | None:
        """Return when the next timer is due that somebody waits for."""
        return self._alarms.next_due(self._awaits_timer)

    def _awaits_timer(self, execution_arn: str, timer: int) -> bool:
        live = self._live.get(execution_arn)
        if live is None:
            return execution_arn in self._forgotten
        return live.execution.awaits_timer(timer)

    # --- folding -------------------------------------------------------------------------------

    def fold(self, happenings: Sequence[tuple[str, Happening]]) -> None:
        """Advance, commit, then act; what nobody awaits any more leaves no trace.

        Raises:
            StorageError: nothing was stored, and memory is as the journals are.
        """
        try:
            for execution_arn, _ in happenings:
                if execution_arn in self._forgotten:
                    self._remember(execution_arn)
            batch = self._advance(happenings)
            if batch.entries:
                self._store.commit(batch.entries)
        except BaseException:
            self._forget(arn for arn, _ in happenings)
            raise
        for execution_arn, effects in batch.effects:
            self._perform(execution_arn, effects)
        for record in batch.changed:
            if record.status is not ExecutionStatus.RUNNING:
                self._begun.pop(record.arn, None)
            self._announce.tell(record)
        self._alarms.tidy(self._awaits_timer)
        for execution_arn, error in batch.broken.items():
            self._give_up(execution_arn, told_cause(f"The engine failed on it: {error!r}"))

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
            batch.leave_out(execution_arn)
        return batch

    def _note(self, batch: _Batch, live: _Live, step: Step) -> None:
        before = live.record
        live.steps += 1
        entry = JournalEntry(
            before.arn,
            live.steps,
            step.at,
            step.happening,
            step.events,
            before if live.steps == 1 else None,
            step.closing,
        )
        live.record = changed(before, entry)
        batch.entries.append(entry)
        batch.effects.append((before.arn, step.effects))
        if entry.opens is not None:
            batch.changed.append(before)
        if isinstance(step.happening, Redriven):
            batch.changed.append(changed(before, replace(entry, closing=None)))
        if step.closing is not None:
            batch.changed.append(live.record)
            del self._live[before.arn]

    def _forget(self, execution_arns: Iterable[str]) -> None:
        """Memory is ahead of the journals: these executions are to be taken up again."""
        for execution_arn in execution_arns:
            self._live.pop(execution_arn, None)
            self._forgotten[execution_arn] = None
        self.wake.set()

    def _remember(self, execution_arn: str) -> None:
        """Take an execution up again that was forgotten, if it runs at all."""
        record = self._store.find(execution_arn)
        if record is not None:
            self.ensure_open(record)
            if record.status is not ExecutionStatus.RUNNING:
                # The commit that told of its failure may have stored the end: better told twice.
                self._begun.pop(execution_arn, None)
                self._announce.tell(record)
        self._forgotten.pop(execution_arn, None)

    def _give_up(self, execution_arn: str, cause: str) -> None:
        """End an execution that the engine failed on; later, when that cannot be stored now."""
        live = self._live.pop(execution_arn)
        if live.record.status is not ExecutionStatus.RUNNING:
            raise ExecutionNotRedrivable(f"Execution Not Redrivable: '{execution_arn}': {cause}")
        try:
            self._abandon(live.record, cause)
        except StorageError:
            if not live.steps:
                raise  # nothing of it is stored: whoever starts it hears so
            self._forget([execution_arn])
            self.deliver(execution_arn, Abandoned(cause))

    # --- acting --------------------------------------------------------------------------------

    def _perform(self, execution_arn: str, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, SetTimer):
                self._alarms.set(execution_arn, effect.timer, effect.due)
                self.wake.set()
            elif isinstance(effect, StartTask):
                self._start_task(execution_arn, effect)
            elif isinstance(effect, CancelTask):
                self._cancel_task(f"{execution_arn}#{effect.attempt}")

    def _start_task(self, execution_arn: str, begun: StartTask) -> None:
        begun_here = self._begun.setdefault(execution_arn, set())
        if begun.attempt in begun_here:
            return  # it runs, or its outcome waits to be stored
        begun_here.add(begun.attempt)
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
            begun_here.discard(begun.attempt)
            _log.info("%s stays open until the next recovery", call.id)
        except Exception as error:  # noqa: BLE001 - a function that does not start fails alone
            _log.exception("%s could not be started", call.function)
            report(TaskFailure("Lambda.Unknown", f"{type(error).__name__}: {error}"))

    def _cancel_task(self, call_id: str) -> None:
        try:
            self._tasks.cancel(call_id)
        except Exception:  # noqa: BLE001 - a courtesy; its outcome counts no more
            _log.exception("%s could not be cancelled", call_id)

    # --- from the journal to memory ------------------------------------------------------------

    def recover(self) -> Recovery:
        """Take up every open execution that is not in memory.

        Raises:
            StorageError: not all could be taken up; calling it again goes on.
        """
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
            execution = refolded(record, journal, make=self._make)
        except Exception as error:  # noqa: BLE001 - one execution never harms another
            _log.warning("%s cannot go on: %s", record.arn, error)
            self._abandon(record, told_cause(f"The engine cannot go on with it: {error}"))
            return str(error)
        self._live[record.arn] = _Live(execution, record, len(journal))
        self._perform(record.arn, execution.pending())
        return None

    def _abandon(self, record: ExecutionRecord, cause: str) -> None:
        """End an execution that cannot be folded."""
        entry = abandoned(record, self._store.journal(record.arn), cause, now=self._clock.now())
        self._store.commit([entry])
        self._begun.pop(record.arn, None)
        self._announce.tell(changed(record, entry))
