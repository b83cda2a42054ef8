"""Reading a history once, event by event: what is kept of it, and what is wrong with it.

A task begins with its Scheduled event and ends with one of its outcomes; `previousEventId` leads
from each of its events to the one before, so the outcome finds its Scheduled event by going back.
Of a task that was open when its execution ended, or was redriven, no outcome is asked.

Source: docs.aws.amazon.com/step-functions/latest/apireference/API_HistoryEvent.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from infra.doctor.evidence import History, OpenTask

MAX_EVENTS = 25_000
MAX_DATA_BYTES = 262_144
MAX_FLAWS = 5
"""More of one history are not told."""

SCHEDULED = frozenset({"TaskScheduled", "LambdaFunctionScheduled", "ActivityScheduled"})
OUTCOMES = frozenset(
    f"{kind}{end}"
    for kind in ("Task", "LambdaFunction", "Activity")
    for end in ("Succeeded", "Failed", "TimedOut", "StartFailed", "ScheduleFailed")
) | {"TaskSubmitFailed"}
ENDS = frozenset({"ExecutionSucceeded", "ExecutionFailed", "ExecutionAborted", "ExecutionTimedOut"})
REDRIVEN = "ExecutionRedriven"
DATA = ("input", "output", "parameters")

Details = Mapping[str, Any] | None


@dataclass(slots=True)
class HistoryReader:
    """Takes one history's events in order; `history` is what is kept of them."""

    flaws: list[str] = field(default_factory=list)
    last_id: int = 0
    last_at: datetime | None = None
    last_type: str = ""
    _began_in: dict[int, int] = field(default_factory=dict)
    _open: dict[int, OpenTask] = field(default_factory=dict)
    _closed: dict[int, datetime] = field(default_factory=dict)
    _ended: set[int] = field(default_factory=set)
    _state: str = ""

    def take(self, number: int, previous: int, kind: str, at: datetime, details: Details) -> None:
        """Take the next event."""
        if number != self.last_id + 1:
            self._flaw(f"event {number} follows event {self.last_id}")
        if not 0 <= previous < number:
            self._flaw(f"event {number} follows from event {previous}")
        if self.last_at is not None and at < self.last_at:
            self._flaw(f"event {number} of {at.isoformat()} comes before the one before it")
        if self.last_type in ENDS and kind != REDRIVEN:
            self._flaw(f"event {number}, {kind}, comes after {self.last_type}")
        self._check_sizes(number, details)
        if kind.endswith("StateEntered"):
            self._state = str((details or {}).get("name", ""))
        if kind in SCHEDULED:
            self._schedule(number, at, details)
        elif kind in OUTCOMES or kind in {"TaskStarted", "LambdaFunctionStarted", "TaskSubmitted"}:
            self._continue(number, previous, kind, at)
        elif kind == REDRIVEN:
            self._open.clear()
        self.last_id, self.last_at, self.last_type = number, at, kind

    def history(self, *, running: bool) -> History:
        """Return what is kept; `running` is what the execution's record says."""
        ended = self.last_type in ENDS
        if self.last_id == 0:
            self._flaw("it has no events")
        elif ended == running:
            does = "runs" if running else "has ended"
            self._flaw(f"its last event is {self.last_type}, and its record says that it {does}")
        if self.last_id > MAX_EVENTS:
            self._flaw(f"{self.last_id:,} events; AWS allows {MAX_EVENTS:,}")
        if self.last_type == "ExecutionSucceeded" and self._open:
            started = sorted(self._open)
            self._flaw(f"it succeeded, and the task of event {started[0]} has no outcome")
        return History(
            events=self.last_id,
            last_at=self.last_at,
            flaws=tuple(self.flaws[:MAX_FLAWS]),
            open=dict(self._open) if running else {},
            closed=dict(self._closed),
        )

    def _schedule(self, number: int, at: datetime, details: Details) -> None:
        told = details or {}
        timeout = told.get("timeoutInSeconds")
        seconds = float(timeout) if isinstance(timeout, int | float) else None
        self._began_in[number] = number
        self._open[number] = OpenTask(self._state, at, seconds)

    def _continue(self, number: int, previous: int, kind: str, at: datetime) -> None:
        began = self._began_in.get(previous)
        if began is None:
            self._flaw(f"event {number}, {kind}, belongs to no task that was scheduled")
            return
        self._began_in[number] = began
        if kind not in OUTCOMES:
            return
        if began in self._ended:
            self._flaw(f"the task of event {began} ended twice, again with event {number}")
        self._ended.add(began)
        self._open.pop(began, None)
        self._closed[began] = at

    def _check_sizes(self, number: int, details: Details) -> None:
        for name in DATA:
            value = (details or {}).get(name)
            if isinstance(value, str) and len(value.encode()) > MAX_DATA_BYTES:
                self._flaw(f"the {name} of event {number} has more than {MAX_DATA_BYTES:,} bytes")

    def _flaw(self, sentence: str) -> None:
        self.flaws.append(sentence)


def carried_by(name_speaks_of: str | None, input_text: str) -> str | None:
    """Return the request that an execution carries: a fork's input names it, else its name."""
    if '"resume_at"' in input_text:
        try:
            onboarding = json.loads(input_text).get("onboarding")
        except (ValueError, AttributeError):
            return name_speaks_of
        if isinstance(onboarding, Mapping) and isinstance(onboarding.get("request"), str):
            return str(onboarding["request"])
    return name_speaks_of
