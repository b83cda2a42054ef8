"""Where histories live: the protocol, and a store in memory that is one.

The truth about an execution is its journal: what happened, when, and the events that this led to.
`commit` takes all of a batch or nothing; whoever reads sees only what was committed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol, TypeAlias

from workflows.engine.execution import Closing, Execution, ExecutionStatus
from workflows.engine.happenings import Happening
from workflows.engine.history import HistoryEvent


@dataclass(frozen=True, slots=True)
class ExecutionRecord:
    """What DescribeExecution tells; `definition` is the text that the execution keeps."""

    arn: str
    machine_arn: str
    name: str
    status: ExecutionStatus
    start_date: datetime
    input: str
    definition: str
    stop_date: datetime | None = None
    output: str | None = None
    error: str | None = None
    cause: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return what botocore's describe_execution returns."""
        told = {
            "executionArn": self.arn,
            "stateMachineArn": self.machine_arn,
            "name": self.name,
            "status": self.status.value,
            "startDate": self.start_date,
            "stopDate": self.stop_date,
            "input": self.input,
            "inputDetails": {"included": True},
            "output": self.output,
            "outputDetails": None if self.output is None else {"included": True},
            "error": self.error,
            "cause": self.cause,
            "redriveCount": 0,
        }
        return {key: value for key, value in told.items() if value is not None}


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One step of one execution.

    Attributes:
        execution_arn: Whose.
        number: Which of its steps, from 1.
        at: When it happened.
        happening: What happened.
        events: What the history gained.
        opens: The execution's record, with its first step.
        closing: Its end, with its last.
    """

    execution_arn: str
    number: int
    at: datetime
    happening: Happening
    events: tuple[HistoryEvent, ...]
    opens: ExecutionRecord | None = None
    closing: Closing | None = None


MakeExecution: TypeAlias = Callable[[ExecutionRecord], Execution]
"""Makes an execution, before any happening, from its record."""


class HistoryStore(Protocol):
    """A durable place for executions and their histories.

    Calls come from one thread at a time, but not always from the same.
    """

    def token_key(self) -> bytes:
        """Return the secret that signs task tokens: made once, the same ever after."""
        ...

    def commit(self, entries: Sequence[JournalEntry]) -> None:
        """Store the entries, all of them or none, and return when they are safe."""
        ...

    def find(self, execution_arn: str) -> ExecutionRecord | None:
        """Return an execution."""
        ...

    def running(self) -> list[ExecutionRecord]:
        """Return the executions that have not ended, the oldest first."""
        ...

    def journal(self, execution_arn: str) -> list[JournalEntry]:
        """Return an execution's steps in order; `opens` and `closing` are left out."""
        ...

    def events(
        self, execution_arn: str, *, beyond: int, limit: int, reverse: bool
    ) -> list[HistoryEvent]:
        """Return up to `limit` events after (or, in reverse, before) the event `beyond`."""
        ...

    def executions(
        self,
        machine_arn: str | None,
        *,
        status: ExecutionStatus | None,
        skip: int,
        limit: int,
    ) -> list[ExecutionRecord]:
        """Return executions, the newest first."""
        ...


class MemoryHistoryStore:
    """A store that ends with its process: for tests, virtual time and replay."""

    def __init__(self, *, token_key: bytes = b"in memory only") -> None:
        self._token_key = token_key
        self._records: dict[str, ExecutionRecord] = {}
        self._journals: dict[str, list[JournalEntry]] = {}

    def token_key(self) -> bytes:
        """Return the key that was given."""
        return self._token_key

    def commit(self, entries: Sequence[JournalEntry]) -> None:
        """Keep the entries."""
        for entry in entries:
            if entry.opens is not None:
                self._records[entry.execution_arn] = entry.opens
                self._journals[entry.execution_arn] = []
            self._journals[entry.execution_arn].append(entry)
            if entry.closing is not None:
                opened = self._records[entry.execution_arn]
                self._records[entry.execution_arn] = closed(opened, entry.closing, entry.at)

    def find(self, execution_arn: str) -> ExecutionRecord | None:
        """Return an execution."""
        return self._records.get(execution_arn)

    def running(self) -> list[ExecutionRecord]:
        """Return the executions that have not ended, the oldest first."""
        return [r for r in self._records.values() if r.status is ExecutionStatus.RUNNING]

    def journal(self, execution_arn: str) -> list[JournalEntry]:
        """Return an execution's steps in order."""
        entries = self._journals.get(execution_arn, [])
        return [replace(entry, opens=None, closing=None) for entry in entries]

    def events(
        self, execution_arn: str, *, beyond: int, limit: int, reverse: bool
    ) -> list[HistoryEvent]:
        """Return up to `limit` events after (or, in reverse, before) the event `beyond`."""
        steps: Iterable[JournalEntry] = self._journals.get(execution_arn, [])
        every = [event for step in steps for event in step.events]
        if reverse:
            return [event for event in reversed(every) if event.id < beyond][:limit]
        return [event for event in every if event.id > beyond][:limit]

    def executions(
        self,
        machine_arn: str | None,
        *,
        status: ExecutionStatus | None,
        skip: int,
        limit: int,
    ) -> list[ExecutionRecord]:
        """Return executions, the newest first."""
        wanted = [
            record
            for record in reversed(self._records.values())
            if machine_arn in (None, record.machine_arn) and status in (None, record.status)
        ]
        return wanted[skip : skip + limit]


def closed(record: ExecutionRecord, closing: Closing, at: datetime) -> ExecutionRecord:
    """Return a record as it is once its execution has ended."""
    return replace(
        record,
        status=closing.status,
        stop_date=at,
        output=closing.output,
        error=closing.error,
        cause=closing.cause,
    )
