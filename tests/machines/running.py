"""Runs the compiled machines on the engine with scripted functions, in virtual time."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from atelier.contracts.clock import ManualClock
from workflows.engine.engine import (
    Engine,
    ExecutionRecord,
    MemoryHistoryStore,
    Report,
    TaskCall,
    TaskFailure,
    TaskSuccess,
)
from workflows.machines import asl

Answer = dict[str, Any] | TaskFailure | Callable[[TaskCall], Any] | None
"""What a function answers: its result, a failure, something computed, or None for never."""

REQUEST = "r" + "a" * 26
ONBOARDING = {"request": REQUEST, "attempt": 1, "deadline_seconds": 86_400, "known": False}
FAILURE = {"request": REQUEST, "error": "PoisonousTask", "message": "It failed twice, alone."}
PUBLISHED = {"version": "v1-1a2b3c4d", "artifact": "a", "digest": "d", "target_model": "t"}


def training(state: str = "running", *, turn: int = 0, wait_seconds: int = 20) -> dict[str, Any]:
    """Return what LaunchTraining's token and SyncCheckpoints carry."""
    return {
        "attempt": 1,
        "job": "atelier-b-1",
        "host": "algo-1",
        "wait_seconds": wait_seconds,
        "turn": turn,
        "state": state,
    }


def fails(error: str, cause: str = "{}") -> TaskFailure:
    """Return a failure as a Lambda function's raised error."""
    return TaskFailure(error=error, cause=cause)


HAPPY: Mapping[str, list[Answer]] = {
    "Register": [ONBOARDING],
    "LaunchTraining": [training()],
    "SyncCheckpoints": [training(turn=1), training("trained", turn=2)],
    "PublishModel": [PUBLISHED],
    "Announce": [{}],
    "RecordFailure": [FAILURE],
    "LaunchRound": [{"epoch": 1, "more": False}],
}


@dataclass(slots=True)
class Functions:
    """A TaskRunner that answers from a script; the last answer of a function repeats."""

    script: Mapping[str, list[Answer]]
    calls: list[TaskCall] = field(default_factory=list)
    tokens: list[tuple[str, Any]] = field(default_factory=list)
    _asked: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def start(self, call: TaskCall, report: Report) -> None:
        self.calls.append(call)
        answers = self.script[call.function]
        answer = answers[min(self._asked[call.function], len(answers) - 1)]
        self._asked[call.function] += 1
        if callable(answer) and not isinstance(answer, TaskFailure):
            answer = answer(call)
        if isinstance(answer, TaskFailure):
            report(answer)
        elif call.token is None and answer is not None:
            report(TaskSuccess(answer))
        elif call.token is not None:
            report(TaskSuccess({}))
            if answer is not None:
                self.tokens.append((call.token, answer))

    def hand_in(self, engine: Engine) -> bool:
        """Complete the tokens that were handed out; return whether there were any."""
        tokens, self.tokens = self.tokens, []
        for token, output in tokens:
            engine.send_task_success(token, output)
        return bool(tokens)

    def cancel(self, call_id: str) -> None:
        """Nothing goes on here that could be ended."""

    def called(self, function: str) -> list[Any]:
        """Return the payloads that a function was called with."""
        return [call.payload for call in self.calls if call.function == function]


@dataclass(slots=True)
class Run:
    """One execution that ended, and how."""

    record: ExecutionRecord
    events: list[dict[str, Any]]
    functions: Functions
    clock: ManualClock

    @property
    def states(self) -> list[str]:
        """The states entered, in order."""
        return [
            event["stateEnteredEventDetails"]["name"]
            for event in self.events
            if "stateEnteredEventDetails" in event
        ]

    @property
    def output(self) -> Any:
        return json.loads(self.record.output or "null")


def run(machine: str, given: Any, **script: list[Answer]) -> Run:
    """Run a machine until nothing happens any more; `script` replaces parts of the happy one."""
    functions = Functions({**HAPPY, **script})
    clock = ManualClock()
    engine = Engine(store=MemoryHistoryStore(), tasks=functions, clock=clock)
    engine.register(machine, asl.load(machine), substitutions=asl.MACHINES[machine].placeholders)
    started = engine.start_execution(machine, name=f"{REQUEST}-1", input=given)
    while True:
        engine.run_due()
        if functions.hand_in(engine):
            continue
        if (due := engine._next_due()) is None:
            break
        clock.sleep((due - clock.now()).total_seconds())
    page = engine.get_execution_history(started.arn)
    events = [event.to_dict() for event in page.items]
    while page.next_token:
        page = engine.get_execution_history(started.arn, next_token=page.next_token)
        events += [event.to_dict() for event in page.items]
    return Run(engine.describe_execution(started.arn), events, functions, clock)
