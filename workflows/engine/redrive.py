"""Redrive: an execution that did not end well goes on from the states that did not complete.

A state that was entered goes on from its entry: its next event follows its …StateEntered, and its
retries and timeouts begin anew. Parallel and Map keep what their successful branches brought,
unless they failed of States.DataLimitExceeded. Fail is entered again.

Source: https://docs.aws.amazon.com/step-functions/latest/dg/redrive-executions.html
"""

from __future__ import annotations

from workflows.engine.branches import Branch, Fan, Visit
from workflows.engine.definition import FailState
from workflows.engine.fold import Fold, no_retries


def go_on(fold: Fold, count: int) -> None:
    """Take back the end of an execution, for the `count`-th time, and let it go on."""
    fold.reopen(count)
    fold.recorder.write("ExecutionRedriven", fold.recorder.count, {"redriveCount": count})
    fold.arm_timeout()
    _resume(fold, fold.root)


def _resume(fold: Fold, branch: Branch) -> None:
    visit = branch.visit
    if visit is None:
        assert branch.entering is not None  # noqa: S101 - it has not ended
        fold.enter_later(branch, *branch.entering)
        return
    visit.retries, visit.retry_count = no_retries(visit.state), 0
    visit.timer = visit.attempt = None
    fan, visit.broken = visit.fan or visit.broken, None
    branch.last_event = visit.entered_event
    if isinstance(visit.state, FailState):
        branch.visit = None
        fold.enter_later(branch, visit.state.name, visit.input)
    elif fan is None:
        fold.begin_later(visit)
    else:
        _resume_fan(fold, visit, fan)


def _resume_fan(fold: Fold, visit: Visit, fan: Fan) -> None:
    visit.fan = fan
    for branch in tuple(fan.open.values()):
        _resume(fold, branch)
    if fan.done == len(fan.items):
        fold.work(visit, lambda: fold.fans.joined(visit))
    elif visit.kind == "Map":
        fold.work(visit, lambda: fold.fans.open_iterations(visit, fan.begun))
