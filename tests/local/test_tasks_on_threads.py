"""Tasks on the platform's threads: how their outcomes are told, and how they end with it."""

from __future__ import annotations

import json
import threading

import pytest

from atelier.contracts.clock import SystemClock
from atelier.contracts.errors import PhotosRejected
from infra.local.executions import TaskThreads
from infra.local.platform import StoppableClock
from workflows.engine.engine import TaskCall, TaskFailure, TaskRunnerClosed, TaskSuccess

CALL = TaskCall("call-1", "Task", {}, "arn:execution", "State", 0, None)


def outcome_of(task):
    told = []
    threads = TaskThreads({"Task": task})
    threads.start(CALL, told.append)
    threads.close()
    [outcome] = told
    return outcome


def test_what_a_task_returns_is_told():
    assert outcome_of(lambda _: {"more": False}) == TaskSuccess({"more": False})


def test_an_error_of_the_tree_leaves_under_its_name_with_what_to_do():
    def refuse(_):
        raise PhotosRejected("2 of 4 photos", accepted=2)

    outcome = outcome_of(refuse)

    assert isinstance(outcome, TaskFailure)
    assert outcome.error == "PhotosRejected"
    assert json.loads(outcome.cause)["do"] == PhotosRejected.do


def test_any_other_error_leaves_under_its_own_name():
    def stumble(_):
        raise LookupError("nothing there")

    assert outcome_of(stumble).error == "LookupError"


def test_a_task_that_sleeps_when_the_platform_stops_ends_at_once_and_tells_nothing():
    stopping, asleep, told = threading.Event(), threading.Event(), []
    clock = StoppableClock(SystemClock(), stopping)

    def sleep(_):
        asleep.set()
        while True:
            clock.sleep(3600)

    threads = TaskThreads({"Task": sleep})
    threads.start(CALL, told.append)
    assert asleep.wait(30)
    stopping.set()
    threads.close()

    assert told == []


def test_threads_that_were_closed_take_no_task():
    threads = TaskThreads({"Task": dict})
    threads.close()
    with pytest.raises(TaskRunnerClosed):
        threads.start(CALL, lambda _: None)
