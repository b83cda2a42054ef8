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
    ("retry", "NotFound"): "`atelier status` lists the onboardings.",
    ("why", "NotFound"): "`atelier status` lists the onboardings.",
    ("onboard", "PhotosRejected"): (
        "Replace the photos that are named and onboard the folder again."
    ),
    **{
        (command, "InvalidRequest"): "Correct what is named and run the command again."
        for command in ("onboard", "status", "generate")
    },
    **{
        (command, "Unauthorized"): _KEY
        for command in (
            "onboard",
            "status",
            "models",
            "generate",
            "cancel",
            "redrive",
            "retry",
            "why",
        )
    },
}
"""(command, error) → what to do; what is not listed keeps the sentence it came with."""


def hint(command: str, error: str, do: str) -> str:
    """Return what to do about an error of a command, which `do` says unless we know better."""
    return HINTS.get((command, error), do)
