"""`atelier retry`: begin the next attempt of an onboarding that failed or was cancelled."""

from __future__ import annotations

from argparse import Namespace

from app.cli.commands import Desk, whole_id
from app.cli.exits import Exit


def retry(given: Namespace, desk: Desk) -> Exit:
    """Retry an onboarding that ended without a model."""
    with desk.connect() as client:
        found = client.retry(whole_id(given.onboarding, client))
    desk.console.document(found)
    desk.console.say(
        f"Onboarding {found['id']} of {found['user_id']}/{found['model']} is tried once more: "
        f"attempt {found['attempt']} is {found['status']}.",
        f"Watch it: atelier status {found['id']} --watch",
    )
    return Exit.DONE
