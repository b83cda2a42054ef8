"""How the server says no: its own refusals, and one table from error to HTTP status.

    Refused
    ├── BodyTooSlow       the body did not arrive in time
    ├── BodyTooLarge      more bytes than are read
    ├── DrawingFailed     the image came to nothing (latents that are no numbers)
    └── MemoryExhausted   no memory for the adapter or the image: the platform unloads and retries

Everything else comes from the error tree that all parts share. The body is always
`{"error", "message", "do", "facts"}`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from atelier.contracts.errors import (
    AdapterRejected,
    AlreadyExists,
    AtelierError,
    ContractBroken,
    InvalidRequest,
    ModelNotReady,
    NotFound,
    ObjectMissing,
    ServiceUnavailable,
    Throttled,
)


class Refused(Exception):
    """A refusal of the server itself, shaped like the shared tree's errors.

    Not part of that tree: its leaves are error names of the state machines, and these are not.
    """

    do: str = "Try again later."

    def __init__(self, message: str, **facts: Any) -> None:
        """Keep the message for people and the facts for programs."""
        super().__init__(message)
        self.message = message
        self.facts: Mapping[str, Any] = facts

    def to_dict(self) -> dict[str, Any]:
        """Return error, message, do, facts."""
        return {
            "error": type(self).__name__,
            "message": self.message,
            "do": self.do,
            "facts": dict(self.facts),
        }


class BodyTooSlow(Refused):
    """The body did not arrive in time; facts: allowed_seconds."""

    do = "Send the whole body at once."


class BodyTooLarge(Refused):
    """The body is larger than the server reads; facts: allowed_bytes."""

    do = "Send a smaller body."


class DrawingFailed(Refused):
    """The image came to nothing; facts: seeds."""

    do = "Lower guidance or adapter_scale, or take another seed."


class MemoryExhausted(Refused):
    """No memory for an adapter or an image; facts: what, needed_bytes, allowed_bytes."""

    do = "Unload models that nobody uses, or ask for fewer or smaller images."


STATUS_BY_ERROR: Mapping[type[Exception], int] = {
    InvalidRequest: 400,
    AdapterRejected: 400,
    NotFound: 404,
    ObjectMissing: 404,
    BodyTooSlow: 408,
    AlreadyExists: 409,
    BodyTooLarge: 413,
    DrawingFailed: 422,
    Throttled: 429,
    ContractBroken: 500,
    ModelNotReady: 503,
    ServiceUnavailable: 503,
    MemoryExhausted: 507,
}
"""Anything that is not here is a defect of ours: 500 without its inner words."""

DEFECT = {
    "error": "InternalError",
    "message": "the server failed in a way it does not know",
    "do": "Try again; if it happens again, report it with the time and the model's name.",
    "facts": {},
}


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer: status, extra headers, JSON body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def answer_to(problem: Exception) -> Answer:
    """Return the HTTP answer to an error.

    A wait that is known (`retry_after_seconds` among the facts) becomes Retry-After.
    """
    status = STATUS_BY_ERROR.get(type(problem))
    if status is None or not isinstance(problem, AtelierError | Refused):
        return Answer(500, {}, json.dumps(DEFECT).encode())
    wait = problem.facts.get("retry_after_seconds")
    headers = {} if wait is None else {"Retry-After": str(max(1, math.ceil(wait)))}
    return Answer(status, headers, json.dumps(problem.to_dict(), default=str).encode())
