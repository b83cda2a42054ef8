"""What is logged of a task: which one, of which onboarding, how long; never its payload."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from atelier.contracts.errors import LedgerContention, PhotosRejected
from tasks import launch_training
from tasks.logged import run_logged, subject_of
from tests.fakes.world import World

JOB = "atelier-b" + "a" * 20 + "-1"


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture, json_lines: Callable[[str], None]) -> Any:
    """Return a function that gives the lines so far, as JSON."""
    caplog.set_level("INFO")
    json_lines("tasks")
    return lambda: [json.loads(line) for line in caplog.text.splitlines()]


def test_a_task_is_told_with_its_onboarding_and_how_long_it_took(world: World, heard: Any) -> None:
    request = world.registered()
    given = {"request": request, "token": "SECRET-TOKEN"}
    run_logged("LaunchTraining", launch_training.run, given, ports=world.ports)
    [line] = heard()
    assert (line["task"], line["request"]) == ("LaunchTraining", request)
    assert line["message"].startswith("LaunchTraining took")
    assert "SECRET-TOKEN" not in json.dumps(heard())


def test_the_ids_of_a_result_are_told_too(world: World, heard: Any) -> None:
    def task(given: Any, *, ports: Any) -> dict[str, Any]:
        return {"request": "r" + "a" * 26, "job": JOB, "state": "running", "note": "PRIVATE"}

    run_logged("Register", task, {"execution": "r-1"}, ports=world.ports)
    [line] = heard()
    assert (line["job"], line["execution"]) == (JOB, "r-1")
    assert "state running" in line["message"]
    assert "PRIVATE" not in json.dumps(line)


@pytest.mark.parametrize(
    ("error", "level"),
    [(PhotosRejected("PRIVATE"), "WARNING"), (LedgerContention("PRIVATE"), "INFO")],
)
def test_an_error_is_told_by_name_and_leaves_as_it_is(
    world: World, heard: Any, error: Exception, level: str
) -> None:
    def task(given: Any, *, ports: Any) -> dict[str, Any]:
        raise error

    with pytest.raises(type(error)):
        run_logged("Register", task, {}, ports=world.ports)
    [line] = heard()
    assert (line["level"], type(error).__name__ in line["message"]) == (level, True)
    assert "PRIVATE" not in json.dumps(line)


def test_only_ids_are_taken_from_a_payload() -> None:
    given = {"request": "my secret", "job": 3, "execution": "a b", "TrainingJobName": JOB}
    assert subject_of({**given, "job": None}) == {"job": JOB}
