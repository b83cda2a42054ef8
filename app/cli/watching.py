"""Watching onboardings: look, show what is new, fetch previews as they arrive, until the end."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from app.cli import tables
from app.cli.client import Client, Document
from app.cli.console import Console
from app.cli.exits import CommandFailed, Exit
from app.cli.progress import ENDED, changes, panel
from atelier.contracts.clock import Clock

LOOK_SECONDS = 0.5
"""Between two looks at one onboarding."""

AWAY_SECONDS = 30.0
"""How long a platform that went away is waited for."""


def plain_name(text: object) -> str:
    """Return what a platform called a file as a name that leads nowhere else."""
    return re.sub(r"[^A-Za-z0-9._-]+|^\.+", "-", str(text))[:200] or "-"


class Images(Protocol):
    """Whoever has an onboarding's images."""

    def image(self, onboarding: str, name: str) -> bytes:
        """Return one by its name."""
        ...


@dataclass(slots=True)
class Pictures:
    """Saves an onboarding's previews and samples as they appear.

    Attributes:
        folder: where they go.
        source: where they come from.
        saved: name → path, in the order in which they came.
    """

    folder: Path
    source: Images
    saved: dict[str, str] = field(default_factory=dict)

    def fetch(self, onboarding: Document) -> Document:
        """Fetch what is listed and not here yet; return the document with what is here alone.

        An image can be listed a moment before it can be read; the next look fetches it.
        """
        progress = onboarding["progress"]
        if not progress:
            return onboarding
        for name in (*progress["previews"], *progress["samples"]):
            if name not in self.saved:
                self._fetch(onboarding["id"], name)
        here = {
            kind: [name for name in progress[kind] if name in self.saved]
            for kind in ("previews", "samples")
        }
        return {**onboarding, "progress": {**progress, **here}}

    def _fetch(self, onboarding: str, name: str) -> None:
        try:
            body = self.source.image(onboarding, name)
        except CommandFailed as failed:
            if failed.exit is Exit.NOT_FOUND:
                return
            raise
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / plain_name(name)
        path.write_bytes(body)
        self.saved[name] = str(path)


@dataclass(slots=True)
class Show:
    """Shows one onboarding on a console: redrawn, line by line, or as JSON lines."""

    console: Console
    clock: Clock
    pictures: Pictures | None = None
    _before: Document | None = None

    def __call__(self, onboarding: Document) -> None:
        """Show what is new."""
        if self.console.json:
            if self.pictures:
                self.pictures.fetch(onboarding)
            if onboarding != self._before:
                self.console.document(onboarding)
            self._before = onboarding
            return
        shown = self.pictures.fetch(onboarding) if self.pictures else onboarding
        saved = self.pictures.saved if self.pictures else None
        now, marks = self.clock.now(), self.console.marks
        if self.console.live:
            width = self.console.width
            self.console.draw(panel(shown, now=now, width=width, saved=saved, marks=marks))
        else:
            self.console.say(*changes(self._before, shown, now=now, saved=saved, marks=marks))
        self._before = shown


def watch(
    read: Callable[[], Document],
    show: Callable[[Document], None],
    *,
    clock: Clock,
    told: Callable[[str], None] = lambda _: None,
) -> Document:
    """Look at one onboarding until it has ended; return it as it then stands.

    A platform that goes away is waited for: onboardings survive its restart, so does watching them.

    Raises:
        CommandFailed: it stayed away, or there is no such onboarding.
    """
    gone_at: float | None = None
    name = "ID"
    while True:
        try:
            onboarding = read()
            name = onboarding["id"]
            show(onboarding)
        except CommandFailed as failed:
            now = clock.monotonic_seconds()
            if gone_at is None and failed.exit is Exit.UNREACHABLE:
                gone_at = now
                told(f"{failed.message}; waiting for it")
            if gone_at is None:
                raise
            if now - gone_at > AWAY_SECONDS:
                failed.message += f", for {AWAY_SECONDS:.0f} s now; the onboarding is safe"
                failed.do = f"`atelier up` lets it go on, `atelier status {name} --watch` watches."
                raise
            clock.sleep(LOOK_SECONDS)
            continue
        if gone_at is not None:
            told("the platform answers again")
        gone_at = None
        if onboarding["status"] in ENDED:
            return onboarding
        clock.sleep(LOOK_SECONDS)


def watch_all(
    client: Client, *, user: str | None, limit: int, console: Console, clock: Clock
) -> None:
    """Show the table of onboardings until none is under way."""
    before: list[Document] | None = None
    while True:
        found = client.onboardings(user=user, limit=limit)
        lines = tables.onboardings(found, now=clock.now(), width=console.table_width)
        if console.json:
            if found != before:
                console.document({"items": found})
        elif console.live:
            console.draw(lines)
        elif _stamps(found) != _stamps(before):
            console.say(*lines, "")
        before = found
        if all(document["status"] in ENDED for document in found):
            return
        clock.sleep(LOOK_SECONDS)


def _stamps(documents: list[Document] | None) -> list[tuple[str, str, int]]:
    return [(d["id"], d["status"], d["attempt"]) for d in documents or ()]
