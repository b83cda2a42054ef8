"""`atelier chaos`: a fleet of onboardings under a reproducible history of faults; the report."""

from __future__ import annotations

import shutil
import tempfile
import zlib
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from shlex import quote

from app.cli.commands import Desk
from app.cli.exits import CommandFailed, Exit
from app.cli.progress import counted
from infra.chaos.people import PHOTOS, drawn_photos
from infra.chaos.plan import Kind, Plan, Program, plan_of
from infra.chaos.report import Report
from infra.chaos.run import run_plan
from infra.local.platform import REPOSITORY

MASCOT = REPOSITORY / "examples" / "mascot"

TRAINS = {Program.REAL: "really trained", Program.NOTHING: "trained by a program that does nothing"}

LEFT = {
    "lost": "lost: never ended, or nobody knows them any more",
    "doubled": "doubled: requests, versions, notifications or finished trainings there twice",
    "outcomes_missing": "ended otherwise than they had to",
    "leaks": "leaks: open batches, unended executions, hidden files, processes",
}
"""Figures of the report that must be 0, in words."""


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
    except KeyboardInterrupt as interrupt:
        raise CommandFailed(
            Exit.INTERRUPTED,
            "interrupted: the run's platform was ended with it, and nothing was judged",
            do=f"Remove {folder}, which has what is left. {_run_again(plan)}",
            error="Interrupted",
        ) from interrupt
    except BaseException:
        desk.console.say(f"It did not come to its end; what is left lies in {folder}.")
        raise
    kept = given.keep or given.home is not None or not report.holds
    if not kept:
        shutil.rmtree(folder)
    desk.console.document({**report.to_dict(), "folder": str(folder) if kept else None})
    desk.console.say("", *told_of(report))
    if kept:
        home = quote(str(folder / "home"))
        desk.console.say(
            f"What is left lies in {folder}:",
            "  faults.jsonl has every fault in order, lives.log what the platform said.",
            f"Examine it: atelier doctor --home {home}",
        )
        if report.acts.get(Kind.POISONOUS):
            desk.console.say("  He also finds the photos that the plan damaged: so they are meant.")
    desk.console.say(_run_again(plan))
    return ending(report)


def ending(report: Report) -> Exit:
    """Return how the command ends: done only if every invariant held."""
    return Exit.DONE if report.holds else Exit.DISAGREES


def told_of(report: Report) -> Iterator[str]:
    """Yield the report in words."""
    yield f"It took {report.seconds:.0f} s and {_lives(report.lives)} of the platform."
    yield ""
    yield from _faults(report)
    yield ""
    yield from _outcomes(report)
    yield from _expected_ends(report)
    yield ""
    for name, words in LEFT.items():
        yield f"{getattr(report, name):>5}  {words}"
    yield f"{report.drawn:>5}  models drawn with, each for its own owner"
    yield from (f"  - {finding}" for finding in report.findings)
    yield ""
    if report.holds:
        yield "Every invariant held: nothing was lost, doubled or left behind, and the doctor found"
        yield f"nothing wrong in {counted(report.invariants, 'invariant')} of what is left."
    else:
        yield f"{counted(len(report.findings), 'finding')}: an invariant is broken."


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


def _run_again(plan: Plan) -> str:
    return (
        f"The same again: atelier chaos --seed {plan.seed} --onboardings {plan.onboardings} "
        f"--program {plan.program}"
    )


def _planned(plan: Plan, folder: Path) -> Iterator[str]:
    ends = sum(life.end is not None for life in plan.lives)
    faults = sum(plan.planned().values()) - ends
    yield (
        f"{counted(plan.onboardings, 'onboarding')}, {TRAINS[plan.program]}, by a platform that is "
        f"killed or stopped {counted(ends, 'time')}"
    )
    yield (
        f"and hit by {counted(faults, 'other fault')}. Each must end once, as it has to, with "
        "nothing lost and nothing left behind."
    )
    yield f"Seed {plan.seed} is plan {plan.digest} everywhere. It runs in {folder}."


def _faults(report: Report) -> Iterator[str]:
    yield f"{'faults':<28}  planned  came to pass  calls hit"
    for kind in sorted({*report.planned, *report.faults}):
        planned, reached = report.planned.get(kind, 0), report.reached.get(kind, 0)
        yield f"  {kind:<26}  {planned:>7}  {reached:>12}  {report.faults.get(kind, 0):>9}"
    planned = sum(report.planned.values())
    yield (
        f"  {planned - sum(report.reached.values())} of {planned} planned were not reached: the "
        "call that they wait for did not come in their life."
    )


def _outcomes(report: Report) -> Iterator[str]:
    ended = ", ".join(f"{count} {outcome}" for outcome, count in report.outcomes.items())
    as_they_had_to = report.onboardings - report.outcomes_missing
    yield f"Outcomes: {ended}; {as_they_had_to} of {report.onboardings} as they had to."
    acts = ", ".join(f"{count} {act}" for act, count in report.acts.items())
    yield f"  People: {acts or 'nothing unusual'}."
    yield "  Bad photos must fail, who cancels in time must end so, a wish sent twice is one."


def _expected_ends(report: Report) -> Iterator[str]:
    if report.eta_within_20 is None:
        return
    good = round(report.eta_within_20 * report.eta_judged)
    yield (
        f"Expected ends: {good} of {report.eta_judged} that were told at half-time were right "
        "within 20 % of the whole."
    )
    yield (
        "  Under faults nobody can expect an end; `python -m benchmarks.eta` measures without them."
    )
