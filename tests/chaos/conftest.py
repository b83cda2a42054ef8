"""What tests of faults stand on: points with chosen faults, and a journal to read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from atelier.contracts.clock import ManualClock
from infra.chaos.faulty import ChaosFaults, JumpingClock
from infra.chaos.plan import Fault
from infra.chaos.points import Journal, Points


@dataclass
class Chaos:
    """The faults of one life, and what was written down of them."""

    faults: ChaosFaults
    points: Points
    clock: ManualClock
    wall: JumpingClock
    path: Path

    def journal(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def kinds(self) -> list[str]:
        return [line["kind"] for line in self.journal()]


@pytest.fixture
def chaos_of(tmp_path: Path) -> Callable[..., Chaos]:
    """Return a maker of chaos with chosen faults."""

    def make(*faults: Fault, poisoned: frozenset[str] = frozenset()) -> Chaos:
        clock, path = ManualClock(), tmp_path / "faults.jsonl"
        points = Points(faults, life=1, journal=Journal(path, clock=clock), clock=clock)
        wall = JumpingClock(clock)
        return Chaos(ChaosFaults(points, poisoned=poisoned, clock=wall), points, clock, wall, path)

    return make
