"""kill -9 of a real process that writes to a real file."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

from tests.engine.victim import live

REPOSITORY = Path(__file__).parents[2]


def killed_after_saying(lines: int, path: Path, count: int) -> None:
    """Let the process live until it has said so much, then kill it in the midst of its work."""
    command = [sys.executable, "-m", "tests.engine.victim", str(path), str(count)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(lines):
            assert process.stdout.readline()
        process.kill()


def test_executions_outlive_processes_that_are_killed_again_and_again(tmp_path):
    path, count = tmp_path / "executions.sqlite3", 40
    for lines in (1, 7, 25):
        killed_after_saying(lines, path, count)
    world = live(path, count)
    with closing(world.store):
        records = world.engine.list_executions(max_results=1000).items
        assert sorted(record.name for record in records) == sorted(f"n{n}" for n in range(count))
        assert {record.status for record in records} == {"SUCCEEDED"}
        [shape] = {tuple(world.types(record.arn)) for record in records}
        assert shape.count("TaskSucceeded") == 2
