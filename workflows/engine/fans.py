"""Parallel and Map states inside an execution: branches that open, join, fail and are aborted.

How their events are linked follows recorded histories: an iteration's first event follows the
Map's Started event or, behind a full concurrency, the last event of the iteration before it; what
follows a failure points at the event that failed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workflows.engine import visit as core
from workflows.engine.branches import Branch, Fan, Visit
from workflows.engine.definition import MapState, ParallelState
from workflows.engine.jsontext import Json
from workflows.engine.visit import Exit, Failed, too_large

if TYPE_CHECKING:
    from workflows.engine.fold import Fold


class Fans:
    """The Parallel and Map states of one execution."""

    def __init__(self, fold: Fold) -> None:
        self._fold = fold

    def is_gone(self, branch: Branch) -> bool:
        """Say whether a branch was aborted."""
        if branch.parent is None:
            return False
        fan = branch.parent.fan
        return fan is None or fan.open.get(branch.index) is not branch

    def begin_parallel(self, visit: Visit) -> None:
        """Open every branch of a Parallel.

        Raises:
            StateFailure: its Parameters cannot be worked out.
        """
        fold, state, outer = self._fold, visit.state, visit.branch
        assert isinstance(state, ParallelState)  # noqa: S101 - dispatched by type
        given = core.branch_input(state, fold.scope(visit))
        started = fold.write(outer, "ParallelStateStarted")
        count = len(state.branches)
        visit.fan, visit.broken = Fan([given] * count, [None] * count, started, count), None
        for index, machine in enumerate(state.branches):
            variables = dict(outer.variables)
            branch = Branch(machine, variables, started, visit, index, outer.item)
            self._open(visit.fan, branch, given)

    def begin_map(self, visit: Visit) -> Exit | None:
        """Open the first iterations of a Map; one without items is over at once.

        Raises:
            StateFailure: its items or an iteration's input cannot be worked out.
        """
        fold, state = self._fold, visit.state
        assert isinstance(state, MapState)  # noqa: S101 - dispatched by type
        request = core.request_map(state, fold.scope(visit))
        length = len(request.items)
        started = fold.write(visit.branch, "MapStateStarted", {"length": length})
        at_once = request.max_concurrency or length
        visit.fan, visit.broken = Fan(list(request.items), [None] * length, started, at_once), None
        if not length:
            return self.joined(visit)
        self.open_iterations(visit, started)
        return None

    def open_iterations(self, visit: Visit, previous: int) -> None:
        """Open as many iterations of a Map as may be under way.

        Raises:
            StateFailure: an iteration's input cannot be worked out.
        """
        fan = visit.fan
        assert fan is not None  # noqa: S101 - it is running
        while fan.started < len(fan.items) and len(fan.open) < fan.at_once:
            self._open_iteration(visit, fan, previous)

    def join(self, visit: Visit, branch: Branch, output: Json) -> None:
        """A branch ended well: open what stood behind it, or leave when it was the last."""
        fan = visit.fan
        assert fan is not None  # noqa: S101 - it has branches
        del fan.open[branch.index]
        fan.results[branch.index] = output
        fan.done += 1
        last = branch.last_event
        if visit.kind == "Map":
            succeeded = self._write_iteration(visit, "Succeeded", branch.index, last)
            if fan.started < len(fan.items):
                self._fold.work(visit, lambda: self.open_iterations(visit, last))
                return
            last = succeeded
        if fan.done == len(fan.results):
            visit.branch.last_event = last
            self._fold.work(visit, lambda: self.joined(visit))

    def joined(self, visit: Visit) -> Exit:
        """Leave with what the branches brought.

        Raises:
            StateFailure: the way out cannot be worked out.
        """
        fan, state = visit.fan, visit.state
        assert fan is not None  # noqa: S101 - its branches have ended
        assert isinstance(state, ParallelState | MapState)  # noqa: S101 - likewise
        visit.fan, visit.broken = None, fan
        # What follows is linked to the last branch, beside this event and not behind it.
        self._fold.recorder.write(f"{visit.kind}StateSucceeded", visit.branch.last_event)
        return core.leave_with(state, self._fold.scope(visit), fan.results)

    def fail(self, visit: Visit, failing: Branch, failed: Failed) -> None:
        """A branch failed: its siblings are aborted, and the failure is the visit's own."""
        fan, reason = visit.fan, failing.last_event
        assert fan is not None  # noqa: S101 - it has branches
        if visit.kind == "Map":
            self._write_iteration(visit, "Failed", failing.index, reason)
        if failing.visit is not None and failing.visit.kind == "Task":
            self._fold.recorder.write("TaskStateAborted", reason)
        self.abort(visit, reason, failing)
        visit.branch.last_event = reason
        self._fold.fail(visit, failed)

    def refuse_input(self, branch: Branch) -> None:
        """A branch's input is too large: it fails before its first state."""
        assert branch.parent is not None  # noqa: S101 - any other input was an output before
        self.fail(branch.parent, branch, too_large(branch.parent.state.name))

    def abort(self, visit: Visit, reason: int, failing: Branch | None = None) -> None:
        """Abort whatever branches a visit has open, and theirs; one of them may have failed."""
        fan, visit.fan = visit.fan, None
        if fan is None:
            return
        visit.broken = fan
        for index, branch in fan.open.items():
            if branch is failing:
                continue
            if visit.kind == "Map":
                self._write_iteration(visit, "Aborted", index, reason)
            inner = branch.visit
            if inner is not None:
                self._fold.recorder.write(f"{inner.kind}StateAborted", reason)
                self._fold.attempts.drop(inner)
                self.abort(inner, reason)

    def _open(self, fan: Fan, branch: Branch, given: Json) -> None:
        fan.open[branch.index] = branch
        fan.started += 1
        self._fold.enter_later(branch, branch.machine.start_at, given)

    def _open_iteration(self, visit: Visit, fan: Fan, previous: int) -> None:
        state, outer, index = visit.state, visit.branch, fan.started
        assert isinstance(state, MapState)  # noqa: S101 - only Maps iterate
        told = {"Item": {"Index": index, "Value": fan.items[index]}}
        given = core.item_input(state, self._fold.scope(visit, item=told), fan.items[index])
        started = self._write_iteration(visit, "Started", index, previous)
        variables = dict(outer.variables)
        self._open(fan, Branch(state.processor, variables, started, visit, index, told), given)

    def _write_iteration(self, visit: Visit, what: str, index: int, previous: int) -> int:
        told = {"name": visit.state.name, "index": index}
        return self._fold.recorder.write(f"MapIteration{what}", previous, told)
