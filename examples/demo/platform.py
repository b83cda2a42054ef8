"""A local platform of the demo's own, as a process: started, found, stopped, never left behind."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from atelier.contracts.clock import Clock
from infra.local.programs import Program, RunningProgram, start

START_SECONDS = 60.0
STOP_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class RunningPlatform:
    """Where a platform answers, and with which key."""

    url: str
    key: str
    home: Path


@contextmanager
def local_platform(home: Path, *, clock: Clock) -> Iterator[RunningPlatform]:
    """Run the platform in `home` on a free port until the block ends.

    Raises:
        RuntimeError: it did not come up; the message names its log.
    """
    home.mkdir(parents=True, exist_ok=True)
    log = home / "platform.out"
    program = Program(
        command=(sys.executable, "-m", "app.local", "--home", str(home), "--port", "0"),
        working_directory=Path.cwd(),
        environment={"PATH": os.defpath},
    )
    running = start(program, log=log, environment={})
    try:
        yield _wait(running, home, log, clock)
    finally:
        running.terminate()
        deadline = clock.monotonic_seconds() + STOP_SECONDS
        while running.exit_code is None and clock.monotonic_seconds() < deadline:
            clock.sleep(0.05)
        running.kill()


def _wait(running: RunningProgram, home: Path, log: Path, clock: Clock) -> RunningPlatform:
    found = home / "platform.json"
    deadline = clock.monotonic_seconds() + START_SECONDS
    while not found.exists():
        if running.exit_code is not None or clock.monotonic_seconds() > deadline:
            raise RuntimeError(
                f"the platform did not start; {log} and {home / 'platform.log'} say why:\n"
                + log.read_text()[-2000:]
            )
        clock.sleep(0.05)
    facts = json.loads(found.read_text())
    return RunningPlatform(facts["api_url"], facts["key"], home)
