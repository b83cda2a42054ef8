"""Where histories live: the protocol, and a store in memory that is one.

The truth about an execution is its journal: what happened, when, and the events that this led to.
`commit` takes all of a batch or nothing; whoever reads sees only what was committed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Protocol, TypeAlias

from workflows.engine.execution import Closing, Execution, ExecutionStatus
from workflows.engine.happenings import Happening, Redriven
from workflows.engine.history import EVENT_LIMIT, HistoryEvent

REDRIVE_LIMIT: Final = 1_000
REDRIVABLE_FOR: Final = timedelta(days=14)
LONGEST_EXECUTION: Final = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class ExecutionRecord:
    """What DescribeExecution tells.

    Attributes:
        definition: The text that the execution keeps.
        redrive_count, redrive_date: How often it was redriven, and when last.
        event_count: How many events its history had when it last ended.
    """

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
    redrive_count: int = 0
    redrive_date: datetime | None = None
    event_count: int = 0

    def why_not_redrivable(self, now: datetime) -> str | None:
        """Return why it cannot be redriven, in AWS's words where it has some; None when it can.

        Source: https://docs.aws.amazon.com/step-functions/latest/dg/redrive-executions.html
        """
        if self.status in (ExecutionStatus.RUNNING, ExecutionStatus.SUCCEEDED):
            return f"Execution is {self.status} and cannot be redriven"
        if self.event_count >= EVENT_LIMIT - 1:
            return "Execution history event limit exceeded"
        if now - self.start_date > LONGEST_EXECUTION:
            return "Execution has exceeded the max execution time"
        if self.stop_date is not None and now - self.stop_date > REDRIVABLE_FOR:
            return "Execution redrivable period exceeded"
        if self.redrive_count >= REDRIVE_LIMIT:
            return f"Execution was redriven {REDRIVE_LIMIT} times, which is the limit"
        return None

    def redrive_dict(self, now: datetime | None = None) -> dict[str, Any]:
        """Return what AWS tells of redrives as of `now`, or as of the record's last change."""
        reason = self.why_not_redrivable(now or self.stop_date or self.start_date)
        return {
            "redriveCount": self.redrive_count,
            "redriveDate": self.redrive_date,
            "redriveStatus": "REDRIVABLE" if reason is None else "NOT_REDRIVABLE",
            "redriveStatusReason": reason,
        }

    def to_dict(self, now: datetime | None = None) -> dict[str, Any]:
        """Return what botocore's describe_execution returns at `now`."""
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
            **self.redrive_dict(now),
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

    `commit` is called by one thread at a time, but not always the same; what reads may be called
    by any beside it. Any call may raise StorageError, which has changed nothing; after a `commit`
    that raised one, `journal` says whether it was stored after all.
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
            self._records[entry.execution_arn] = changed(self._records[entry.execution_arn], entry)

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


def changed(record: ExecutionRecord, entry: JournalEntry) -> ExecutionRecord:
    """Return a record as it is after a step: the same, redriven, ended, or both."""
    if isinstance(entry.happening, Redriven):
        record = replace(
            record,
            status=ExecutionStatus.RUNNING,
            stop_date=None,
            error=None,
            cause=None,
            redrive_count=entry.happening.count,
            redrive_date=entry.at,
        )
    if entry.closing is not None:
        record = replace(
            record,
            status=entry.closing.status,
            stop_date=entry.at,
            output=entry.closing.output,
            error=entry.closing.error,
            cause=entry.closing.cause,
            event_count=entry.events[-1].id,
        )
    return record
