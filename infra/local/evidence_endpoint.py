"""From the running endpoint's books to evidence.

The books are no one moment: an invocation that has just gone may still be counted in a slot until
the engine's next denoising step. What is held for nobody is believed when it is so three times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from atelier.contracts.clock import Clock
from infra.doctor.evidence import EndpointSeen, HeldSlot, ServedModel

LOOKS = 3
PAUSE_SECONDS = 1.0


def look(ask: Callable[[], Mapping[str, Any] | None], *, clock: Clock) -> EndpointSeen | None:
    """Return what the endpoint holds, asked again while it seems to hold it for nobody."""
    for remaining in reversed(range(LOOKS)):
        told = ask()
        if told is None:
            return None
        seen = read_books(told)
        if not remaining or not _for_nobody(seen):
            return seen
        clock.sleep(PAUSE_SECONDS)
    raise AssertionError("the last look returns")


def read_books(told: Mapping[str, Any]) -> EndpointSeen:
    """Read `infra.local.endpoint_books.Books` as the platform's route writes them."""
    residency = told["residency"]
    return EndpointSeen(
        in_service=told["in_service"],
        loaded=tuple(ServedModel(target, uses) for target, uses in sorted(told["uses"].items())),
        in_flight=told["under_way"],
        disk_bytes=told["disk_bytes"],
        disk_limit_bytes=told["disk_limit_bytes"],
        slots=residency and residency["slots"],
        held=residency and tuple(HeldSlot(**adapter) for adapter in residency["adapters"]),
    )


def _for_nobody(seen: EndpointSeen) -> bool:
    uses = [model.in_flight for model in seen.loaded]
    uses += [held.uses + held.pins for held in seen.held or ()]
    return not seen.in_flight and any(uses)
