"""The one HTTP application: the same on Lambda and on the local platform."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version
from threading import BoundedSemaphore
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from app.api import models, onboardings, photo_reports, problems, uploads
from app.api.limits import MAX_DRAWINGS, MAX_LOOKS, TOO_LARGE_STATUS, TOO_SLOW_STATUS, BodyLimit
from app.api.reading import HostDoor
from app.api.reference import reference
from app.api.refusals import refused_field
from app.api.request_ids import call_named, random_request_id
from app.api.shapes import Health, Problem
from atelier.contracts.errors import AtelierError
from tasks.ports import Ports

DESCRIPTION = """A model of their own for every end user: upload photos, onboard, draw.

1. `POST /v1/uploads`: announce each photo's name, SHA-256 and size. The answer has a form per
   photo, and `photos`, the set's folder.
2. POST each photo to its form's `url` as multipart/form-data: the form's `fields`, then the photo
   as `file`, last.
3. `POST /v1/uploads/{upload_set}/complete`: say who consents; the photos that arrived are checked.
   `GET /v1/uploads/{upload_set}/report` says of each photo whether it is used, and why not.
4. `POST /v1/onboardings`: start with the `photos` of the first answer.
5. `GET /v1/onboardings/{onboarding}`: read until `status` is `ready`, or `failed` with a reason.
6. `POST /v1/models/{model}/images`: draw. `instance_prompt` has the words that call the subject.

Every call but the forms carries `Authorization: Bearer <key>`.
"""


MOST_FIELDS = 20
"""Fields that one refusal names."""
_SEE_THE_DOCUMENT = "GET /openapi.json lists every path and method."
_FRAMEWORK_REFUSALS = {
    400: ("InvalidRequest", "Correct the body and send the request again."),
    TOO_SLOW_STATUS: ("BodyTooSlow", "Send the whole body at once."),
    404: ("NotFound", _SEE_THE_DOCUMENT),
    405: ("MethodNotAllowed", _SEE_THE_DOCUMENT),
    TOO_LARGE_STATUS: ("BodyTooLarge", "Send less in one request."),
}


class _Application(FastAPI):
    """FastAPI that names every request, and tells in OpenAPI what every error answers with."""

    new_request_id: Callable[[], str] = staticmethod(random_request_id)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request under its id; outside of everything, a defect's answer too."""
        await call_named(super().__call__, scope, receive, send, make=self.new_request_id)

    def openapi(self) -> dict[str, Any]:
        """Return the document."""
        document = super().openapi()
        document["components"]["schemas"]["Problem"] = Problem.model_json_schema()
        return document


def create_app(*, ports: Ports, secret: bytes, allowed_hosts: Sequence[str] = ("*",)) -> FastAPI:
    """Return the application.

    Args:
        ports: the platform.
        secret: what API keys are signed with.
        allowed_hosts: Host headers that are answered; the local platform names loopback only, so
            that no web page can reach it under another name.
    """
    app = _Application(
        title="Atelier",
        version=version("atelier-personal-models"),
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.ports = ports
    app.state.secret = secret
    app.state.larger_bodies = {}
    app.state.drawing_places = BoundedSemaphore(MAX_DRAWINGS)
    app.state.looking_places = BoundedSemaphore(MAX_LOOKS)
    app.add_middleware(BodyLimit)
    app.add_middleware(HostDoor, allowed=frozenset(allowed_hosts))
    app.add_exception_handler(AtelierError, problems.on_atelier_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_defect)
    app.include_router(uploads.router)
    app.include_router(photo_reports.router)
    app.include_router(onboardings.router)
    app.include_router(models.router)
    app.add_api_route("/v1/health", health, methods=["GET"], tags=["platform"])
    app.add_api_route("/docs", reference, methods=["GET"], include_in_schema=False)
    return app


def health(request: Request) -> Health:
    """Say that the platform answers."""
    return Health(status="ok", version=request.app.version)


def _on_validation_error(_: Request, error: Exception) -> JSONResponse:
    """Answer a body or parameter that pydantic refused, naming each field."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for that class
    found = [refused_field(told) for told in error.errors()]
    return problems.answer(
        400,
        "InvalidRequest",
        "; ".join(f"{f['where']}: {f['problem']}" for f in found[:5]),
        "Correct the named fields and send the request again.",
        {"fields": found[:MOST_FIELDS], "more": max(0, len(found) - MOST_FIELDS)},
    )


def _on_http_exception(_: Request, error: Exception) -> JSONResponse:
    """Answer what the framework refuses: unknown paths and methods."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for that class
    code, do = _FRAMEWORK_REFUSALS.get(error.status_code, ("Refused", _SEE_THE_DOCUMENT))
    return problems.answer(error.status_code, code, str(error.detail), do, {})


def _on_defect(_: Request, _error: Exception) -> JSONResponse:
    """Answer what nobody expected without its inner words; they go to the log."""
    return problems.answer(
        500,
        "InternalError",
        "the platform failed in a way that it does not know",
        "Try again; if it happens again, the platform's log says why.",
        {},
    )
