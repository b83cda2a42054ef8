"""`atelier logs ID`: what happened to an onboarding, one story in time order, from the home folder.

    16:21:05.123  training host   training at step 0 of 150

The short story has what a person needs; `--all` shows every line that concerns the onboarding.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from app.cli.commands import Desk
from app.cli.console import Console
from app.cli.exits import CommandFailed, Exit
from atelier.contracts.clock import to_iso

if TYPE_CHECKING:
    from infra.local.chronicle import Line

FOLLOW_SECONDS = 0.5
MOST_WORDS = 400


def logs(given: Namespace, desk: Desk) -> Exit:
    """Print the story of an onboarding; with --follow go on until it is over.

    That is when it has ended and a look finds no new line: who is told comes after the end.
    """
    from app.cli.stopped import open_stopped  # noqa: PLC0415 - reads SQLite and photos' code
    from infra.local.chronicle import chronicle  # noqa: PLC0415 - as above

    stopped = open_stopped(desk.home)
    if stopped is None:
        raise CommandFailed(
            Exit.NOT_FOUND,
            f"no platform ever ran in {desk.home}",
            do="Logs are read where the platform runs: name its folder with --home.",
            error="NoPlatform",
        )
    with stopped:
        record = stopped.find(given.onboarding)
        shown: set[Line] = set()
        day: datetime | None = None
        while True:
            ended = stopped.ended(record)
            told = [line for line in chronicle(desk.home, record) if given.all or line.main]
            fresh = [line for line in told if line not in shown]
            day = _print(fresh, desk.console, day=day)
            shown.update(fresh)
            if not given.follow or (ended and not fresh):
                return Exit.DONE
            desk.clock.sleep(FOLLOW_SECONDS)
            record = stopped.find(record.request)


def _print(lines: Sequence[Line], console: Console, *, day: datetime | None) -> datetime | None:
    """Print lines, each new day first; return the day of the last one."""
    for line in lines:
        console.document(
            {
                "at": to_iso(line.at),
                "part": line.part,
                "words": line.words,
                "main": line.main,
                "request_id": line.request_id,
            }
        )
        if day is None or line.at.date() != day.date():
            console.say(f"{line.at:%Y-%m-%d}, times are UTC")
            day = line.at
        words = " ".join(line.words.split())
        clock = f"{line.at:%H:%M:%S}.{line.at.microsecond // 1000:03d}"
        text = f"{clock}  {line.part:<16}  {words[:MOST_WORDS]}"
        console.say(text if not console.live or len(text) <= console.width else _cut(text, console))
    return day


def _cut(text: str, console: Console) -> str:
    return f"{text[: console.width - 1]}…"
