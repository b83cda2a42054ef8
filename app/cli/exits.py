"""How a command ends: exit codes in one table, and the error that carries one."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final


class Exit(IntEnum):
    """Exit codes, for scripts."""

    DONE = 0
    NO_MODEL = 1
    DISAGREES = 1
    USAGE = 2
    NOT_FOUND = 3
    REFUSED = 4
    UNREACHABLE = 5
    BUSY = 6
    NOT_ALLOWED = 7
    BROKEN = 8
    INTERRUPTED = 130


MEANING: Final[Mapping[Exit, str]] = {
    Exit.DONE: "done",
    Exit.NO_MODEL: "no model came of it: failed, cancelled or erased; doctor: something disagrees",
    Exit.USAGE: "the command line was not understood",
    Exit.NOT_FOUND: "no such onboarding, model, user or folder",
    Exit.REFUSED: "the input was refused: photos, a field, or a conflict",
    Exit.UNREACHABLE: "no platform runs there, or it does not answer",
    Exit.BUSY: "the platform cannot now; the same command works later",
    Exit.NOT_ALLOWED: "the key is missing or not this platform's",
    Exit.BROKEN: "the platform failed; its log says why",
    Exit.INTERRUPTED: "interrupted from the keyboard",
}

OF_STATUS: Final[Mapping[int, Exit]] = {
    400: Exit.REFUSED,
    401: Exit.NOT_ALLOWED,
    403: Exit.REFUSED,
    404: Exit.NOT_FOUND,
    409: Exit.REFUSED,
    413: Exit.REFUSED,
    422: Exit.REFUSED,
    429: Exit.BUSY,
    503: Exit.BUSY,
}
"""HTTP status → exit code; what is not listed is BROKEN."""


class CommandFailed(Exception):
    """A command cannot go on.

    Attributes:
        exit: the exit code.
        message: what was found, and where.
        do: what to do next, one sentence.
        error: its name, for programs: one of the error tree, or the command's own.
        facts: numbers and names behind the message.
        request_id: of the request that was refused, as the platform logs it; empty: there is none.
    """

    def __init__(
        self,
        exit_code: Exit,
        message: str,
        *,
        do: str = "",
        error: str = "",
        facts: Mapping[str, Any] | None = None,
        request_id: str = "",
    ) -> None:
        """Keep the message for people and the rest for programs."""
        super().__init__(message)
        self.exit = exit_code
        self.message = message
        self.do = do
        self.error = error or exit_code.name.title().replace("_", "")
        self.facts: Mapping[str, Any] = facts or {}
        self.request_id = request_id

    def to_dict(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {
            "error": self.error,
            "message": self.message,
            "do": self.do,
            "facts": dict(self.facts),
            "exit_code": int(self.exit),
            **({"request_id": self.request_id} if self.request_id else {}),
        }
