"""Task states inside an execution: their attempts, from being scheduled to an outcome.

Every attempt has a number, the id of its Scheduled event, and a token of its own. Whatever comes
for an attempt that has its outcome changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from workflows.engine import visit as core
from workflows.engine.branches import Attempt, Visit
from workflows.engine.definition import Pattern, TaskState
from workflows.engine.happenings import CancelTask, Purpose, StartTask
from workflows.engine.history import NOT_TRUNCATED, error_details
from workflows.engine.jsontext import Json
from workflows.engine.recorder import DataTooLarge
from workflows.engine.taskevents import scheduled_event, task_event
from workflows.engine.tokens import issue_token
from workflows.engine.visit import Failed, too_large

if TYPE_CHECKING:
    from workflows.engine.fold import Fold

ENDLESS_SECONDS: Final = 99_999_999
"""A TimeoutSeconds of this much, which is the default, arms no timer."""


class Attempts:
    """The task attempts of one execution that have no outcome yet."""

    def __init__(self, fold: Fold, token_key: bytes) -> None:
        self._fold = fold
        self._token_key = token_key
        self._open: dict[int, Attempt] = {}

    def __contains__(self, number: int) -> bool:
        return number in self._open

    def unanswered(self) -> tuple[StartTask, ...]:
        """Return the attempts that the called service has not answered."""
        return tuple(each.request for each in self._open.values() if not each.submitted)

    def begin(self, visit: Visit) -> Failed | None:
        """Schedule and start an attempt.

        Raises:
            StateFailure: the task's parameters cannot be worked out.
        """
        fold, state, number = self._fold, visit.state, self._fold.recorder.count + 1
        assert isinstance(state, TaskState)  # noqa: S101 - dispatched by type
        token = issue_token(self._token_key, fold.facts.arn, number)
        request = core.request_task(state, fold.scope(visit, token=token))
        try:
            parameters = fold.recorder.text(request.parameters)
        except DataTooLarge:
            return too_large(state.name)
        event = scheduled_event(state.resource, request, parameters, fold.facts.region)
        fold.write(visit.branch, event.type, event.details)
        begun = StartTask(
            number, state.name, state.resource, request.parameters, token, visit.retry_count
        )
        attempt = Attempt(visit, begun, request.heartbeat_seconds)
        self._tell(attempt, "Started", {})
        if request.timeout_seconds is not None and request.timeout_seconds < ENDLESS_SECONDS:
            due = fold.at + timedelta(seconds=request.timeout_seconds)
            attempt.timeout_timer = fold.timers.arm(Purpose.TIMEOUT, due, visit)
        self._open[number] = visit.attempt = attempt
        fold.effect(begun)
        return None

    def returned(self, number: int, output: Json) -> None:
        """Take the called service's answer: the result, or for a callback the submission."""
        attempt = self._open.get(number)
        if attempt is None or attempt.submitted:
            return
        if attempt.request.resource.pattern is Pattern.REQUEST_RESPONSE:
            self.succeeded(number, output)
            return
        attempt.submitted = True
        try:
            text = self._fold.recorder.text(output)
        except DataTooLarge:
            self._fail(attempt, too_large(attempt.request.resource.service))
            return
        self._tell(attempt, "Submitted", {"output": text, "outputDetails": NOT_TRUNCATED})
        self._await_heartbeat(attempt)

    def succeeded(self, number: int, output: Json) -> None:
        """Take an attempt's result."""
        attempt = self._open.get(number)
        if attempt is None:
            return
        try:
            text = self._fold.recorder.text(output)
        except DataTooLarge:
            self._fail(attempt, too_large(attempt.request.resource.service))
            return
        visit, token = attempt.visit, attempt.request.token
        self.drop(visit, cancel=False)
        self._tell(attempt, "Succeeded", {"output": text, "outputDetails": NOT_TRUNCATED})
        state = visit.state
        assert isinstance(state, TaskState)  # noqa: S101 - only tasks have attempts
        scope = self._fold.scope(visit, token=token)
        self._fold.work(visit, lambda: core.leave_with(state, scope, output))

    def failed(self, number: int, error: str | None, cause: str | None) -> None:
        """Take an attempt's error."""
        attempt = self._open.get(number)
        if attempt is not None:
            self._fail(attempt, Failed(error, cause))

    def lapsed(self, number: int, error: str, cause: str | None = None) -> None:
        """End an attempt that took too long, or was silent for too long."""
        attempt = self._open.get(number)
        if attempt is None:
            return
        self.drop(attempt.visit)
        self._tell(attempt, "TimedOut", error_details(error, cause))
        # A catcher is told of an empty cause, as AWS does; a missing one would be null.
        self._fold.fail(attempt.visit, Failed(error, cause or ""))

    def heard_of(self, number: int) -> None:
        """Take a heartbeat: the silence begins anew."""
        attempt = self._open.get(number)
        if attempt is not None and attempt.submitted:
            self._await_heartbeat(attempt)

    def drop(self, visit: Visit, *, cancel: bool = True) -> None:
        """Await nothing more for this visit; `cancel` tells whoever performs its task."""
        timers = self._fold.timers
        timers.forget(visit.timer)
        visit.timer = None
        attempt, visit.attempt = visit.attempt, None
        if attempt is not None:
            timers.forget(attempt.timeout_timer)
            timers.forget(attempt.heartbeat_timer)
            del self._open[attempt.request.attempt]
            if cancel and not attempt.submitted:
                self._fold.effect(CancelTask(attempt.request.attempt))

    def cancel_all(self) -> None:
        """Await no attempt any more: the execution has ended."""
        for begun in self.unanswered():
            self._fold.effect(CancelTask(begun.attempt))
        self._open.clear()

    def _fail(self, attempt: Attempt, failed: Failed) -> None:
        self.drop(attempt.visit, cancel=False)
        self._tell(attempt, "Failed", error_details(failed.error, failed.cause))
        self._fold.fail(attempt.visit, failed)

    def _await_heartbeat(self, attempt: Attempt) -> None:
        if attempt.heartbeat_seconds is not None:
            timers = self._fold.timers
            timers.forget(attempt.heartbeat_timer)
            due = self._fold.at + timedelta(seconds=attempt.heartbeat_seconds)
            attempt.heartbeat_timer = timers.arm(Purpose.HEARTBEAT, due, attempt.visit)

    def _tell(self, attempt: Attempt, what: str, told: Mapping[str, Any]) -> None:
        event = task_event(attempt.request.resource, what, told)
        self._fold.write(attempt.visit.branch, event.type, event.details)
