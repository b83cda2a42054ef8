"""What goes on inside an execution: entering states, working, leaving, retrying, failing.

A branch runs one machine: the execution itself, a Parallel's branch, or a Map's iteration. It has
at most one visit open; a visit waits for a timer, a task attempt (`attempts`), or its own branches
(`fans`). States that can be entered stand in one queue, so that branches take turns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, TypeAlias

from atelier.contracts.clock import to_iso
from workflows.engine import visit as core
from workflows.engine.attempts import Attempts
from workflows.engine.branches import Branch, Visit
from workflows.engine.definition import (
    KINDS,
    ChoiceState,
    FailState,
    Machine,
    MapState,
    ParallelState,
    PassState,
    State,
    SucceedState,
    TaskState,
    WaitState,
)
from workflows.engine.errors import DATA_LIMIT_EXCEEDED, RUNTIME, StateFailure, told_cause
from workflows.engine.fans import Fans
from workflows.engine.happenings import CancelTask, Effect, Purpose, SetTimer, StartTask
from workflows.engine.history import NOT_TRUNCATED, error_details
from workflows.engine.jsontext import Json
from workflows.engine.paths import Scope
from workflows.engine.recorder import DataTooLarge, Recorder
from workflows.engine.timers import Timers
from workflows.engine.visit import Backoff, Caught, Exit, Failed, too_large


class ExecutionStatus(StrEnum):
    """Where an execution stands."""

    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"
    ABORTED = "ABORTED"


@dataclass(frozen=True, slots=True)
class Facts:
    """What never changes about an execution; `input` is a JSON value."""

    arn: str
    name: str
    machine_arn: str
    machine_name: str
    input: Json
    started_at: datetime
    role_arn: str
    region: str


@dataclass(frozen=True, slots=True)
class Closing:
    """How an execution ended; `output` is a JSON text, of a success only."""

    status: ExecutionStatus
    output: str | None = None
    error: str | None = None
    cause: str | None = None


Work: TypeAlias = Exit | Failed | None
"""What a piece of a visit's work comes to: the way out, a failure, or waiting."""


class Fold:
    """The state of one execution and the moves that change it.

    Attributes:
        facts: What never changes.
        at: When the current happening happened.
        root: The execution's own branch.
        recorder: Where events are written.
        timers: What is waited for in time.
        attempts: The task attempts without outcome.
        fans: Parallel and Map.
        closing: How it ended.
        redrives: How often it went on after an end.
    """

    def __init__(self, facts: Facts, machine: Machine, *, token_key: bytes) -> None:
        self.facts = facts
        self.at = facts.started_at
        self.root = Branch(machine, {}, last_event=0)
        self.recorder = Recorder()
        self.closing: Closing | None = None
        self._effects: list[Effect] = []
        self.timers = Timers(self._effects)
        self.attempts = Attempts(self, token_key)
        self.fans = Fans(self)
        self._ready: deque[Callable[[], None]] = deque()
        self.redrives = 0
        self._told_execution: Mapping[str, Json] = {
            "Id": facts.arn,
            "Input": facts.input,
            "Name": facts.name,
            "RoleArn": facts.role_arn,
            "StartTime": to_iso(facts.started_at),
            "RedriveCount": 0,
        }

    # --- moving on -----------------------------------------------------------------------------

    def run(self) -> None:
        """Enter the states that can be entered, until the execution waits or has ended."""
        while self._ready and self.closing is None:
            self._ready.popleft()()

    def effect(self, effect: Effect) -> None:
        """Ask for something to be done."""
        self._effects.append(effect)

    def collect_effects(self) -> tuple[Effect, ...]:
        """Return what was asked for since the last call, but for what was taken back at once."""
        asked = tuple(self._effects)
        self._effects.clear()
        if len(asked) < 2:
            return asked
        begun = {effect.attempt for effect in asked if isinstance(effect, StartTask)}
        void = {e.attempt for e in asked if isinstance(e, CancelTask) and e.attempt in begun}
        return tuple(
            effect
            for effect in asked
            if (
                effect.timer in self.timers
                if isinstance(effect, SetTimer)
                else effect.attempt not in void
            )
        )

    def enter_later(self, branch: Branch, name: str, given: Json) -> None:
        """Let `branch` enter a state when its turn comes."""
        branch.entering = name, given
        self._ready.append(lambda: self._enter(branch, name, given))

    def _enter(self, branch: Branch, name: str, given: Json) -> None:
        if self.fans.is_gone(branch):
            return  # a sibling failed while this branch stood in the queue
        try:
            text = self.recorder.text(given)
        except DataTooLarge:
            self.fans.refuse_input(branch)
            return
        state = branch.machine.states[name]
        kind = KINDS[type(state)]
        told = {"name": name, "input": text, "inputDetails": NOT_TRUNCATED}
        entered = self.write(branch, f"{kind}StateEntered", told)
        visit = Visit(branch, state, kind, given, entered, self.at, no_retries(state))
        branch.visit, branch.entering = visit, None
        self.begin(visit)

    def begin_later(self, visit: Visit) -> None:
        """Let a visit begin its work again when its turn comes."""
        self._ready.append(lambda: None if self.fans.is_gone(visit.branch) else self.begin(visit))

    def begin(self, visit: Visit) -> None:
        """Begin a visit's work: on entry, and again for each retry."""
        begin = _BEGINNINGS[type(visit.state)]
        self.work(visit, lambda: begin(self, visit))

    def work(self, visit: Visit, work: Callable[[], Work]) -> None:
        """Do a piece of a visit's work and act on what it comes to."""
        try:
            way = work()
        except StateFailure as failure:
            way = _explained(visit, failure)
        if isinstance(way, Failed):
            self.fail(visit, way)
        elif way is not None:
            self._leave(visit, way)

    def finish_wait(self, visit: Visit) -> None:
        """Leave a Wait state: its time has come."""
        self.work(visit, lambda: core.leave_simply(visit.state, self.scope(visit)))

    def _leave(self, visit: Visit, way: Exit, *, caught: bool = False) -> None:
        try:
            output = self.recorder.text(way.output)
            told: dict[str, Any] = {
                "name": visit.state.name,
                "output": output,
                "outputDetails": NOT_TRUNCATED,
            }
            if way.assigned:
                told["assignedVariables"] = {
                    name: self.recorder.text(value) for name, value in way.assigned.items()
                }
                told["assignedVariablesDetails"] = NOT_TRUNCATED
        except DataTooLarge:
            # The error of an output that is itself a caught error is not caught once more.
            (self._end_failed if caught else self.fail)(visit, too_large(visit.state.name))
            return
        branch = visit.branch
        self.write(branch, f"{visit.kind}StateExited", told)
        branch.variables.update(way.assigned)
        branch.visit = None
        if way.next is not None:
            self.enter_later(branch, way.next, way.output)
        elif branch.parent is not None:
            self.fans.join(branch.parent, branch, way.output)
        else:
            ended = {"output": output, "outputDetails": NOT_TRUNCATED}
            self.write(branch, "ExecutionSucceeded", ended)
            self.close(Closing(ExecutionStatus.SUCCEEDED, output))

    # --- failing -------------------------------------------------------------------------------

    def fail(self, visit: Visit, failed: Failed) -> None:
        """Retry, catch, or end: what becomes of a failure of this visit."""
        if failed.error == RUNTIME:
            self.close_failed(failed, visit.branch.last_event)
            return
        self.fans.abort(visit, visit.branch.last_event)
        if failed.error == DATA_LIMIT_EXCEEDED:
            visit.broken = None  # a redrive runs all of its branches again
        try:
            settled = core.settle_failure(visit.state, self.scope(visit), failed, visit.retries)
        except StateFailure as failure:
            self._end_failed(visit, _explained(visit, failure))
            return
        if isinstance(settled, Backoff):
            visit.retries[settled.retrier] += 1
            visit.retry_count += 1
            due = self.at + timedelta(seconds=settled.seconds)
            visit.timer = self.timers.arm(Purpose.RETRY, due, visit)
            return
        if visit.kind in ("Map", "Parallel"):
            self.write(visit.branch, f"{visit.kind}StateFailed")
        if isinstance(settled, Caught):
            self._leave(visit, settled.exit, caught=True)
        else:
            self._end_failed(visit, failed)

    def _end_failed(self, visit: Visit, failed: Failed) -> None:
        branch = visit.branch
        if branch.parent is None or failed.error == RUNTIME:
            self.close_failed(failed, branch.last_event)
        else:
            self.fans.fail(branch.parent, branch, failed)

    # --- beginnings ----------------------------------------------------------------------------

    def leave_simply(self, visit: Visit) -> Work:
        """Pass, Succeed and Choice do no work of their own."""
        return core.leave_simply(visit.state, self.scope(visit))

    def raise_failure(self, visit: Visit) -> Work:
        """Fail states fail."""
        assert isinstance(visit.state, FailState)  # noqa: S101 - dispatched by type
        return core.failure_of(visit.state, self.scope(visit))

    def begin_wait(self, visit: Visit) -> Work:
        """Wait states wait; a time that is past is now."""
        assert isinstance(visit.state, WaitState)  # noqa: S101 - dispatched by type
        due = core.wait_until(visit.state, self.scope(visit), self.at)
        visit.timer = self.timers.arm(Purpose.WAIT, max(due, self.at), visit)
        return None

    # --- what a visit sees and writes ----------------------------------------------------------

    def scope(
        self, visit: Visit, *, token: str | None = None, item: Mapping[str, Json] | None = None
    ) -> Scope:
        """Return what the expressions of a visit can see."""
        context: dict[str, Json] = {
            "Execution": self._told_execution,
            "State": {
                "EnteredTime": to_iso(visit.entered_at),
                "Name": visit.state.name,
                "RetryCount": visit.retry_count,
            },
            "StateMachine": {"Id": self.facts.machine_arn, "Name": self.facts.machine_name},
        }
        if token is not None:
            context["Task"] = {"Token": token}
        item = item or visit.branch.item
        if item is not None:
            context["Map"] = item
        seed = f"{self.facts.arn}/{visit.entered_event}/{visit.retry_count}"
        if self.redrives:
            seed = f"{seed}/{self.redrives}"
        return Scope(visit.input, visit.branch.variables, context, seed)

    def write(
        self, branch: Branch, event_type: str, details: Mapping[str, Any] | None = None
    ) -> int:
        """Write a branch's next event and return its id."""
        branch.last_event = self.recorder.write(event_type, branch.last_event, details)
        return branch.last_event

    # --- beginning and end ---------------------------------------------------------------------

    def arm_timeout(self) -> None:
        """Let the machine's TimeoutSeconds begin."""
        seconds = self.root.machine.timeout_seconds
        if seconds is not None:
            self.timers.arm(Purpose.EXECUTION, self.at + timedelta(seconds=seconds), None)

    def reopen(self, redrives: int) -> None:
        """Take the end back; what goes on, and where, is up to `redrive`."""
        self.closing = None
        self.redrives = redrives
        told = {"RedriveCount": redrives, "RedriveTime": to_iso(self.at)}
        self._told_execution = {**self._told_execution, **told}

    def close_failed(self, failed: Failed, previous: int) -> None:
        """End the execution with an error."""
        details = error_details(failed.error, failed.cause)
        self.recorder.write("ExecutionFailed", previous, details)
        self.close(Closing(ExecutionStatus.FAILED, None, failed.error, failed.cause or None))

    def close(self, closing: Closing) -> None:
        """End the execution: nothing is waited for, nothing is asked for but to cancel."""
        self.closing = closing
        self.attempts.cancel_all()
        self.timers.clear()
        self._ready.clear()


def no_retries(state: State) -> list[int]:
    """Return how often each retrier of a state was used: never yet."""
    return [0] * len(getattr(state, "retry", ()))


def _explained(visit: Visit, failure: StateFailure) -> Failed:
    where = (
        f"An error occurred while executing the state '{visit.state.name}' (entered at the event "
        f"id #{visit.entered_event}). "
    )
    cause = f"{'' if failure.bare else where}{failure.cause}"
    return Failed(failure.error, told_cause(cause))


_BEGINNINGS: Final[Mapping[type, Callable[[Fold, Visit], Work]]] = {
    PassState: Fold.leave_simply,
    SucceedState: Fold.leave_simply,
    ChoiceState: Fold.leave_simply,
    FailState: Fold.raise_failure,
    WaitState: Fold.begin_wait,
    TaskState: lambda fold, visit: fold.attempts.begin(visit),
    ParallelState: lambda fold, visit: fold.fans.begin_parallel(visit),
    MapState: lambda fold, visit: fold.fans.begin_map(visit),
}
