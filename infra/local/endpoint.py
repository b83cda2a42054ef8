"""The local endpoint: the platform's half of SageMaker's multi-model contract.

    invoke(target model)
      → download and unpack its artifact        once, kept on disk
      → POST /models                            one load per model at a time;
                                                507: unload the least recently used, again
      → POST /models/<id>/invoke                404: load again; 507: unload others; once each

A server that is gone, or goes in mid-call, is waited for while the invocation's time lasts: it is
started again by itself. A call that may have begun is repeated once, as it may be what ended it.

Sources: sagemaker/latest/dg `multi-model-endpoints`, `mms-container-apis`,
`invoke-multi-model-endpoint`.
"""

from __future__ import annotations

import itertools
import json
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from atelier.contracts import logs
from atelier.contracts.clock import Clock
from atelier.contracts.container import (
    INVOKE_SECONDS,
    LOAD_SECONDS,
    ML_ROOT_VARIABLE,
    TARGET_MODEL_HEADER,
)
from atelier.contracts.errors import (
    AdapterRejected,
    AtelierError,
    InvalidRequest,
    NotFound,
    ServiceUnavailable,
    Throttled,
)
from infra.local.endpoint_books import Books, Guests
from infra.local.loaded_models import NO_MEMORY, LoadedModels, LoadRefused
from infra.local.model_disk import ModelDisk
from infra.local.model_server import Answer, ModelServer, ServerSettings
from infra.local.programs import Program, end_strays
from tasks.ports import Objects

logger = logging.getLogger(__name__)

MOST_REPEATS = 1
CUSTOM_ATTRIBUTES_HEADER = "X-Amzn-SageMaker-Custom-Attributes"
RESIDENCY_PATH = "/residency"
RESIDENCY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """The endpoint's limits.

    Attributes:
        name: what InvokeEndpoint calls it.
        invoke_seconds: an invocation is answered within so much, loading included.
        load_seconds: loading may go on so long.
        start_wait_seconds: how long an invocation waits for a server that is starting or coming
            back, within `invoke_seconds`.
        parallel_loads: models that are loaded at the same time.
        disk_bytes: unpacked artifacts that are kept.
        tick_seconds: how often the supervisor looks.
        server: how the server is watched.
    """

    name: str = "atelier"
    invoke_seconds: float = INVOKE_SECONDS
    load_seconds: float = LOAD_SECONDS
    start_wait_seconds: float = INVOKE_SECONDS
    parallel_loads: int = 4
    disk_bytes: int = 4 * 1024**3
    tick_seconds: float = 0.05
    server: ServerSettings = field(default_factory=ServerSettings)


@dataclass(frozen=True, slots=True)
class EndpointState:
    """What an operator wants to know of the endpoint."""

    in_service: bool
    since: datetime
    restarts: int
    loaded: tuple[str, ...]
    loads: int
    unloads: int
    invocations: int
    disk_bytes: int


class EndpointHost:
    """One instance behind the shared endpoint; implements the port `Endpoint`."""

    def __init__(
        self,
        *,
        folder: Path,
        log: Path,
        objects: Objects,
        program: Program,
        clock: Clock,
        settings: EndpointSettings | None = None,
    ) -> None:
        """Prepare an empty instance; nothing runs before `serve` or `tick`.

        Args:
            folder: the server's `/opt/ml` and the unpacked models; emptied.
            log: what the server prints.
            objects: the bucket with the artifacts.
            program: what the serving image starts with `serve`.
            clock: time.
            settings: limits.
        """
        self.settings = settings or EndpointSettings()
        self._clock = clock
        self._created_at = clock.now()
        ml_root = folder.absolute() / "server"
        end_strays((), variable=ML_ROOT_VARIABLE, folder=folder.absolute())
        self._disk = ModelDisk(
            ml_root / "models", objects=objects, max_bytes=self.settings.disk_bytes
        )
        self._server = ModelServer(
            program,
            ml_root=ml_root,
            log=log,
            clock=clock,
            settings=self.settings.server,
        )
        self._models = LoadedModels(
            self._server,
            self._disk,
            clock=clock,
            load_seconds=self.settings.load_seconds,
            start_wait_seconds=self.settings.start_wait_seconds,
            parallel_loads=self.settings.parallel_loads,
        )
        self._invocations = itertools.count(1)
        self._guests = Guests()
        self._invoked = 0

    # the API

    def invoke(
        self,
        target_model: str,
        body: bytes,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> bytes:
        """Invoke one target model and return the response's body; see the port.

        The container is told the request id under which this is logged here.
        """
        request_id = logs.subject().get("request_id")
        answer = self.answer(
            target_model,
            body,
            content_type=content_type,
            accept=accept,
            custom_attributes=logs.write_attributes(request_id) if request_id else None,
        )
        if answer.ok:
            return answer.body
        raise _error_of(answer)

    def answer(
        self,
        target_model: str,
        body: bytes,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
        custom_attributes: str | None = None,
    ) -> Answer:
        """Invoke one target model and return what the container answered, an error, too.

        Raises:
            ModelNotReady, NotFound, ServiceUnavailable: as the port says.
            AdapterRejected: the artifact does not unpack.
        """
        deadline = self._clock.monotonic_seconds() + self.settings.invoke_seconds
        headers = {
            "Content-Type": content_type,
            "Accept": accept,
            TARGET_MODEL_HEADER: target_model.encode("ascii", errors="replace").decode(),
        }
        if custom_attributes is not None:
            headers[CUSTOM_ATTRIBUTES_HEADER] = custom_attributes
        remedies = {
            httpx.codes.NOT_FOUND: self._models.lost,
            NO_MEMORY: self._models.unload_others,
        }
        repeats = MOST_REPEATS
        while True:
            try:
                with (
                    self._guests,
                    self._models.in_use(target_model, deadline=deadline) as model,
                ):
                    self._invoked = next(self._invocations)
                    answer = self._server.call(
                        "POST",
                        f"/models/{model.name}/invoke",
                        seconds=max(0.001, deadline - self._clock.monotonic_seconds()),
                        content=body,
                        headers=headers,
                    )
                # Each remedy is tried once; what the container says then is its answer.
                remedy = remedies.pop(answer.status, None)
                if remedy is None:
                    return answer
                remedy(model)
            except LoadRefused as refused:
                return refused.answer
            except ServiceUnavailable as problem:
                repeats -= bool(problem.facts.get("reached"))
                late = self._clock.monotonic_seconds() >= deadline
                if "broke_off" not in problem.facts or repeats < 0 or late:
                    raise

    def state(self) -> EndpointState:
        """Return what an operator wants to know."""
        return EndpointState(
            in_service=self._server.in_service,
            since=self._created_at,
            restarts=max(0, self._server.generation - 1),
            loaded=self._models.targets(),
            loads=self._models.loads,
            unloads=self._models.unloads,
            invocations=self._invoked,
            disk_bytes=self._disk.used_bytes,
        )

    def pid(self) -> int | None:
        """Return the model server's process id, or None while none runs."""
        return self._server.pid

    def books(self) -> Books:
        """Return what is held now, and for how many invocations."""
        # Before and after: who comes or goes meanwhile is counted as under way.
        before, uses, after = self._guests.count, self._models.uses(), self._guests.count
        return Books(
            in_service=self._server.in_service,
            uses=uses,
            under_way=max(before, after),
            disk_bytes=self._disk.used_bytes,
            disk_limit_bytes=self.settings.disk_bytes,
            residency=self._residency(),
        )

    def wait_ready(self, seconds: float) -> bool:
        """Wait until the server is in service; False after `seconds`."""
        return self._server.wait_in_service(seconds) is not None

    # the supervisor

    def serve(self, stop: threading.Event) -> None:
        """Keep the server in service until `stop` is set, then stop it.

        Call it in one thread that lives as long as the platform: the kernel ends the server with
        the thread that started it.
        """
        try:
            while not stop.wait(self.settings.tick_seconds):
                try:
                    self.tick()
                except Exception:
                    # The server and what it has loaded stay; only this look at it failed.
                    logger.exception("the model server could not be looked after just now")
                    stop.wait(1.0)
        finally:
            self.close()

    def _residency(self) -> Mapping[str, Any] | None:
        """Return what the server says of its slots; only our own says anything."""
        try:
            answer = self._server.call("GET", RESIDENCY_PATH, seconds=RESIDENCY_SECONDS)
            told = json.loads(answer.body) if answer.ok else None
        except (ServiceUnavailable, ValueError):
            return None
        return told if isinstance(told, dict) and set(told) == {"slots", "adapters"} else None

    def tick(self) -> None:
        """Give the server's supervision one turn."""
        self._server.tick()

    def close(self) -> None:
        """Stop the server; loads under way end with it."""
        self._server.close()
        self._models.close()


def _error_of(answer: Answer) -> AtelierError:
    """Return the port's error for a container's refusal, in the container's own words."""
    try:
        told = json.loads(answer.body)
    except ValueError:
        told = None
    told = told if isinstance(told, dict) else {"message": answer.text[:1000]}
    message = str(told.get("message") or f"the model server answered {answer.status}")
    do = told.get("do") if isinstance(told.get("do"), str) else None
    facts = told.get("facts")
    facts = facts if isinstance(facts, dict) else {}
    facts = {name: fact for name, fact in facts.items() if name not in {"self", "message", "do"}}
    facts["original_status"] = answer.status
    if "error" in told:
        facts["container_error"] = told["error"]
    if answer.status == httpx.codes.TOO_MANY_REQUESTS:
        after = answer.headers.get("retry-after", "1")
        facts["retry_after_seconds"] = float(after) if after.isdecimal() else 1.0
        return Throttled(message, **{**facts, "do": do})
    if answer.status == httpx.codes.NOT_FOUND:
        return NotFound(message, **{**facts, "do": do})
    if facts.get("container_error") == AdapterRejected.name():
        return AdapterRejected(message, **{**facts, "do": do})
    kind = InvalidRequest if answer.status < 500 else ServiceUnavailable
    return kind(message, **{**facts, "do": do})
