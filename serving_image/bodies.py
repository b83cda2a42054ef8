"""Reading request bodies: bounded in size and time, then strictly as our documents."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from starlette.requests import Request

from atelier.contracts.documents import Document, DocumentError, parse_json
from atelier.contracts.errors import InvalidRequest
from serving_image.refusals import BodyTooLarge, BodyTooSlow

D = TypeVar("D", bound=Document)

MAX_MODEL_NAME_CHARACTERS = 1024


async def read_body(request: Request, *, max_bytes: int, timeout_seconds: float) -> bytes:
    """Read a body whole.

    Raises:
        BodyTooLarge: it has, or announces, more than `max_bytes`.
        BodyTooSlow: it is not there after `timeout_seconds`.
    """
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced[:20]) > max_bytes:
        raise _too_large(max_bytes)
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > max_bytes:
                    raise _too_large(max_bytes)
    except TimeoutError as problem:
        raise BodyTooSlow(
            f"the body was not there after {timeout_seconds:g} s", allowed_seconds=timeout_seconds
        ) from problem
    return bytes(body)


def read_document(kind: type[D], body: bytes) -> D:
    """Read a body as one of our documents.

    Raises:
        InvalidRequest: it is none; facts: where, found, allowed.
    """
    try:
        return kind.from_json(body)
    except DocumentError as problem:
        raise InvalidRequest(
            str(problem), where=problem.where, found=problem.problem, allowed=kind.SCHEMA
        ) from problem


def read_load(body: bytes) -> tuple[str, object]:
    """Read the platform's `{"model_name", "url"}`; further fields are the platform's own.

    Raises:
        InvalidRequest: no such JSON, or no usable name.
    """
    try:
        given = parse_json(body)
    except DocumentError as problem:
        raise InvalidRequest(str(problem), where=problem.where, allowed="JSON") from problem
    name = given.get("model_name") if isinstance(given, dict) else None
    if (
        not isinstance(name, str)
        or not 1 <= len(name) <= MAX_MODEL_NAME_CHARACTERS
        or not name.isprintable()
    ):
        raise InvalidRequest(
            f"model_name: 1 to {MAX_MODEL_NAME_CHARACTERS} printable characters are needed",
            where="model_name",
            allowed="printable text",
        )
    return name, given.get("url")


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"at most {max_bytes:,} bytes are read", allowed_bytes=max_bytes)
