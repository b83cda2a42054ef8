"""`atelier chaos`: a fleet of onboardings under a reproducible history of faults; the report."""

from __future__ import annotations

import shutil
import tempfile
import zlib
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from app.cli.commands import Desk
from app.cli.exits import CommandFailed, Exit
from app.cli.progress import counted
from infra.chaos.people import PHOTOS, drawn_photos
from infra.chaos.plan import Plan, Program, plan_of
from infra.chaos.report import Report
from infra.chaos.run import run_plan
from infra.local.platform import REPOSITORY

MASCOT = REPOSITORY / "examples" / "mascot"


def chaos(given: Namespace, desk: Desk) -> Exit:
    """Run the plan of a seed and say which invariants held."""
    plan = plan_of(given.seed, given.onboardings, Program(given.program))
    folder = _folder(given.home)
    desk.console.say(*_planned(plan, folder))
    try:
        report = run_plan(
            plan,
            folder,
            clock=desk.clock,
            say=lambda line: desk.console.say(f"  {line}"),
            photos=photos_of(plan.program),
        )
    except BaseException:
        desk.console.say(f"It did not come to its end; what is left lies in {folder}.")
        raise
    kept = given.keep or given.home is not None or not report.holds
    if not kept:
        shutil.rmtree(folder)
    desk.console.document({**report.to_dict(), "folder": str(folder) if kept else None})
    desk.console.say("", *_told(report))
    if kept:
        desk.console.say(f"What is left lies in {folder}.")
    return ending(report)


def ending(report: Report) -> Exit:
    """Return how the command ends: done only if every invariant held."""
    return Exit.DONE if report.holds else Exit.DISAGREES


def photos_of(program: Program) -> Callable[[str], Sequence[bytes]]:
    """Return the good photos of a person, always the same: the mascot's where they are trained."""
    if program is Program.NOTHING:
        return drawn_photos
    mascot = [path.read_bytes() for path in sorted(MASCOT.glob("*.png"))]

    def chosen(person: str) -> Sequence[bytes]:
        first = zlib.crc32(person.encode())
        return [mascot[(first + n) % len(mascot)] for n in range(PHOTOS)]

    return chosen


def _lives(number: int) -> str:
    return "1 life" if number == 1 else f"{number} lives"


def _folder(given: Path | None) -> Path:
    if given is None:
        return Path(tempfile.mkdtemp(prefix="atelier-chaos-"))
    if given.exists() and any(given.iterdir()):
        raise CommandFailed(
            Exit.REFUSED,
            f"{given} is not empty",
            do="Name a folder that is not there yet; a run begins with nothing.",
            error="FolderNotEmpty",
        )
    return given.absolute()


def _planned(plan: Plan, folder: Path) -> Iterator[str]:
    faults = sum(plan.planned().values())
    yield (
        f"Seed {plan.seed}: {counted(plan.onboardings, 'onboarding')} with the program "
        f"{plan.program}, {_lives(len(plan.lives))} of a platform, "
        f"{counted(faults, 'fault')} planned."
    )
    yield f"Plan {plan.digest}, the same for everybody with this seed; it runs in {folder}."


def _told(report: Report) -> Iterator[str]:
    yield f"It took {report.seconds:.0f} s and {_lives(report.lives)}. Injected:"
    for kind, count in report.faults.items():
        yield f"  {count:>5}  {kind}"
    yield "Left:"
    for name in ("lost", "doubled", "outcomes_missing", "leaks"):
        yield f"  {getattr(report, name):>5}  {name.replace('_', ' ')}"
    yield f"  {report.drawn:>5}  models drawn with, each for its own owner"
    if report.eta_within_20 is not None:
        share = f"{report.eta_within_20:.0%}"
        yield f"  {share:>5}  of the ends expected at half-time were within 20 %"
    yield from (f"  - {finding}" for finding in report.findings)
    yield (
        "Every invariant held."
        if report.holds
        else (f"{counted(len(report.findings), 'finding')}: an invariant is broken.")
    )
