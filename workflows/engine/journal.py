"""What a journal leads to: the execution, folded again, or the entry that ends it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from workflows.engine.errors import RUNTIME
from workflows.engine.execution import Closing, Execution, ExecutionStatus
from workflows.engine.happenings import Abandoned
from workflows.engine.history import HistoryEvent, error_details
from workflows.engine.store import ExecutionRecord, JournalEntry, MakeExecution


class Diverged(Exception):
    """Folding a journal again led elsewhere than it did when it was written."""

    def __init__(self, entry: JournalEntry, events: Sequence[HistoryEvent]) -> None:
        told = [event.type for event in entry.events]
        now = [event.type for event in events]
        super().__init__(
            f"step {entry.number} ({type(entry.happening).__name__}) led to {told}, and now leads "
            f"to {now if now != told else 'the same types with other details'}"
        )


def refolded(
    record: ExecutionRecord, journal: Sequence[JournalEntry], *, make: MakeExecution
) -> Execution:
    """Return an execution as its journal left it.

    Raises:
        Diverged: its definition or this engine no longer leads to the recorded events.
        Exception: whatever else keeps a journal of another time from being folded.
    """
    execution = make(record)
    for entry in journal:
        step = execution.advance(entry.happening, entry.at)
        if step.events != entry.events:
            raise Diverged(entry, step.events)
    return execution


def abandoned(
    record: ExecutionRecord, journal: Sequence[JournalEntry], cause: str, *, now: datetime
) -> JournalEntry:
    """Return the entry that fails an execution which cannot be folded; its history says so."""
    last = max((event.id for entry in journal for event in entry.events), default=0)
    at = max(now, *(entry.at for entry in journal[-1:]), record.start_date)
    event = HistoryEvent(last + 1, last, "ExecutionFailed", at, error_details(RUNTIME, cause))
    return JournalEntry(
        record.arn,
        len(journal) + 1,
        at,
        Abandoned(cause),
        (event,),
        opens=None if journal else record,
        closing=Closing(ExecutionStatus.FAILED, None, RUNTIME, cause),
    )
