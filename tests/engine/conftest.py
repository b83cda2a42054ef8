from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.engine.world import World
from workflows.engine.engine import MemoryHistoryStore, SqliteHistoryStore

REPOSITORY = Path(__file__).parents[2]


def recorded_cases() -> list[dict]:
    """Return the cases recorded on AWS, from a `conformance` folder beside the checkout, if any."""
    files = sorted(REPOSITORY.parent.glob("*/conformance/cases.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]


def pytest_report_header() -> str:
    cases = len(recorded_cases())
    if cases:
        return f"engine: {cases} cases recorded on AWS are compared"
    return "engine: no */conformance/cases.jsonl beside the checkout; nothing recorded is compared"


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    if request.param == "memory":
        yield MemoryHistoryStore()
    else:
        durable = SqliteHistoryStore(tmp_path / "executions.sqlite3")
        yield durable
        durable.close()
