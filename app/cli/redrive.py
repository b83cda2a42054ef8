"""`atelier redrive`: let an onboarding go on where an error stopped it."""

from __future__ import annotations

from argparse import Namespace

from app.cli.commands import Desk, whole_id
from app.cli.exits import Exit


def redrive(given: Namespace, desk: Desk) -> Exit:
    """Redrive an onboarding that failed in place."""
    with desk.connect() as client:
        found = client.redrive(whole_id(given.onboarding, client))
    desk.console.document(found)
    desk.console.say(
        f"Onboarding {found['id']} of {found['user_id']}/{found['model']} goes on from where it "
        f"stood: it is {found['status']}. `atelier status {found['id']} --watch` follows it."
    )
    return Exit.DONE
