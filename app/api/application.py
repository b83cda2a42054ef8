"""The one HTTP application: the same on Lambda and on the local platform."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from app.api import models, onboardings, problems, uploads
from app.api.shapes import Health
from atelier.contracts.errors import AtelierError
from tasks.ports import Ports

DESCRIPTION = "A model of their own for every end user: upload photos, onboard, draw."


def create_app(*, ports: Ports, secret: bytes, allowed_hosts: Sequence[str] = ("*",)) -> FastAPI:
    """Return the application.

    Args:
        ports: the platform.
        secret: what API keys are signed with.
        allowed_hosts: Host headers that are answered; the local platform names loopback only, so
            that no web page can reach it under another name.
    """
    app = FastAPI(
        title="Atelier",
        version=version("atelier-personal-models"),
        description=DESCRIPTION,
        docs_url="/docs",
        redoc_url=None,
    )
    app.state.ports = ports
    app.state.secret = secret
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(allowed_hosts))
    app.add_exception_handler(AtelierError, problems.on_atelier_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.include_router(uploads.router)
    app.include_router(onboardings.router)
    app.include_router(models.router)
    app.add_api_route("/v1/health", _health, methods=["GET"], tags=["platform"])
    return app


def _health(request: Request) -> Health:
    """Say that the platform answers."""
    return Health(status="ok", version=request.app.version)


def _on_validation_error(_: Request, error: Exception) -> JSONResponse:
    """Answer a body or parameter that pydantic refused, naming the first field."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for that class
    found = [
        {"where": ".".join(str(p) for p in e["loc"][1:]) or str(e["loc"][0]), "problem": e["msg"]}
        for e in error.errors()
    ]
    detail = "; ".join(f"{f['where']}: {f['problem']}" for f in found[:5])
    return _problem(
        400,
        "InvalidRequest",
        detail,
        "Correct the named fields and send the request again.",
        fields=found,
    )


def _on_http_exception(_: Request, error: Exception) -> JSONResponse:
    """Answer what the framework refuses: unknown paths and methods."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for that class
    code = {404: "NotFound", 405: "MethodNotAllowed"}.get(error.status_code, "Refused")
    return _problem(
        error.status_code, code, str(error.detail), "GET /openapi.json lists every path and method."
    )


def _problem(status: int, code: str, detail: str, do: str, **facts: object) -> JSONResponse:
    return JSONResponse(
        problems.body(status, code, detail, do, facts),
        status_code=status,
        media_type="application/problem+json",
    )
