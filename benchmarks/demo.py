"""Measure the demo: `python -m benchmarks.demo` writes benchmarks/results/demo.json.

Time is that of the whole journey after installation: platform start, onboarding, drawing. Quality
is measured by the judge of `examples/tiny` (a classifier of drawn attributes that neither trains
nor serves) over every place that no instance image shows and several seeds:

- `retrieval_accuracy`: the generated image is nearest to the mascot among it and 20 subjects that
  no training saw;
- `prompt_following`: the image shows the place that the prompt asks for;
- `copies`: images that are near-duplicates of an instance image; a number, not a share.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any

from app.cli.client import Client
from atelier.contracts.clock import SystemClock, to_iso
from benchmarks.machine import commit, machine
from benchmarks.measured import run
from examples.demo.journey import MASCOT, SHEET_PLACES, Studio, instance_images
from examples.demo.platform import local_platform
from examples.demo.verdict import judge
from examples.tiny.scenes import NEW_PLACES
from workflows.engine.engine import SqliteHistoryStore

SEEDS_PER_PLACE = 6


def measure(home: Path) -> dict[str, Any]:
    """Run the journey in `home` and return its figures."""
    clock = SystemClock()
    started = clock.monotonic_seconds()
    with local_platform(home, clock=clock) as platform:
        platform_seconds = clock.monotonic_seconds() - started
        with Client(platform.url, platform.key, clock=clock) as client:
            studio = Studio(client, clock)
            onboarding = studio.onboard(MASCOT, on_change=lambda _: None)
            onboarded_seconds = clock.monotonic_seconds() - started
            studio.rows(SHEET_PLACES)
            total_seconds = clock.monotonic_seconds() - started
            drawn = {
                place: [
                    image
                    for first in range(0, SEEDS_PER_PLACE, 3)
                    for image in studio.draw(place, seed=1000 + first, count=3, scale=1.0)
                ]
                for place in NEW_PLACES
            }
        by_state = seconds_by_state(home / "executions.sqlite3", onboarding["execution"])
    verdict = judge(drawn, instance_images())
    return {
        "benchmark": "demo",
        "total_seconds": round(total_seconds, 1),
        "platform_start_seconds": round(platform_seconds, 1),
        "onboarding_seconds": round(onboarded_seconds - platform_seconds, 1),
        "drawing_seconds": round(total_seconds - onboarded_seconds, 1),
        "seconds_by_state": by_state,
        "images_judged": verdict.images,
        "retrieval_among": verdict.subjects,
        "retrieval_accuracy": round(verdict.retrieval, 3),
        "prompt_following": round(verdict.prompt_following, 3),
        "copies": verdict.copies,
        "machine": machine(),
        "commit": commit(),
        "measured_at": to_iso(clock.now()),
    }


def seconds_by_state(executions: Path, name: str) -> dict[str, float]:
    """Return how long an onboarding's execution was in each state, from its history."""
    store = SqliteHistoryStore(executions)
    try:
        found = next(
            r for r in store.executions(None, status=None, skip=0, limit=1000) if r.name == name
        )
        events = [event for step in store.journal(found.arn) for event in step.events]
    finally:
        store.close()
    spent: dict[str, float] = defaultdict(float)
    entered: dict[str, datetime] = {}
    for event in events:
        state = str((event.details or {}).get("name", ""))
        if event.type.endswith("StateEntered"):
            entered[state] = event.timestamp
        elif event.type.endswith("StateExited"):
            spent[state] += (event.timestamp - entered.pop(state)).total_seconds()
    return {state: round(seconds, 2) for state, seconds in spent.items()}


if __name__ == "__main__":
    sys.exit(run("demo", measure))
