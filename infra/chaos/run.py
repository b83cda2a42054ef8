"""One chaos run from plan to report."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from atelier.contracts.clock import Clock
from infra.chaos.people import drawn_photos
from infra.chaos.plan import Plan
from infra.chaos.report import Report, report_of
from infra.chaos.runner import Runner


def run_plan(
    plan: Plan,
    folder: Path,
    *,
    clock: Clock,
    say: Callable[[str], None] = lambda _: None,
    photos: Callable[[str], Sequence[bytes]] = drawn_photos,
) -> Report:
    """Run a plan in a folder, examine what is left, and write `report.json` beside it."""
    ran = Runner(plan, folder, clock=clock, say=say, photos=photos).run()
    report = report_of(plan, ran, folder)
    (folder / "report.json").write_text(json.dumps(report.to_dict(), indent=2) + "\n")
    return report
