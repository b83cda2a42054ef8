"""`atelier why ID`: one honest sentence on an onboarding, and what stands behind it.

Where no platform runs in the home folder, the ledger that lies there is read instead: it still
knows where the onboarding stood, and nothing goes on before the next `atelier up`.
"""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict
from textwrap import wrap
from typing import TYPE_CHECKING

from app.cli.client import Client, Document
from app.cli.commands import Desk, whole_id
from app.cli.exits import CommandFailed, Exit

if TYPE_CHECKING:
    from app.cli.stopped import Stopped


def why(given: Namespace, desk: Desk) -> Exit:
    """Say where an onboarding is, what it waits for, when it ends, what would speed it up."""
    console = desk.console
    try:
        with desk.connect() as client:
            found = _ask(given.onboarding, client)
    except CommandFailed as failed:
        from app.cli.stopped import open_stopped  # noqa: PLC0415 - only where nothing runs

        if failed.error != "NoPlatform" or (stopped := open_stopped(desk.home)) is None:
            raise
        with stopped:
            found = _stopped(given.onboarding, desk, stopped)
    console.document(found)
    console.say(*wrap(found["sentence"], width=console.width, break_long_words=False))
    console.say(*(f"  {console.marks.dot} {line}" for line in found["details"]))
    return Exit.DONE


def _ask(onboarding: str, client: Client) -> Document:
    return client.why(whole_id(onboarding, client))


def _stopped(onboarding: str, desk: Desk, stopped: Stopped) -> Document:
    """Return what a ledger at rest knows: an end as it was, or where it stands still."""
    record = stopped.find(onboarding)
    outlook = stopped.outlook(record, now=desk.clock.now())
    return {"id": record.request, "status": record.status.value, **asdict(outlook)}
