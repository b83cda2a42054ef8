"""The demo's journey: upload, onboard, draw; the same for `make demo` and for its benchmark."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from app.cli.client import Client
from app.cli.photos import read_folder
from app.cli.watching import watch
from atelier.contracts.clock import Clock
from examples.demo.contact_sheet import Row
from examples.tiny.captions import place_words

MASCOT = Path(__file__).resolve().parent.parent / "mascot"
USER = "ada"
MODEL = "zorp"
SHEET_PLACES = ("space", "forest", "sea", "sunset")
"""Places where no instance image was taken."""
SEEDS = 3
GUIDANCE = 3.0
"""What suits the base model `tiny` best (its model card)."""

OnChange = Callable[[dict[str, Any]], None]


class DemoFailed(Exception):
    """The onboarding ended without a model."""


@dataclass(frozen=True, slots=True)
class Studio:
    """A person at a platform: what they upload, whom they are, how they wait."""

    client: Client
    clock: Clock

    def onboard(self, photos: Path, *, on_change: OnChange) -> dict[str, Any]:
        """Upload a folder of photos, start the onboarding and follow it to its end.

        Raises:
            DemoFailed: it ended without a model; the message says why and what to do.
        """
        folder = self.client.upload(USER, read_folder(photos), consent_by=USER)
        wish = {
            "user_id": USER,
            "photos": folder,
            "model": MODEL,
            "preset": "fast",
            "samples": [{"prompt": prompt("stage"), "seed": 1, "guidance": GUIDANCE}],
        }
        started, _ = self.client.start(wish, idempotency_key=None)
        seen = watch(lambda: self.client.onboarding(started["id"]), on_change, clock=self.clock)
        if seen["status"] != "ready":
            failure = seen["failure"] or {"message": seen["status"], "do": ""}
            raise DemoFailed(f"{failure['message']} {failure['do']}".strip())
        return seen

    def draw(self, place: str, *, seed: int, count: int, scale: float) -> list[Image.Image]:
        """Draw the subject in a place; scale 0 is the base model alone."""
        drawn = self.client.draw(
            MODEL,
            {
                "user_id": USER,
                "prompt": prompt(place),
                "seed": seed,
                "count": count,
                "guidance": GUIDANCE,
                "adapter_scale": scale,
            },
        )
        return [
            Image.open(io.BytesIO(base64.b64decode(image["image_base64"])))
            for image in drawn["images"]
        ]

    def rows(self, places: Sequence[str] = SHEET_PLACES) -> list[Row]:
        """Draw the contact sheet's rows: base model and personal model, same prompts and seeds."""
        return [
            Row(
                prompt(place),
                base=self.draw(place, seed=100, count=SEEDS, scale=0.0),
                personal=self.draw(place, seed=100, count=SEEDS, scale=1.0),
            )
            for place in places
        ]


def prompt(place: str) -> str:
    """Return the prompt that asks for the subject in a place."""
    return f"a photo of zorp creature {place_words(place)}"


def instance_images(photos: Path = MASCOT) -> list[Image.Image]:
    """Return the photos that the person uploads, in order."""
    return [Image.open(io.BytesIO(photo.body)) for photo in read_folder(photos)]
