"""Errors as RFC 9457 problem details: one table from the error tree to HTTP."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse

from atelier.contracts import errors

STATUS: Mapping[type[errors.AtelierError], int] = {
    errors.InvalidRequest: 400,
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

RETRY_AFTER_SECONDS = 2
UNAUTHORIZED_STATUS = 401


class Unauthorized(errors.AtelierError):
    """No credential, or one that this deployment did not issue."""

    do = "Send `Authorization: Bearer <key>`; the platform prints a key when it starts."


def status_of(error: errors.AtelierError) -> int:
    """Return the HTTP status of an error."""
    if isinstance(error, Unauthorized):
        return UNAUTHORIZED_STATUS
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def problem(error: errors.AtelierError) -> JSONResponse:
    """Return the response of an error."""
    status = status_of(error)
    headers = {}
    if status in {429, 503}:
        wait = error.facts.get("retry_after_seconds", RETRY_AFTER_SECONDS)
        headers["Retry-After"] = str(math.ceil(wait))
    if status == UNAUTHORIZED_STATUS:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(
        body(status, error.name(), error.message, error.do, error.facts),
        status_code=status,
        headers=headers,
        media_type="application/problem+json",
    )


def body(status: int, code: str, detail: str, do: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return a problem document."""
    return {
        "type": f"urn:atelier:error:{code}",
        "title": code,
        "status": status,
        "code": code,
        "detail": detail,
        "do": do,
        "facts": dict(facts),
    }


async def on_atelier_error(_: Request, error: Exception) -> JSONResponse:
    """Answer an error of the tree."""
    assert isinstance(error, errors.AtelierError)  # noqa: S101 - registered for that class alone
    return problem(error)
