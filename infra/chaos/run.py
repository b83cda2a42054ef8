"""One chaos run from plan to report."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from atelier.contracts.clock import Clock
from infra.chaos.people import drawn_photos
from infra.chaos.plan import Plan, owners_of_poison
from infra.chaos.report import Report, report_of
from infra.chaos.runner import Ran, Runner
from infra.doctor import examine
from infra.local.evidence import collect, platform_now


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
    say("nothing runs any more; what is left is examined")
    report = judge(plan, ran, folder, clock=clock)
    (folder / "report.json").write_text(json.dumps(report.to_dict(), indent=2) + "\n")
    return report


def judge(plan: Plan, ran: Ran, folder: Path, *, clock: Clock) -> Report:
    """Return the report on a run whose platform is no more, the doctor's findings included."""
    disagreements = list(_disagreements(folder / "home", plan, clock))
    return report_of(plan, ran, folder, disagreements=disagreements)


def _disagreements(home: Path, plan: Plan, clock: Clock) -> Iterator[str]:
    """Yield what the doctor finds in a home where everything has ended: nothing is under way.

    He finds the photos that the plan damaged, too; they are no news.
    """
    damaged = tuple(f"object datasets/{owner}/" for owner in owners_of_poison(plan))
    evidence = collect(home, clock=clock, running=False)
    report = examine(evidence, now=platform_now(home, clock=clock), grace_seconds=0.0)
    for finding in report.findings:
        if not finding.subject.startswith(damaged):
            yield (
                f"doctor, {finding.invariant}, {finding.subject}: found {finding.found}; "
                f"expected {finding.expected}"
            )
