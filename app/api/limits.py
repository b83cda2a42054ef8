"""How much one request may send: a body is counted while it arrives, and never kept beyond that."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 1024 * 1024
"""Many times what the largest sensible wish takes; photos go another way."""
TOO_LARGE_STATUS = 413


@dataclass(frozen=True, slots=True)
class BodyLimit:
    """Middleware that ends the reading of a body that is too large.

    `app.state.larger_bodies` (path → bytes) names the routes that take more.
    """

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with a counted body."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most = scope["app"].state.larger_bodies.get(scope["path"], MAX_BODY_BYTES)
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > most:
                raise HTTPException(TOO_LARGE_STATUS, f"the body exceeds {most:,} bytes")
            return message

        await self.app(scope, counted, send)
