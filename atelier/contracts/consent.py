"""Consent: who said when, under which text, that photos may be used. Nothing trains without it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

TEXT_VERSION = "2026-11"
"""Version of the consent text that the API and the CLI show today."""


@dataclass(frozen=True, slots=True)
class Consent:
    """One consent record; kept with the dataset and the request.

    Attributes:
        given_by: who gave it: the person (`user`), or the operator on the person's behalf.
        given_at: when, in UTC.
        text_version: which text was shown.
    """

    given_by: str
    given_at: datetime
    text_version: str = TEXT_VERSION

    def __post_init__(self) -> None:
        """Check that someone is named."""
        if not self.given_by or len(self.given_by) > 256 or not self.given_by.isprintable():
            raise ValueError("consent names who gave it: 1 to 256 printable characters")
        version = self.text_version
        if not version or len(version) > 64 or not version.isprintable():
            raise ValueError("consent names the version of its text: 1 to 64 printable characters")
