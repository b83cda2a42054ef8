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
from infra.doctor import examine, findings
from infra.doctor.findings import Verdict
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
    began = clock.monotonic_seconds()

    def tell(sentence: str) -> None:
        say(f"{clock.monotonic_seconds() - began:5.0f} s  {sentence}")

    ran = Runner(plan, folder, clock=clock, say=tell, photos=photos).run()
    tell("nothing runs any more; the doctor examines what is left")
    report = judge(plan, ran, folder, clock=clock)
    (folder / "report.json").write_text(json.dumps(report.to_dict(), indent=2) + "\n")
    return report


def judge(plan: Plan, ran: Ran, folder: Path, *, clock: Clock) -> Report:
    """Return the report on a run whose platform is no more, the doctor's findings included."""
    found = _examined(folder / "home", clock)
    return report_of(
        plan,
        ran,
        folder,
        disagreements=list(_disagreements(found, plan)),
        invariants=sum(one.verdict is not Verdict.NOT_LOOKED_AT for one in found.invariants),
    )


def _examined(home: Path, clock: Clock) -> findings.Report:
    """Return what the doctor says of a home where everything has ended: nothing is under way."""
    evidence = collect(home, clock=clock, running=False)
    return examine(evidence, now=platform_now(home, clock=clock), grace_seconds=0.0)


def _disagreements(found: findings.Report, plan: Plan) -> Iterator[str]:
    """Yield what the doctor found, but for the photos that the plan damaged: they are no news."""
    damaged = tuple(f"object datasets/{owner}/" for owner in owners_of_poison(plan))
    for finding in found.findings:
        if not finding.subject.startswith(damaged):
            yield (
                f"doctor, {finding.invariant}, {finding.subject}: found {finding.found}; "
                f"expected {finding.expected}"
            )
