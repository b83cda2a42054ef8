"""Random machines of nested Parallels and Maps, redriven until they succeed, through crashes."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count, pairwise
from typing import Any

import pytest

from atelier.contracts.clock import ManualClock
from workflows.engine.engine import (
    Engine,
    MemoryHistoryStore,
    Report,
    TaskCall,
    TaskFailure,
    TaskSuccess,
)

ONE_RETRY = [{"ErrorEquals": ["States.ALL"], "MaxAttempts": 1, "IntervalSeconds": 1}]


def random_machine(rng: random.Random, depth: int, numbers: count[int]) -> dict[str, Any]:
    """Return one to three states in a row; each keeps what it brings under its own name."""
    names = [f"S{next(numbers)}" for _ in range(rng.randint(1, 3))]
    states = {name: random_state(name, rng, depth, numbers) for name in names}
    for name, following in pairwise(names):
        states[name]["Next"] = following
    states[names[-1]]["End"] = True
    return {"StartAt": names[0], "States": states}


def random_state(name: str, rng: random.Random, depth: int, numbers: count[int]) -> dict[str, Any]:
    kind = rng.choice(["Parallel", "Map", "Task", "Task", "Wait"] if depth else ["Task", "Wait"])
    if kind == "Wait":
        return {"Type": "Wait", "Seconds": rng.choice([1, 3])}
    state: dict[str, Any] = {"Type": kind, "ResultPath": f"$.{name}"}
    if rng.random() < 0.25:
        state["Retry"] = ONE_RETRY
    if kind == "Parallel":
        branches = range(rng.randint(1, 3))
        return state | {"Branches": [random_machine(rng, depth - 1, numbers) for _ in branches]}
    if kind == "Map":
        return state | {
            "ItemsPath": "$.items",
            "ItemSelector": {"items.$": "$.items", "number.$": "$$.Map.Item.Index"},
            "ItemProcessor": random_machine(rng, depth - 1, numbers),
            "MaxConcurrency": rng.choice([0, 1, 2]),
        }
    return state | {
        "Resource": "arn:aws:states:::lambda:invoke",
        "Parameters": {"FunctionName": name, "Payload.$": "$"},
        "ResultSelector": {"told.$": "$.Payload"},
    }


@dataclass
class Unreliable:
    """Functions that answer with what they were given, or fail now and then."""

    rng: random.Random
    failures: float

    def start(self, call: TaskCall, report: Report) -> None:
        fails = self.rng.random() < self.failures
        told = {"function": call.function, "given": sorted(call.payload)}
        report(TaskFailure("Down", "the network is away") if fails else TaskSuccess(told))

    def cancel(self, call_id: str) -> None:
        """Do nothing: every call is over at once."""


@dataclass
class Life:
    """An execution that is redriven whenever it fails, by processes that die now and then."""

    definition: Mapping[str, Any]
    tasks: Unreliable
    deaths: float

    def __post_init__(self) -> None:
        self.store, self.clock = MemoryHistoryStore(), ManualClock(datetime(2026, 5, 5, tzinfo=UTC))
        self.begin()

    def begin(self) -> None:
        self.engine = Engine(store=self.store, tasks=self.tasks, clock=self.clock)
        self.engine.register("machine", self.definition)
        assert not self.engine.recover().abandoned

    def output(self, items: int) -> str | None:
        """Return what it brings in the end."""
        given = {"items": list(range(items))}
        arn = self.engine.start_execution("machine", name="one", input=given).arn
        while (record := self.engine.describe_execution(arn)).status != "SUCCEEDED":
            if record.status == "FAILED":
                assert record.error == "Down"
                self.engine.redrive_execution(arn)
            if self.tasks.rng.random() < self.deaths:
                self.begin()
            self.engine.run_for(1)
        return record.output


@pytest.mark.parametrize("seed", range(60))
def test_what_is_redriven_until_it_succeeds_brings_what_an_undisturbed_run_brings(seed):
    machine = random_machine(random.Random(seed), 2, count())
    smooth = Life(machine, Unreliable(random.Random(seed), 0.0), deaths=0.0)
    rough = Life(machine, Unreliable(random.Random(seed), 0.3), deaths=0.2)
    assert rough.output(1 + seed % 3) == smooth.output(1 + seed % 3)
