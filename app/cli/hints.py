"""What to do next in the command's own words, where the API speaks of its fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_KEY: Final = (
    "Pass a key that this platform printed, with --key or ATELIER_KEY; "
    "`atelier key TENANT` mints one."
)

HINTS: Final[Mapping[tuple[str, str], str]] = {
    ("onboard", "AlreadyExists"): "--new-version makes its next version.",
    ("generate", "NotFound"): "`atelier models` lists what there is.",
    ("status", "NotFound"): "`atelier status` lists the onboardings.",
    ("cancel", "NotFound"): "`atelier status` lists the onboardings.",
    ("redrive", "NotFound"): "`atelier status` lists the onboardings.",
    ("why", "NotFound"): "`atelier status` lists the onboardings.",
    **{
        (command, "Unauthorized"): _KEY
        for command in ("onboard", "status", "models", "generate", "cancel", "redrive", "why")
    },
}
"""(command, error) → what to do; what is not listed keeps the sentence it came with."""


def hint(command: str, error: str, do: str) -> str:
    """Return what to do about an error of a command, which `do` says unless we know better."""
    return HINTS.get((command, error), do)
