"""A small world around the engine: virtual time, functions, and short ways to say things."""

from __future__ import annotations

from collections.abc import Callable

from atelier.contracts.clock import ManualClock
from workflows.engine.engine import (
    Engine,
    MemoryHistoryStore,
    Report,
    TaskCall,
    TaskFailure,
    TaskSuccess,
)

INVOKE = "arn:aws:states:::lambda:invoke"
CALLBACK = "arn:aws:states:::lambda:invoke.waitForTaskToken"


class Functions:
    """A TaskRunner whose functions answer at once, later, or never.

    A function takes a payload and returns a TaskSuccess or TaskFailure; None leaves the call open,
    to be answered through `reports`. Functions without an entry in `code` return their payload.
    """

    def __init__(self) -> None:
        self.code: dict[str, Callable[[object], TaskSuccess | TaskFailure | None]] = {}
        self.calls: list[TaskCall] = []
        self.reports: dict[str, Report] = {}
        self.cancelled: list[str] = []

    def start(self, call: TaskCall, report: Report) -> None:
        self.calls.append(call)
        self.reports[call.id] = report
        outcome = self.code.get(call.function, TaskSuccess)(call.payload)
        if outcome is not None:
            report(outcome)

    def cancel(self, call_id: str) -> None:
        self.cancelled.append(call_id)

    def answers(self, function: str, *outcomes: TaskSuccess | TaskFailure | None) -> None:
        """Let `function` answer with these outcomes, one per call, the last one ever after."""
        left = list(outcomes)
        self.code[function] = lambda _payload: left.pop(0) if len(left) > 1 else left[0]


class World:
    """An engine with its clock, store and functions."""

    def __init__(self, store=None, *, clock=None, batch: int = 256) -> None:
        self.clock = clock or ManualClock()
        self.store = store or MemoryHistoryStore()
        self.functions = Functions()
        self.events: list[dict] = []
        self.batch = batch
        self.engine = self._boot()

    def _boot(self) -> Engine:
        engine = Engine(store=self.store, tasks=self.functions, clock=self.clock, batch=self.batch)
        engine.subscribe(self.events.append)
        return engine

    def crash(self) -> None:
        """Lose the process; begin another one on the same store."""
        self.functions = Functions()
        self.engine = self._boot()

    def start(self, states: dict, given: object = None, *, name: str = "one", **top) -> str:
        """Register a machine of these states, the first of them its start, and start it."""
        definition = {"StartAt": next(iter(states)), "States": states, **top}
        self.engine.register("machine", definition)
        begun = self.engine.start_execution(
            "machine", name=name, input={} if given is None else given
        )
        self.engine.run_due()
        return begun.arn

    def run(self, states: dict, given: object = None, **top) -> str:
        """Start and let time run until nothing is left to happen."""
        arn = self.start(states, given, **top)
        self.engine.run_until_idle()
        return arn

    def history(self, arn: str) -> list[dict]:
        return [event.to_dict() for event in self.engine.get_execution_history(arn).items]

    def types(self, arn: str) -> list[str]:
        return [event["type"] for event in self.history(arn)]

    def times(self, arn: str, event_type: str) -> list[float]:
        """Return when events of a type happened, in seconds after the start."""
        events = self.history(arn)
        began = events[0]["timestamp"]
        return [
            (event["timestamp"] - began).total_seconds()
            for event in events
            if event["type"] == event_type
        ]

    def status(self, arn: str) -> str:
        return self.engine.describe_execution(arn).status.value


def task(function: str = "work", /, **fields) -> dict:
    """Return a Task state that calls a function with the whole input, and ends."""
    state = {
        "Type": "Task",
        "Resource": INVOKE,
        "Parameters": {"FunctionName": function, "Payload.$": "$"},
        "ResultSelector": {"result.$": "$.Payload"},
        "ResultPath": "$.done",
        **fields,
    }
    return state if "Next" in state else {**state, "End": True}


def callback(function: str = "ask", /, **fields) -> dict:
    """Return a Task state that waits for its token to come back, and ends."""
    state = {
        "Type": "Task",
        "Resource": CALLBACK,
        "Parameters": {"FunctionName": function, "Payload": {"token.$": "$$.Task.Token"}},
        **fields,
    }
    return state if "Next" in state else {**state, "End": True}
