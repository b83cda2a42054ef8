"""An execution as a fold: (what happened so far, a happening) → (new events, effects as data).

`Execution.advance` is the only way in. It reads no clock, does no input or output and draws no
randomness but from seeds, so the same happenings at the same times give the same history: live,
after a crash, and in replay.

A branch runs one machine: the execution itself, a Parallel's branch, or a Map's iteration. It has
at most one visit open; a visit waits for a timer, a task attempt, or its own branches.
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
from workflows.engine.branches import Attempt, Branch, Fan, Purpose, Timer, Visit
from workflows.engine.definition import (
    KINDS,
    ChoiceState,
    FailState,
    Machine,
    MapState,
    ParallelState,
    PassState,
    Pattern,
    SucceedState,
    TaskState,
    WaitState,
)
from workflows.engine.errors import (
    DATA_LIMIT_EXCEEDED,
    HEARTBEAT_TIMEOUT,
    RUNTIME,
    TIMEOUT,
    StateFailure,
)
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
    TaskLapsed,
    TaskReturned,
    TimerFired,
)
from workflows.engine.history import EVENT_LIMIT, NOT_TRUNCATED, HistoryEvent, error_details
from workflows.engine.jsontext import Json
from workflows.engine.paths import Scope
from workflows.engine.recorder import DataTooLarge, HistoryFull, Recorder
from workflows.engine.taskevents import scheduled_event, task_event
from workflows.engine.tokens import issue_token
from workflows.engine.visit import Backoff, Caught, Exit, Failed

DEFAULT_TASK_SECONDS: Final = 99_999_999


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


@dataclass(frozen=True, slots=True)
class Step:
    """What one happening came to.

    Attributes:
        at: When it happened.
        happening: What happened.
        events: The events it added to the history.
        effects: What is to be done once they are stored.
        closing: The execution's end, if this was it.
    """

    at: datetime
    happening: Happening
    events: tuple[HistoryEvent, ...]
    effects: tuple[Effect, ...]
    closing: Closing | None


_Work: TypeAlias = Exit | Failed | None
"""What beginning a visit comes to: the way out, a failure, or waiting."""


class Execution:
    """One execution, folded happening by happening."""

    def __init__(self, facts: Facts, machine: Machine, *, token_key: bytes) -> None:
        self.facts = facts
        self.closing: Closing | None = None
        self._token_key = token_key
        self._root = Branch(machine, {}, last_event=0)
        self._recorder = Recorder()
        self._at = facts.started_at
        self._ready: deque[Callable[[], None]] = deque()
        self._attempts: dict[int, Attempt] = {}
        self._timers: dict[int, Timer] = {}
        self._timers_made = 0
        self._effects: list[Effect] = []
        self._told_execution = {
            "Id": facts.arn,
            "Input": facts.input,
            "Name": facts.name,
            "RoleArn": facts.role_arn,
            "StartTime": to_iso(facts.started_at),
            "RedriveCount": 0,
        }

    # --- the door ------------------------------------------------------------------------------

    @property
    def event_count(self) -> int:
        """How many events the history has."""
        return self._recorder.count

    def awaits_attempt(self, attempt: int) -> bool:
        """Say whether a task attempt still has no outcome."""
        return attempt in self._attempts

    def awaits_timer(self, timer: int) -> bool:
        """Say whether a timer is still armed."""
        return timer in self._timers

    def pending(self) -> tuple[Effect, ...]:
        """Return what has to be done again after a crash: tasks without answer, armed timers."""
        tasks = [a.request for a in self._attempts.values() if not a.submitted]
        timers = [SetTimer(number, timer.due) for number, timer in self._timers.items()]
        return (*tasks, *timers)

    def advance(self, happening: Happening, at: datetime) -> Step:
        """Take in one happening.

        Time never goes back within an execution: a clock that was set back counts as standing.
        What comes late, for an attempt or timer that is no longer awaited, changes nothing.
        """
        self._at = self._recorder.at = max(at, self._at)
        if self.closing is None:
            try:
                _HANDLERS[type(happening)](self, happening)
                while self._ready and self.closing is None:
                    self._ready.popleft()()
            except HistoryFull:
                cause = (
                    f"The execution reached the maximum number of history events ({EVENT_LIMIT})."
                )
                self._close_failed(Failed(RUNTIME, cause), self._recorder.count)
        effects, self._effects = tuple(self._effects), []
        return Step(self._at, happening, self._recorder.collect(), effects, self.closing)

    # --- happenings ----------------------------------------------------------------------------

    def _start(self, _happening: Started) -> None:
        self._recorder.write(
            "ExecutionStarted",
            0,
            {
                "input": self._recorder.text(self.facts.input),
                "inputDetails": NOT_TRUNCATED,
                "roleArn": self.facts.role_arn,
            },
        )
        machine = self._root.machine
        if machine.timeout_seconds is not None:
            self._set_timer(Purpose.EXECUTION, machine.timeout_seconds, None)
        self._later_enter(self._root, machine.start_at, self.facts.input)

    def _stop(self, happening: Stopped) -> None:
        closing = Closing(ExecutionStatus.ABORTED, error=happening.error, cause=happening.cause)
        details = error_details(happening.error, happening.cause)
        self._recorder.write("ExecutionAborted", 0, details)
        self._close(closing)

    def _abandon(self, happening: Abandoned) -> None:
        self._close_failed(Failed(RUNTIME, happening.cause), self._recorder.count)

    def _task_returned(self, happening: TaskReturned) -> None:
        attempt = self._attempts.get(happening.attempt)
        if attempt is None or attempt.submitted:
            return
        if attempt.request.resource.pattern is Pattern.REQUEST_RESPONSE:
            self._succeed_attempt(attempt, happening.output)
            return
        attempt.submitted = True
        try:
            output = self._recorder.text(happening.output)
        except DataTooLarge:
            self._fail_attempt(attempt, _too_large(attempt.request.resource.service))
            return
        self._write_task(attempt, "Submitted", {"output": output, "outputDetails": NOT_TRUNCATED})
        self._await_heartbeat(attempt)

    def _task_erred(self, happening: TaskErred | CallbackFailed) -> None:
        attempt = self._attempts.get(happening.attempt)
        if attempt is not None:
            self._fail_attempt(attempt, Failed(happening.error, happening.cause))

    def _task_lapsed(self, happening: TaskLapsed) -> None:
        attempt = self._attempts.get(happening.attempt)
        if attempt is not None:
            self._lapse(attempt, happening.error, happening.cause)

    def _callback_succeeded(self, happening: CallbackSucceeded) -> None:
        attempt = self._attempts.get(happening.attempt)
        if attempt is not None:
            self._succeed_attempt(attempt, happening.output)

    def _heartbeat(self, happening: Heartbeat) -> None:
        attempt = self._attempts.get(happening.attempt)
        if attempt is not None and attempt.submitted:
            self._await_heartbeat(attempt)

    def _timer_fired(self, happening: TimerFired) -> None:
        timer = self._timers.pop(happening.timer, None)
        if timer is None:
            return
        visit = timer.visit
        if visit is None:
            self._recorder.write("ExecutionTimedOut", 0, {"error": TIMEOUT})
            self._close(Closing(ExecutionStatus.TIMED_OUT))
        elif timer.purpose is Purpose.WAIT:
            self._work(visit, lambda: core.leave_simply(visit.state, self._scope(visit)))
        elif timer.purpose is Purpose.RETRY:
            self._begin(visit)
        elif visit.attempt is not None:
            lapsed = timer.purpose is Purpose.HEARTBEAT
            self._lapse(visit.attempt, HEARTBEAT_TIMEOUT if lapsed else TIMEOUT, None)

    # --- entering, working, leaving ------------------------------------------------------------

    def _later_enter(self, branch: Branch, name: str, given: Json) -> None:
        self._ready.append(lambda: self._enter(branch, name, given))

    def _enter(self, branch: Branch, name: str, given: Json) -> None:
        parent = branch.parent
        if parent is not None and (
            parent.fan is None or parent.fan.open.get(branch.index) is not branch
        ):
            return  # a sibling failed while this branch stood in the queue
        try:
            text = self._recorder.text(given)
        except DataTooLarge:
            assert parent is not None  # noqa: S101 - any other input was an output before
            self._fail_fan(parent, branch, _too_large(parent.state.name))
            return
        state = branch.machine.states[name]
        kind = KINDS[type(state)]
        details = {"name": name, "input": text, "inputDetails": NOT_TRUNCATED}
        entered = branch.last_event = self._recorder.write(
            f"{kind}StateEntered", branch.last_event, details
        )
        retries = [0] * len(getattr(state, "retry", ()))
        visit = Visit(branch, state, kind, given, entered, self._at, retries)
        branch.visit = visit
        self._begin(visit)

    def _begin(self, visit: Visit) -> None:
        """Begin a visit's work: on entry, and again for each retry."""
        begin = _BEGINNINGS[type(visit.state)]
        self._work(visit, lambda: begin(self, visit))

    def _work(self, visit: Visit, work: Callable[[], _Work]) -> None:
        """Do a piece of a visit's work and act on what it comes to."""
        try:
            way = work()
        except StateFailure as failure:
            way = self._explained(visit, failure)
        if isinstance(way, Failed):
            self._fail(visit, way)
        elif way is not None:
            self._leave(visit, way)

    def _leave(self, visit: Visit, way: Exit, *, caught: bool = False) -> None:
        try:
            output = self._recorder.text(way.output)
            told: dict[str, Any] = {
                "name": visit.state.name,
                "output": output,
                "outputDetails": NOT_TRUNCATED,
            }
            if way.assigned:
                told["assignedVariables"] = {
                    name: self._recorder.text(value) for name, value in way.assigned.items()
                }
                told["assignedVariablesDetails"] = NOT_TRUNCATED
        except DataTooLarge:
            failed = _too_large(visit.state.name)
            if caught:
                self._end_failed(visit, failed)
            else:
                self._fail(visit, failed)
            return
        branch = visit.branch
        branch.last_event = self._recorder.write(
            f"{visit.kind}StateExited", branch.last_event, told
        )
        branch.variables.update(way.assigned)
        branch.visit = None
        if way.next is not None:
            self._later_enter(branch, way.next, way.output)
        elif branch.parent is None:
            self._recorder.write(
                "ExecutionSucceeded",
                branch.last_event,
                {"output": output, "outputDetails": NOT_TRUNCATED},
            )
            self._close(Closing(ExecutionStatus.SUCCEEDED, output))
        else:
            self._join(branch.parent, branch, way.output)

    # --- failing -------------------------------------------------------------------------------

    def _fail(self, visit: Visit, failed: Failed) -> None:
        """Retry, catch, or end: what becomes of a failure of this visit."""
        if failed.error == RUNTIME:
            self._close_failed(failed, visit.branch.last_event)
            return
        if visit.fan is not None:
            self._abort_fan(visit, visit.branch.last_event)
        try:
            settled = core.settle_failure(visit.state, self._scope(visit), failed, visit.retries)
        except StateFailure as failure:
            self._end_failed(visit, self._explained(visit, failure))
            return
        if isinstance(settled, Backoff):
            visit.retries[settled.retrier] += 1
            visit.retry_count += 1
            visit.timer = self._set_timer(Purpose.RETRY, settled.seconds, visit)
        elif isinstance(settled, Caught):
            self._write_fan_failed(visit)
            self._leave(visit, settled.exit, caught=True)
        else:
            self._write_fan_failed(visit)
            self._end_failed(visit, failed)

    def _end_failed(self, visit: Visit, failed: Failed) -> None:
        branch = visit.branch
        if branch.parent is None or failed.error == RUNTIME:
            self._close_failed(failed, branch.last_event)
        else:
            self._fail_fan(branch.parent, branch, failed)

    def _fail_fan(self, visit: Visit, failing: Branch, failed: Failed) -> None:
        """A branch failed: its siblings are aborted, and the failure is the visit's own."""
        reason = failing.last_event
        fan = visit.fan
        assert fan is not None  # noqa: S101 - it has branches
        if visit.kind == "Map":
            self._write_iteration(visit, "Failed", failing.index, reason)
        if failing.visit is not None and failing.visit.kind == "Task":
            self._recorder.write("TaskStateAborted", reason)
        del fan.open[failing.index]
        self._abort_fan(visit, reason)
        visit.branch.last_event = reason
        self._fail(visit, failed)

    def _abort_fan(self, visit: Visit, reason: int) -> None:
        fan, visit.fan = visit.fan, None
        for index, branch in fan.open.items() if fan is not None else ():
            if visit.kind == "Map":
                self._write_iteration(visit, "Aborted", index, reason)
            if branch.visit is not None:
                self._recorder.write(f"{branch.visit.kind}StateAborted", reason)
                self._drop(branch.visit)
                self._abort_fan(branch.visit, reason)

    def _write_fan_failed(self, visit: Visit) -> None:
        if visit.kind in ("Map", "Parallel"):
            branch = visit.branch
            branch.last_event = self._recorder.write(f"{visit.kind}StateFailed", branch.last_event)

    def _explained(self, visit: Visit, failure: StateFailure) -> Failed:
        return Failed(
            failure.error,
            f"An error occurred while executing the state '{visit.state.name}' (entered at the "
            f"event id #{visit.entered_event}). {failure.cause}",
        )

    # --- waiting -------------------------------------------------------------------------------

    def _begin_wait(self, visit: Visit) -> _Work:
        state = visit.state
        assert isinstance(state, WaitState)  # noqa: S101 - dispatched by type
        due = core.wait_until(state, self._scope(visit), visit.entered_at)
        visit.timer = self._set_timer_at(Purpose.WAIT, max(due, self._at), visit)
        return None

    def _set_timer(self, purpose: Purpose, seconds: float, visit: Visit | None) -> int:
        return self._set_timer_at(purpose, self._at + timedelta(seconds=seconds), visit)

    def _set_timer_at(self, purpose: Purpose, due: datetime, visit: Visit | None) -> int:
        self._timers_made += 1
        self._timers[self._timers_made] = Timer(due, purpose, visit)
        self._effects.append(SetTimer(self._timers_made, due))
        return self._timers_made

    # --- tasks ---------------------------------------------------------------------------------

    def _begin_task(self, visit: Visit) -> _Work:
        state = visit.state
        assert isinstance(state, TaskState)  # noqa: S101 - dispatched by type
        number = self._recorder.count + 1
        token = issue_token(self._token_key, self.facts.arn, number)
        request = core.request_task(state, self._scope(visit, token=token))
        try:
            parameters = self._recorder.text(request.parameters)
        except DataTooLarge:
            return _too_large(state.name)
        event = scheduled_event(state.resource, request, parameters, self.facts.region)
        branch = visit.branch
        branch.last_event = self._recorder.write(event.type, branch.last_event, event.details)
        begun = StartTask(
            number, state.name, state.resource, request.parameters, token, visit.retry_count
        )
        attempt = Attempt(visit, begun, request.heartbeat_seconds)
        self._write_task(attempt, "Started", {})
        if request.timeout_seconds is not None and request.timeout_seconds < DEFAULT_TASK_SECONDS:
            attempt.timeout_timer = self._set_timer(Purpose.TIMEOUT, request.timeout_seconds, visit)
        self._attempts[number] = visit.attempt = attempt
        self._effects.append(begun)
        return None

    def _succeed_attempt(self, attempt: Attempt, output: Json) -> None:
        try:
            text = self._recorder.text(output)
        except DataTooLarge:
            self._fail_attempt(attempt, _too_large(attempt.request.resource.service))
            return
        visit = attempt.visit
        self._drop(visit, cancel=False)
        self._write_task(attempt, "Succeeded", {"output": text, "outputDetails": NOT_TRUNCATED})
        state = visit.state
        assert isinstance(state, TaskState)  # noqa: S101 - only tasks have attempts
        token = attempt.request.token
        self._work(visit, lambda: core.leave_with(state, self._scope(visit, token=token), output))

    def _fail_attempt(self, attempt: Attempt, failed: Failed) -> None:
        self._drop(attempt.visit, cancel=False)
        self._write_task(attempt, "Failed", error_details(failed.error, failed.cause))
        self._fail(attempt.visit, failed)

    def _lapse(self, attempt: Attempt, error: str, cause: str | None) -> None:
        self._drop(attempt.visit)
        self._write_task(attempt, "TimedOut", error_details(error, cause))
        # A catcher is told of an empty cause, as AWS does; a missing one would be null.
        self._fail(attempt.visit, Failed(error, cause or ""))

    def _await_heartbeat(self, attempt: Attempt) -> None:
        if attempt.heartbeat_seconds is None:
            return
        self._forget_timer(attempt.heartbeat_timer)
        attempt.heartbeat_timer = self._set_timer(
            Purpose.HEARTBEAT, attempt.heartbeat_seconds, attempt.visit
        )

    def _write_task(self, attempt: Attempt, what: str, told: Mapping[str, Any]) -> None:
        event = task_event(attempt.request.resource, what, told)
        branch = attempt.visit.branch
        branch.last_event = self._recorder.write(event.type, branch.last_event, event.details)

    def _drop(self, visit: Visit, *, cancel: bool = True) -> None:
        """Await nothing more for this visit; `cancel` tells whoever performs its task."""
        self._forget_timer(visit.timer)
        visit.timer = None
        attempt, visit.attempt = visit.attempt, None
        if attempt is not None:
            self._forget_timer(attempt.timeout_timer)
            self._forget_timer(attempt.heartbeat_timer)
            del self._attempts[attempt.request.attempt]
            if cancel and not attempt.submitted:
                self._effects.append(CancelTask(attempt.request.attempt))

    def _forget_timer(self, timer: int | None) -> None:
        if timer is not None:
            self._timers.pop(timer, None)

    # --- Parallel and Map ----------------------------------------------------------------------

    def _begin_parallel(self, visit: Visit) -> _Work:
        state, branch = visit.state, visit.branch
        assert isinstance(state, ParallelState)  # noqa: S101 - dispatched by type
        given = core.branch_input(state, self._scope(visit))
        branch.last_event = self._recorder.write("ParallelStateStarted", branch.last_event)
        fan = visit.fan = Fan([given] * len(state.branches), [None] * len(state.branches))
        for index, machine in enumerate(state.branches):
            self._open_branch(
                fan,
                Branch(
                    machine, dict(branch.variables), branch.last_event, visit, index, branch.item
                ),
                given,
            )
        return None

    def _begin_map(self, visit: Visit) -> _Work:
        state, branch = visit.state, visit.branch
        assert isinstance(state, MapState)  # noqa: S101 - dispatched by type
        request = core.request_map(state, self._scope(visit))
        length = len(request.items)
        branch.last_event = self._recorder.write(
            "MapStateStarted", branch.last_event, {"length": length}
        )
        fan = visit.fan = Fan(list(request.items), [None] * length)
        if not length:
            return self._joined(visit)
        for _ in range(min(length, request.max_concurrency or length)):
            self._open_iteration(visit, fan, branch.last_event)
        return None

    def _open_iteration(self, visit: Visit, fan: Fan, previous: int) -> None:
        state, branch = visit.state, visit.branch
        assert isinstance(state, MapState)  # noqa: S101 - only Maps iterate
        index = fan.started
        told = {"Item": {"Index": index, "Value": fan.items[index]}}
        given = core.item_input(state, self._scope(visit, item=told), fan.items[index])
        started = self._write_iteration(visit, "Started", index, previous)
        inner = Branch(state.processor, dict(branch.variables), started, visit, index, told)
        self._open_branch(fan, inner, given)

    def _open_branch(self, fan: Fan, branch: Branch, given: Json) -> None:
        fan.open[branch.index] = branch
        fan.started += 1
        self._later_enter(branch, branch.machine.start_at, given)

    def _join(self, visit: Visit, branch: Branch, output: Json) -> None:
        """A branch ended well: start what stood behind it, or leave when it was the last."""
        fan = visit.fan
        assert fan is not None  # noqa: S101 - it has branches
        del fan.open[branch.index]
        fan.results[branch.index] = output
        fan.done += 1
        last = branch.last_event
        if visit.kind == "Map":
            done = self._write_iteration(visit, "Succeeded", branch.index, last)
            if fan.started < len(fan.items):
                self._work(visit, lambda: self._open_iteration(visit, fan, last))
                return
            last = done
        if fan.done == len(fan.results):
            visit.branch.last_event = last
            self._work(visit, lambda: self._joined(visit))

    def _joined(self, visit: Visit) -> Exit:
        fan, visit.fan = visit.fan, None
        state = visit.state
        assert fan is not None  # noqa: S101 - its branches have ended
        assert isinstance(state, ParallelState | MapState)  # noqa: S101 - likewise
        # What follows is linked to the last branch, beside this event and not behind it.
        self._recorder.write(f"{visit.kind}StateSucceeded", visit.branch.last_event)
        return core.leave_with(state, self._scope(visit), fan.results)

    def _write_iteration(self, visit: Visit, what: str, index: int, previous: int) -> int:
        told = {"name": visit.state.name, "index": index}
        return self._recorder.write(f"MapIteration{what}", previous, told)

    # --- what a visit sees ---------------------------------------------------------------------

    def _scope(
        self,
        visit: Visit,
        *,
        token: str | None = None,
        item: Mapping[str, Json] | None = None,
    ) -> Scope:
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
        return Scope(visit.input, visit.branch.variables, context, seed)

    # --- the end -------------------------------------------------------------------------------

    def _close_failed(self, failed: Failed, previous: int) -> None:
        details = error_details(failed.error, failed.cause)
        self._recorder.write("ExecutionFailed", previous, details)
        closing = Closing(ExecutionStatus.FAILED, None, failed.error, failed.cause or None)
        self._close(closing)

    def _close(self, closing: Closing) -> None:
        self.closing = closing
        running = [a.request.attempt for a in self._attempts.values() if not a.submitted]
        self._effects = [CancelTask(attempt) for attempt in running]
        self._attempts.clear()
        self._timers.clear()
        self._ready.clear()


_HISTORY_FULL: Final = Failed(
    RUNTIME, f"The execution reached the maximum number of history events ({EVENT_LIMIT})."
)


def _too_large(who: str) -> Failed:
    return Failed(
        DATA_LIMIT_EXCEEDED,
        f"The state/task '{who}' returned a result with a size exceeding the maximum number of "
        "bytes service limit.",
    )


def _leave_simply(execution: Execution, visit: Visit) -> _Work:
    return core.leave_simply(visit.state, execution._scope(visit))  # noqa: SLF001


def _begin_fail(execution: Execution, visit: Visit) -> _Work:
    state = visit.state
    assert isinstance(state, FailState)  # noqa: S101 - dispatched by type
    return core.failure_of(state, execution._scope(visit))  # noqa: SLF001


_BEGINNINGS: Final[Mapping[type, Callable[[Execution, Visit], _Work]]] = {
    PassState: _leave_simply,
    SucceedState: _leave_simply,
    ChoiceState: _leave_simply,
    FailState: _begin_fail,
    WaitState: Execution._begin_wait,  # noqa: SLF001 - the table of the class above
    TaskState: Execution._begin_task,  # noqa: SLF001
    ParallelState: Execution._begin_parallel,  # noqa: SLF001
    MapState: Execution._begin_map,  # noqa: SLF001
}

_HANDLERS: Final[Mapping[type, Callable[[Execution, Any], None]]] = {
    Started: Execution._start,  # noqa: SLF001
    Stopped: Execution._stop,  # noqa: SLF001
    Abandoned: Execution._abandon,  # noqa: SLF001
    TaskReturned: Execution._task_returned,  # noqa: SLF001
    TaskErred: Execution._task_erred,  # noqa: SLF001
    TaskLapsed: Execution._task_lapsed,  # noqa: SLF001
    CallbackSucceeded: Execution._callback_succeeded,  # noqa: SLF001
    CallbackFailed: Execution._task_erred,  # noqa: SLF001
    Heartbeat: Execution._heartbeat,  # noqa: SLF001
    TimerFired: Execution._timer_fired,  # noqa: SLF001
}
