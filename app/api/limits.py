"""What one caller may take: bytes of a body, and places among those who wait for images."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import BoundedSemaphore

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from atelier.contracts.errors import Throttled

MAX_BODY_BYTES = 1024 * 1024
"""Many times what the largest sensible wish takes; photos go another way."""
TOO_LARGE_STATUS = 413
BODY_SECONDS = 60.0
"""A photo at its largest comes in 3 s over a slow line of 50 Mbit/s; nobody holds a door longer."""
TOO_SLOW_STATUS = 408
MAX_DRAWINGS = 30
"""Requests of one process that wait for images at once. Each holds one of the server's 40 threads;
the others keep status checks and cancels quick."""

MAX_LOOKS = 2
"""Upload sets of one process that are looked at at once: it costs a processor and memory."""


@contextmanager
def _held(places: BoundedSemaphore, most: int, taken: str) -> Iterator[None]:
    if not places.acquire(blocking=False):
        raise Throttled(
            f"{most} {taken}",
            do="Send the request again after the time in Retry-After.",
            allowed=most,
        )
    try:
        yield
    finally:
        places.release()


@contextmanager
def place_of(places: BoundedSemaphore) -> Iterator[None]:
    """Hold one of the places for as long as images are drawn.

    Raises:
        Throttled: all are taken.
    """
    with _held(places, MAX_DRAWINGS, "requests wait for images already"):
        yield


@contextmanager
def place_to_look(places: BoundedSemaphore) -> Iterator[None]:
    """Hold one of the places for as long as a set of photos is looked at.

    Raises:
        Throttled: all are taken.
    """
    with _held(places, MAX_LOOKS, "sets of photos are being looked at already"):
        yield


@dataclass(frozen=True, slots=True)
class BodyLimit:
    """Middleware that ends the reading of a body that is too large or comes too slowly.

    `app.state.larger_bodies` (path → bytes) names the routes that take more.
    """

    app: ASGIApp
    seconds: float = BODY_SECONDS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with a counted body."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most = scope["app"].state.larger_bodies.get(scope["path"], MAX_BODY_BYTES)
        seen, whole = 0, False
        until = asyncio.get_running_loop().time() + self.seconds

        async def counted() -> Message:
            nonlocal seen, whole
            try:
                # After the body only the client's going away is waited for, as long as it takes.
                async with asyncio.timeout_at(None if whole else until):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(
                    TOO_SLOW_STATUS, f"the body was not there after {self.seconds:g} s"
                ) from None
            seen += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if seen > most:
                raise HTTPException(TOO_LARGE_STATUS, f"the body exceeds {most:,} bytes")
            return message

        await self.app(scope, counted, send)
