"""`atelier doctor`: what disagrees in the local platform's state, for people and for programs."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from app.cli import home as platforms
from app.cli.client import Document
from app.cli.commands import Desk
from app.cli.exits import CommandFailed, Exit
from app.cli.progress import counted
from infra.doctor import examine
from infra.doctor.evidence import EndpointSeen
from infra.doctor.findings import Finding, Report, Verdict
from infra.local.evidence import collect, platform_now
from infra.local.evidence_endpoint import look

WORD_WIDTH = 13


def doctor(given: Namespace, desk: Desk) -> Exit:
    """Examine the home folder, whether or not a platform runs in it."""
    running = platforms.running(desk.home, desk.processes)

    def endpoint() -> EndpointSeen | None:
        return look(lambda: _books(running, desk), clock=desk.clock)

    try:
        evidence = collect(
            desk.home, clock=desk.clock, running=running is not None, endpoint=endpoint
        )
    except FileNotFoundError as problem:
        raise CommandFailed(
            Exit.NOT_FOUND,
            f"no platform ever ran in {desk.home}",
            do=f"Name its folder with --home{_perhaps(desk.home)}.",
            error="NoPlatform",
        ) from problem
    now = platform_now(desk.home, clock=desk.clock)
    report = examine(evidence, now=now, grace_seconds=given.grace_seconds)
    desk.console.document(
        {"home": str(desk.home), "running": running is not None} | report.to_dict()
    )
    runs = f"The platform in {desk.home} runs" if running else f"No platform runs in {desk.home}"
    desk.console.say(*_verdict(report), *_told(report, verbose=given.verbose))
    desk.console.say("", f"{runs}; looked at:", *_looked_at(report))
    return Exit.DONE if report.healthy else Exit.DISAGREES


def _books(running: platforms.Running | None, desk: Desk) -> Document | None:
    """Ask the platform for its endpoint's books; None when it does not tell."""
    if running is None:
        return None
    try:
        with desk.connect_to(running) as client:
            return client.endpoint_books()
    except CommandFailed:
        return None


def _looked_at(report: Report) -> Iterator[str]:
    widest = max((len(f"{count:,}") for count in report.looked_at.values()), default=0)
    for kind, count in report.looked_at.items():
        yield f"  {count:>{widest},}  {kind if count != 1 else _one(kind)}"


def _one(kind: str) -> str:
    """Return the singular of a kind of evidence."""
    if kind == "deliveries":
        return "delivery"
    return kind.removesuffix("es" if kind in {"processes", "batches"} else "s")


def _perhaps(home: Path) -> str:
    """Return a hint where the folder is that of a chaos run."""
    return f": {home / 'home'}, say" if (home / "home" / "ledger.sqlite3").exists() else ""


def _verdict(report: Report) -> Iterator[str]:
    verdicts = [invariant.verdict for invariant in report.invariants]
    unseen = verdicts.count(Verdict.NOT_LOOKED_AT)
    if report.healthy:
        yield f"Nothing disagrees in {counted(len(verdicts) - unseen, 'invariant')}" + (
            f"; {unseen} were not looked at." if unseen else "."
        )
    else:
        broken = counted(verdicts.count(Verdict.BROKEN), "invariant")
        yield f"{counted(len(report.findings), 'finding')} in {broken} of {len(verdicts)}:"


def _told(report: Report, *, verbose: bool) -> Iterator[str]:
    """Yield the invariants, those that held only where all are wanted, with their findings."""
    wanted = [one for one in report.invariants if verbose or one.verdict is not Verdict.HELD]
    if wanted:
        yield ""
    for invariant in wanted:
        why = f" ({invariant.why_not})" if invariant.why_not else ""
        yield f"{invariant.verdict.value:<{WORD_WIDTH}}  {invariant.promise}{why}"
        for finding in report.findings:
            if finding.invariant == invariant.name:
                yield from _finding(finding)


def _finding(finding: Finding) -> Iterator[str]:
    margin = " " * (WORD_WIDTH + 2)
    yield f"{margin}{finding.subject}"
    yield f"{margin}  found     {finding.found}"
    yield f"{margin}  expected  {finding.expected}"
    yield f"{margin}  do        {finding.do}"
