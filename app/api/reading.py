"""Reading requests strictly: JSON that says one thing, for a host that is ours, in time."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from json import JSONDecodeError
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api import problems
from app.api.given import caller_of
from atelier.contracts.documents import DocumentError, parse_json


class StrictRequest(Request):
    """A request whose JSON names each field once and holds no NaN, and nests as deep as ours."""

    async def json(self) -> Any:
        """Return the body.

        Raises:
            JSONDecodeError: it is no JSON.
            HTTPException: it is JSON that documents of ours may not be.
        """
        try:
            return parse_json(await self.body())
        except DocumentError as problem:
            if isinstance(problem.__cause__, JSONDecodeError):
                raise problem.__cause__ from None
            raise HTTPException(400, f"the body: {problem.problem}") from problem


class StrictRoute(APIRoute):
    """A route that reads its requests strictly, and those alone that carry a key."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        handler = super().get_route_handler()

        async def read_strictly(request: Request) -> Response:
            # The framework reads the body first, and would tell anybody what is wrong in it.
            caller_of(request)
            return await handler(StrictRequest(request.scope, request.receive))

        return read_strictly


@dataclass(frozen=True, slots=True)
class HostDoor:
    """Middleware that answers requests to names of ours only, so that no web page can be one."""

    app: ASGIApp
    allowed: frozenset[str]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "http" and "*" not in self.allowed:
            host = Headers(scope=scope).get("host", "")
            name = host.rpartition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
            if name.lower() not in self.allowed:
                refusal = problems.answer(
                    400,
                    "UnknownHost",
                    f"this deployment is not called {host[:80]!r}",
                    "Use the address that the platform printed.",
                    {"where": "Host"},
                )
                await refusal(scope, receive, send)
                return
        await self.app(scope, receive, send)
