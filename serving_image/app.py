"""The doors: SageMaker's multi-model contract and `/invocations`, as one HTTP application.

    GET    /ping                    200 when an image could be made, else 503
    POST   /models                  stage the adapter unpacked at a url under a name
    GET    /models                  names that are loaded, in pages
    GET    /models/{name}           one of them
    DELETE /models/{name}           unload: answers once nobody draws with it and its memory is free
    POST   /models/{name}/invoke    draw with it
    POST   /invocations             draw with an artifact of object storage

Source: sagemaker/latest/dg `mms-container-apis`, `your-algorithms-inference-code`. A `name` is the
platform's opaque id; the caller's TargetModel is a header and is only logged.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from atelier.contracts import logs
from atelier.contracts.clock import Clock
from atelier.contracts.container import TARGET_MODEL_HEADER
from atelier.contracts.errors import (
    AtelierError,
    InvalidRequest,
    NotFound,
    ServiceUnavailable,
)
from atelier.contracts.generation import GenerateRequest, GenerateResponse, InvocationRequest
from serving_image import pictures
from serving_image.bodies import read_body, read_document, read_load
from serving_image.engine import Engine
from serving_image.jobs import Drawn, Job
from serving_image.loading import Loading
from serving_image.refusals import Refused, answer_to
from serving_image.residency import AdapterKey, Door, Residency
from serving_image.settings import ServeSettings

log = logging.getLogger("atelier.serving.doors")

CUSTOM_ATTRIBUTES_HEADER = "X-Amzn-SageMaker-Custom-Attributes"
CLIENT_GONE = 499
"""Nobody reads this status; logs do (nginx's number for it)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """What the routes work with."""

    engine: Engine
    residency: Residency
    loading: Loading
    settings: ServeSettings
    clock: Clock

    # models

    async def ping(self, _: Request) -> Response:
        """Say whether an image could be made; never waits for the engine."""
        return Response(status_code=200 if self.engine.healthy else 503)

    async def load(self, request: Request) -> Response:
        """Stage an adapter."""
        name, url = read_load(await self._body(request))
        began = self.clock.monotonic_seconds()
        key = await self.loading.load_folder(name, url)
        seconds = self.clock.monotonic_seconds() - began
        log.info("loaded %r from %r in %.3f s", name, url, seconds)
        return _json(self._model(key))

    async def list(self, request: Request) -> Response:
        """List what is loaded, by name."""
        after = _read_token(request.query_params.get("next_page_token"))
        limit = self.settings.page_models
        page, more = self.residency.page(Door.PLATFORM, after=after, limit=limit)
        answer: dict[str, object] = {
            "models": [{"modelName": m.key.name, "modelUrl": m.source} for m in page]
        }
        if more:
            answer["nextPageToken"] = _write_token(page[-1].key.name)
        return _json(answer)

    async def describe(self, request: Request) -> Response:
        """Tell of one loaded model."""
        return _json(self._model(_key(request)))

    async def unload(self, request: Request) -> Response:
        """Unload, and answer when the memory is free: rows in flight finish first."""
        key = _key(request)
        await asyncio.wrap_future(self.engine.unload(key))
        log.info("unloaded %r", key.name)
        return _json({"modelName": key.name})

    async def residents(self, _: Request) -> Response:
        """Tell who holds a slot or is in use: for whoever looks after the endpoint."""
        held = [
            {"name": r.key.name, "slot": r.slot, "uses": r.uses, "pins": r.pins}
            for r in self.residency.all()
            if r.slot is not None or r.uses
        ]
        return _json({"slots": self.settings.slots, "adapters": held})

    # images

    async def invoke(self, request: Request) -> Response:
        """Draw with a loaded model."""
        wanted = read_document(GenerateRequest, await self._body(request))
        return await self._draw(request, self.engine.submit(_key(request), wanted))

    async def invocations(self, request: Request) -> Response:
        """Draw with an artifact from object storage."""
        wanted = read_document(InvocationRequest, await self._body(request))
        key = await self.loading.load_artifact(wanted.artifact, wanted.adapter_digest)
        return await self._draw(request, self.engine.submit(key, wanted.request))

    async def _draw(self, request: Request, job: Job) -> Response:
        """Wait for a job's images, unless the client goes away or the time is up."""
        gone = asyncio.create_task(_client_gone(request))
        drawn = asyncio.wrap_future(job.result)
        either: set[asyncio.Future[Any]] = {gone, drawn}
        try:
            await asyncio.wait(
                either,
                timeout=self.settings.answer_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if drawn.done():
                return await self._answer(job, drawn.result())
            if gone.done():
                log.info("client gone: owner %s", job.card.owner)
                return Response(status_code=CLIENT_GONE)
            raise ServiceUnavailable(
                f"no image after {self.settings.answer_seconds:g} s",
                do="Ask for fewer images or denoising steps, or try again later.",
                retry_after_seconds=10,
            )
        finally:
            gone.cancel()
            if not drawn.done():
                drawn.cancel()  # nobody is left to be told how the job ends
                self.engine.abandon(job)

    async def _answer(self, job: Job, drawn: Drawn) -> Response:
        wanted = job.request
        images = await asyncio.to_thread(
            pictures.encode_all, drawn.pictures, wanted.format, first_seed=wanted.seed
        )
        seconds = self.clock.monotonic_seconds() - drawn.began_at
        response = GenerateResponse(
            images=images,
            format=wanted.format,
            width=job.width,
            height=job.height,
            base=job.card.base,
            adapter_digest=job.card.file_digest,
            seconds=round(seconds, 4),
        )
        log.info(
            "drew %d of owner %s in %.3f s, %d denoising steps",
            wanted.count,
            job.card.owner,
            seconds,
            wanted.denoising_steps,
        )
        return Response(response.to_json(), media_type="application/json")

    async def _body(self, request: Request) -> bytes:
        return await read_body(
            request,
            max_bytes=self.settings.body_bytes,
            timeout_seconds=self.settings.body_seconds,
        )

    def _model(self, key: AdapterKey) -> dict[str, str]:
        found = self.residency.find(key)
        return {"modelName": found.key.name, "modelUrl": found.source}


class _Named(FastAPI):
    """FastAPI whose log lines name the request and the model that they are about."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Bind what the platform's headers tell of an invocation."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        headers = Headers(scope=scope)
        with logs.about(
            request_id=logs.read_attributes(headers.get(CUSTOM_ATTRIBUTES_HEADER, "")),
            model=headers.get(TARGET_MODEL_HEADER, "")[:1024],
        ):
            await super().__call__(scope, receive, send)


def create_app(doors: Doors, *, closed: Callable[[], object] = lambda: None) -> FastAPI:
    """Return the application; `closed` is called after the last answer, before the process ends."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(closed)

    app = _Named(lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None)
    # A name is opaque: it may hold what a path separates, so the last route takes all of it.
    for method, path, handler in (
        ("GET", "/ping", doors.ping),
        ("POST", "/models", doors.load),
        ("GET", "/models", doors.list),
        ("GET", "/residency", doors.residents),
        ("POST", "/models/{name:path}/invoke", doors.invoke),
        ("GET", "/models/{name:path}", doors.describe),
        ("DELETE", "/models/{name:path}", doors.unload),
        ("POST", "/invocations", doors.invocations),
    ):
        app.router.add_route(path, handler, methods=[method])
    app.add_exception_handler(AtelierError, _refuse)
    app.add_exception_handler(Refused, _refuse)
    app.add_exception_handler(HTTPException, _refuse_route)
    app.add_exception_handler(ClientDisconnect, _note_gone)
    app.add_exception_handler(Exception, _refuse)
    return app


async def _refuse(request: Request, problem: Exception) -> Response:
    answer = answer_to(problem)
    # The message stays out of the log: it may quote what a person wrote.
    log.info(
        "%d to %s %r: %s",
        answer.status,
        request.method,
        request.url.path[:200],
        type(problem).__name__,
    )
    return Response(answer.body, answer.status, answer.headers, "application/json")


async def _note_gone(request: Request, _: Exception) -> Response:
    log.info("client gone while it sent to %r", request.url.path)
    return Response(status_code=CLIENT_GONE)


async def _refuse_route(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, HTTPException)  # noqa: S101 - registered for it
    if problem.status_code == 404:
        return await _refuse(
            request, NotFound(f"no such path: {request.url.path[:200]!r}", kind="path")
        )
    told = InvalidRequest(f"{request.method} is not allowed here", where="method")
    answer = answer_to(told)
    return Response(answer.body, problem.status_code, problem.headers, "application/json")


async def _client_gone(request: Request) -> None:
    """Return when the client closed its connection; the body was read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _key(request: Request) -> AdapterKey:
    return AdapterKey(Door.PLATFORM, str(request.path_params["name"]))


def _json(value: object) -> Response:
    return Response(json.dumps(value), media_type="application/json")


def _write_token(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()


def _read_token(token: str | None) -> str:
    if token is None:
        return ""
    try:
        return base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True).decode()
    except (ValueError, binascii.Error) as problem:
        raise InvalidRequest(
            "next_page_token is none of ours", where="next_page_token", allowed="a nextPageToken"
        ) from problem
