"""Measure how well ends are predicted: `python -m benchmarks.eta` writes results/eta.json.

Real onboardings run on a platform of their own: some alone, some side by side, of several lengths.
Every half second each is asked for its `outlook`. Once it is ready, the prediction nearest to its
half-time is compared with what came: `share_within_20` is the share of onboardings whose predicted
total time, from its creation until it was to be ready, is within 20 % of the true one.

The first onboardings only warm the platform up: predictions rest on what was measured there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from app.cli.client import Client
from app.cli.photos import Photo, read_folder
from atelier.contracts.clock import Clock, SystemClock, from_iso, to_iso
from benchmarks.machine import commit, machine
from benchmarks.measured import run
from examples.demo.platform import local_platform

MASCOT = Path(__file__).resolve().parents[1] / "examples" / "mascot"
LOOK_SECONDS = 0.5
WITHIN = 0.2
SHARES = (0.25, 0.5, 0.75)
PATIENCE_SECONDS = 300.0

Wish = tuple[str, int | None]
"""A preset and its steps, None for the preset's own."""

WARM_UP: Sequence[Sequence[Wish]] = (
    (("nano", None),),
    (("fast", 60),),
    (("nano", None), ("fast", 60)),
)
WAVES: Sequence[Sequence[Wish]] = (
    (("nano", None),),
    (("fast", None),),
    (("fast", 60),),
    (("nano", None), ("nano", None)),
    (("fast", 100), ("fast", 100)),
    (("fast", 250),),
    (("fast", 60), ("fast", 150)),
    (("nano", None), ("fast", 100), ("fast", 200)),
    (("fast", 80), ("nano", None)),
    (("fast", 120),),
)
"""What runs side by side, one wave after the other."""


@dataclass(slots=True)
class Followed:
    """One onboarding, and what was predicted of it.

    Attributes:
        id, preset, steps, beside: which it is, and how many ran with it.
        said: (when, expected end) of every look; None where no end was told.
        last: the last look.
    """

    id: str
    preset: str
    steps: int | None
    beside: int
    said: list[tuple[datetime, datetime | None]] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether nothing changes any more."""
        return self.last.get("status") in {"ready", "failed", "cancelled"}

    def error(self, share: float) -> float | None:
        """Return how wrong the prediction nearest to a share of its time was, relative to truth."""
        created, ready = self._times()
        total = (ready - created).total_seconds()
        moment = created + share * (ready - created)
        _, expected = min(self.said, key=lambda told: abs(told[0] - moment))
        if expected is None:
            return None
        return (expected - created).total_seconds() / total - 1.0

    def figures(self) -> dict[str, Any]:
        """Return what the result tells of it."""
        created, ready = self._times()
        return {
            "preset": self.preset,
            "steps": self.last["progress"]["steps"],
            "beside": self.beside,
            "seconds": round((ready - created).total_seconds(), 1),
            "errors": {f"{share:g}": _rounded(self.error(share)) for share in SHARES},
        }

    def _times(self) -> tuple[datetime, datetime]:
        entered = {entry["status"]: entry["at"] for entry in self.last["timeline"]}
        return from_iso(self.last["created_at"]), from_iso(entered["ready"])


def measure(home: Path) -> dict[str, Any]:
    """Run everything in `home` and return the figures."""
    clock = SystemClock()
    photos = read_folder(MASCOT, told=lambda _: None)
    began = clock.monotonic_seconds()
    with (
        local_platform(home, clock=clock) as platform,
        Client(platform.url, platform.key, clock=clock) as client,
    ):
        users = (f"user-{number}" for number in range(1000))
        for wave in WARM_UP:
            _run(wave, client, photos, users, clock=clock)
        followed = [f for wave in WAVES for f in _run(wave, client, photos, users, clock=clock)]
    at_half = [f.error(0.5) for f in followed]
    within = [error is not None and abs(error) <= WITHIN for error in at_half]
    told = [abs(error) for error in at_half if error is not None]
    return {
        "benchmark": "eta",
        "onboardings": len(followed),
        "share_within_20": round(sum(within) / len(within), 3),
        "median_error": round(median(told), 3),
        "without_prediction": len(at_half) - len(told),
        "each": [f.figures() for f in followed],
        "seconds": round(clock.monotonic_seconds() - began, 1),
        "machine": machine(),
        "commit": commit(),
        "measured_at": to_iso(clock.now()),
    }


def _run(
    wave: Sequence[Wish],
    client: Client,
    photos: Sequence[Photo],
    users: Iterator[str],
    *,
    clock: Clock,
) -> list[Followed]:
    """Start a wave of onboardings and follow them until all are ready.

    Raises:
        RuntimeError: one ended without a model, or none would end.
    """
    started = [_start(wish, client, photos, next(users), len(wave)) for wish in wave]
    deadline = clock.monotonic_seconds() + PATIENCE_SECONDS
    while not all(f.ended for f in started):
        if clock.monotonic_seconds() > deadline:
            raise RuntimeError(f"still under way after {PATIENCE_SECONDS:g} s: {started}")
        for one in started:
            if not one.ended:
                _look(one, client, clock=clock)
        clock.sleep(LOOK_SECONDS)
    if lost := [f.last for f in started if f.last["status"] != "ready"]:
        raise RuntimeError(f"ended without a model: {lost}")
    return started


def _start(wish: Wish, client: Client, photos: Sequence[Photo], user: str, beside: int) -> Followed:
    preset, steps = wish
    folder = client.upload(user, photos, consent_by="benchmark")
    body = {
        "user_id": user,
        "photos": folder,
        "preset": preset,
        **({"hyperparameters": {"steps": steps}} if steps else {}),
    }
    started, _ = client.start(body, idempotency_key=None)
    return Followed(started["id"], preset, steps, beside)


def _look(one: Followed, client: Client, *, clock: Clock) -> None:
    one.last = client.onboarding(one.id)
    expected = one.last["outlook"]["expected_end_at"]
    one.said.append((clock.now(), from_iso(expected) if expected else None))


def _rounded(error: float | None) -> float | None:
    return None if error is None else round(error, 3)


if __name__ == "__main__":
    sys.exit(run("eta", measure))
