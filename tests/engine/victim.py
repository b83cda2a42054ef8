"""A process that starts executions on a file and says so, until somebody kills it.

`python -m tests.engine.victim FILE COUNT`
"""

from __future__ import annotations

import sys
from contextlib import closing, suppress
from pathlib import Path

from atelier.contracts.clock import SystemClock
from tests.engine.world import World, task
from workflows.engine.engine import ExecutionAlreadyExists, SqliteHistoryStore

DEFINITION = {
    "StartAt": "First",
    "States": {
        "First": task(Next="Nap"),
        "Nap": {"Type": "Wait", "Seconds": 0, "Next": "Second"},
        "Second": task(),
    },
}


def live(path: Path, count: int) -> World:
    """Recover, then start what is not there yet, one after the other."""
    world = World(SqliteHistoryStore(path), clock=SystemClock())
    world.engine.register("machine", DEFINITION)
    world.engine.recover()
    for number in range(count):
        with suppress(ExecutionAlreadyExists):
            world.engine.start_execution("machine", name=f"n{number}", input={"n": number})
        print(number, flush=True)  # noqa: T201 - how it is heard
        world.engine.run_due()
    return world


if __name__ == "__main__":
    with closing(live(Path(sys.argv[1]), int(sys.argv[2])).store):
        pass
