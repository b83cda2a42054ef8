"""The local platform's own route that shows what its endpoint holds; any of its keys opens it."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool

from app.api.given import Who
from infra.local.endpoint import EndpointHost

BOOKS_PATH = "/local/endpoint"


def add_endpoint_books(app: FastAPI, endpoint: EndpointHost) -> None:
    """Add the route."""

    async def books(_who: Who) -> dict[str, Any]:
        return (await run_in_threadpool(endpoint.books)).to_dict()

    app.add_api_route(BOOKS_PATH, books, methods=["GET"], include_in_schema=False)
