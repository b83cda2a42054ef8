"""`make demo`: onboard one subject on this machine, draw its first images, show a contact sheet."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from app.cli.client import Client
from app.cli.console import Console, is_live
from app.cli.exits import CommandFailed
from app.cli.home import SystemProcesses, refuse_second
from app.cli.watching import Pictures, Show
from atelier.contracts.clock import SystemClock
from examples.demo.contact_sheet import contact_sheet
from examples.demo.journey import MASCOT, DemoFailed, Studio, instance_images, prompt
from examples.demo.platform import local_platform

HOME = Path(".atelier") / "demo"


def main() -> int:
    """Run the demo in `.atelier/demo`, made anew each time; return the exit code."""
    clock = SystemClock()
    started = clock.monotonic_seconds()
    live = is_live(sys.stdout, os.environ)  # noqa: TID251 - a composition root
    console = Console(sys.stdout, sys.stderr, live=live)
    say = console.say
    say("Atelier: a model of their own for every end user, on this machine.\n")
    try:
        # Somebody may have gone on by hand, as the last words of the demo propose.
        refuse_second(HOME, SystemProcesses())
        if HOME.exists():
            shutil.rmtree(HOME)
        with local_platform(HOME, clock=clock) as platform:
            say(f"The platform runs at {platform.url}; its state lies in {HOME}/.")
            photos = instance_images()
            say(f"Ada uploads {len(photos)} photos of one creature from {_near(MASCOT)}/.\n")
            with Client(platform.url, platform.key, clock=clock) as client:
                studio = Studio(client, clock)
                pictures = Pictures(HOME / "images", client)
                onboarding = studio.onboard(MASCOT, on_change=Show(console, clock, pictures))
                console.release()
                say("\nDrawing on the shared endpoint: base model and personal model, same seeds…")
                rows = studio.rows()
        sheet = HOME / "contact-sheet.png"
        contact_sheet(photos, rows).save(sheet)
    except CommandFailed as failed:
        console.failure(failed)
        return int(failed.exit)
    except (DemoFailed, RuntimeError) as problem:
        say(f"The demo stopped: {problem}\nThe platform's log is {HOME / 'platform.log'}.")
        return 1
    seconds = clock.monotonic_seconds() - started
    say(
        f"""
Done in {seconds:.0f} s. Where everything lies:
  contact sheet       {sheet}
  the model           {onboarding["model"]} {onboarding["version"]}, in {HOME}/objects/artifacts/
  previews, samples   {HOME}/images/
  ledger, histories   {HOME}/ledger.sqlite3, {HOME}/executions.sqlite3
  logs                {HOME}/logs/

Go on by hand:
  .venv/bin/atelier up --home {HOME}
  .venv/bin/atelier generate --home {HOME} --user ada --model zorp "{prompt("snow")}" -n 4"""
    )
    return 0


def _near(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


if __name__ == "__main__":
    sys.exit(main())
