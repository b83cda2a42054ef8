"""Errors as RFC 9457 problem details: one table from the error tree to HTTP."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Mapping
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse

from atelier.contracts import errors, logs


class _AsciiResponse(JSONResponse):
    """JSON in ASCII: a problem may quote what a caller sent, also text that UTF-8 cannot hold."""

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return json.dumps(content, allow_nan=False).encode("ascii")


class Unauthorized(errors.AtelierError):
    """No credential, or one that this deployment did not issue."""

    do = "Send `Authorization: Bearer <key>`; the platform prints a key when it starts."


STATUS: Mapping[type[errors.AtelierError], int] = {
    errors.InvalidRequest: 400,
    Unauthorized: 401,
    errors.ConsentMissing: 403,
    errors.NotFound: 404,
    errors.AlreadyExists: 409,
    errors.IdempotencyConflict: 409,
    errors.StoppedError: 409,
    errors.PhotosRejected: 422,
    errors.DefectError: 422,
    errors.Throttled: 429,
    errors.WaitError: 503,
    errors.BrokenError: 500,
    errors.AtelierError: 500,
}
"""Nearest class in the tree wins."""

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 2


def status_of(kind: type[errors.AtelierError]) -> int:
    """Return the HTTP status of a class of errors."""
    return next(STATUS[above] for above in kind.__mro__ if above in STATUS)


def responses(*kinds: type[errors.AtelierError]) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI tells of routes that answer with these errors, and with any other."""
    told: dict[int | str, list[str]] = {}
    for kind in kinds:
        told.setdefault(status_of(kind), []).append(f"`{kind.name()}`: {inspect.getdoc(kind)}")
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        **{at: {"description": " ".join(said), "content": content} for at, said in told.items()},
        "default": {"description": "Any other problem.", "content": content},
    }


EVERYWHERE = responses(errors.InvalidRequest, Unauthorized, errors.NotFound)
"""What any route that needs a key may answer."""


def problem(error: errors.AtelierError) -> JSONResponse:
    """Return the response of an error."""
    status = status_of(type(error))
    headers = {}
    if status in {429, 503}:
        wait = error.facts.get("retry_after_seconds", RETRY_AFTER_SECONDS)
        headers["Retry-After"] = str(math.ceil(wait))
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    return answer(status, error.name(), error.message, error.do, error.facts, headers=headers)


def answer(
    status: int,
    code: str,
    detail: str,
    do: str,
    facts: Mapping[str, Any],
    *,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return a problem document (`app.api.shapes.Problem`) as a response."""
    document = {
        "type": f"urn:atelier:error:{code}",
        "title": code,
        "status": status,
        "code": code,
        "detail": detail,
        "do": do,
        "facts": dict(facts),
        "request_id": logs.subject().get("request_id", ""),
    }
    return _AsciiResponse(document, status, headers=headers, media_type=MEDIA_TYPE)


async def on_atelier_error(_: Request, error: Exception) -> JSONResponse:
    """Answer an error of the tree."""
    assert isinstance(error, errors.AtelierError)  # noqa: S101 - registered for that class alone
    return problem(error)
