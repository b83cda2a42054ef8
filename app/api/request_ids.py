"""One id for every HTTP request: taken from its caller or made, logged, answered, handed on."""

from __future__ import annotations

import base64
import logging
import secrets
from collections.abc import Callable
from time import perf_counter

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from atelier.contracts import ids, logs

log = logging.getLogger(__name__)

QUIET_METHODS = frozenset({"GET", "HEAD"})
"""Reading changes nothing and happens twice a second while somebody watches."""


def random_request_id() -> str:
    """Return a new id from the system's randomness."""
    return "q" + base64.b32encode(secrets.token_bytes(15)).decode().lower()


async def call_named(
    app: ASGIApp, scope: Scope, receive: Receive, send: Send, *, make: Callable[[], str]
) -> None:
    """Pass a request on under its id; whatever is logged for it names the id.

    A well-formed `X-Request-Id` is kept, so that a caller finds its own; any other is replaced.
    """
    if scope["type"] != "http":
        await app(scope, receive, send)
        return
    given = logs.read_request_id(Headers(scope=scope).get(logs.REQUEST_ID_HEADER))
    request_id = given or make()
    began, status = perf_counter(), 0

    async def answered(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
            MutableHeaders(scope=message)[logs.REQUEST_ID_HEADER] = request_id
        await send(message)

    with logs.about(request_id=request_id):
        try:
            await app(scope, receive, answered)
        finally:
            with logs.about(request=_onboarding(scope)):
                quiet = scope["method"] in QUIET_METHODS and status < 400
                log.log(
                    logging.DEBUG if quiet else logging.INFO,
                    "%s %s answered %s in %.3f s",
                    scope["method"],
                    _route(scope),
                    status or "nothing",
                    perf_counter() - began,
                )


def _route(scope: Scope) -> str:
    """Return the route's own path: the path that was asked for may name a person."""
    return str(getattr(scope.get("route"), "path", "no route"))


def _onboarding(scope: Scope) -> str | None:
    named = str(scope.get("path_params", {}).get("onboarding", ""))
    return named if ids.REQUEST_PATTERN.fullmatch(named) else None
