"""The local endpoint: the platform's half of SageMaker's multi-model contract.

    invoke(target model)
      → download and unpack its artifact        once, kept on disk
      → POST /models                            one load per model at a time;
                                                507: unload the least recently used, again
      → POST /models/<id>/invoke                404: load again; 507: unload others, once again

Sources: sagemaker/latest/dg `multi-model-endpoints`, `mms-container-apis`,
`invoke-multi-model-endpoint`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from atelier.contracts.clock import Clock
from atelier.contracts.container import (
    INVOKE_SECONDS,
    LOAD_SECONDS,
    ML_ROOT_VARIABLE,
    TARGET_MODEL_HEADER,
)
from atelier.contracts.errors import (
    AtelierError,
    InvalidRequest,
    ModelNotReady,
    ServiceUnavailable,
    Throttled,
)
from infra.local.model_disk import ModelDisk, model_id
from infra.local.model_server import ModelServer, ServerSettings
from infra.local.programs import Program, end_strays
from tasks.ports import Objects

NO_MEMORY = 507
CUSTOM_ATTRIBUTES_HEADER = "X-Amzn-SageMaker-Custom-Attributes"
_RELOADS = 3


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """The endpoint's limits.

    Attributes:
        name: what InvokeEndpoint calls it.
        invoke_seconds: an invocation is answered within so much, loading included.
        load_seconds: loading may go on so long.
        start_wait_seconds: how long an invocation waits for a server that is starting.
        parallel_loads: models that are loaded at the same time.
        disk_bytes: unpacked artifacts that are kept.
        tick_seconds: how often the supervisor looks.
        server: how the server is watched.
    """

    name: str = "atelier"
    invoke_seconds: float = INVOKE_SECONDS
    load_seconds: float = LOAD_SECONDS
    start_wait_seconds: float = 30.0
    parallel_loads: int = 4
    disk_bytes: int = 4 * 1024**3
    tick_seconds: float = 0.05
    server: ServerSettings = field(default_factory=ServerSettings)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the container answered, whatever its status."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def ok(self) -> bool:
        """A 2xx status."""
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        """The body as text, for people."""
        return self.body.decode("utf-8", errors="replace")


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


class _Refused(Exception):
    """The container would not load a model; carries its answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.text[:200])
        self.answer = answer


@dataclass(eq=False, slots=True)
class _Model:
    """A target model as the endpoint knows it.

    Attributes:
        loaded_in: the server's generation that has it, 0 for none.
        in_flight: invocations that use it now.
        used: counts up with every use of any model.
        loading: the load under way, if any.
        handling: held while the container is told to load or unload it.
    """

    target: str
    name: str
    loaded_in: int = 0
    in_flight: int = 0
    used: int = 0
    loading: Future[None] | None = None
    handling: threading.Lock = field(default_factory=threading.Lock)


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
        # The platform's own half talks to loopback only, whatever proxies a shell has set.
        self._http = httpx.Client(
            trust_env=False,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=32),
        )
        self._disk = ModelDisk(
            ml_root / "models", objects=objects, max_bytes=self.settings.disk_bytes
        )
        self._server = ModelServer(
            program,
            ml_root=ml_root,
            log=log,
            http=self._http,
            clock=clock,
            settings=self.settings.server,
        )
        self._models: dict[str, _Model] = {}
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._loader = ThreadPoolExecutor(
            self.settings.parallel_loads, thread_name_prefix="model-load"
        )
        self._calls_under_way = 0
        self._changes = 0
        self._uses = 0
        self._invocations = 0
        self._loads = 0
        self._unloads = 0

    # the API

    def invoke(
        self,
        target_model: str,
        body: bytes,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> bytes:
        """Invoke one target model and return the response's body; see the port."""
        answer = self.answer(target_model, body, content_type=content_type, accept=accept)
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
        made_room = False
        for _ in range(_RELOADS):
            try:
                with self._in_use(target_model, deadline) as model:
                    answer = self._post_invocation(model, body, headers, deadline)
            except _Refused as refused:
                return refused.answer
            if answer.status == httpx.codes.NOT_FOUND:
                model.loaded_in = 0
            elif answer.status == NO_MEMORY and not made_room:
                made_room = True
                self._unload_others(model)
            else:
                return answer
        raise ServiceUnavailable(f"the model server keeps losing {target_model}")

    def state(self) -> EndpointState:
        """Return what an operator wants to know."""
        with self._lock:
            return EndpointState(
                in_service=self._server.in_service,
                since=self._created_at,
                restarts=max(0, self._server.generation - 1),
                loaded=tuple(model.target for model in self._loaded()),
                loads=self._loads,
                unloads=self._unloads,
                invocations=self._invocations,
                disk_bytes=self._disk.used_bytes,
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
                self.tick()
        finally:
            self.close()

    def tick(self) -> None:
        """Give the server's supervision one turn."""
        self._server.tick()

    def close(self) -> None:
        """Stop the server; loads under way end with it."""
        self._server.close()
        self._loader.shutdown(wait=True, cancel_futures=True)
        self._http.close()

    # using a model

    @contextmanager
    def _in_use(self, target_model: str, deadline: float) -> Iterator[_Model]:
        """Give a model that is loaded and stays so for the duration."""
        model = self._acquire(target_model, deadline)
        try:
            yield model
        finally:
            with self._changed:
                model.in_flight -= 1
                self._changed.notify_all()

    def _acquire(self, target_model: str, deadline: float) -> _Model:
        while True:
            generation = self._in_service(deadline)
            with self._lock:
                model = self._models.get(target_model)
                if model is None:
                    model = _Model(target_model, model_id(target_model))
                    self._models[target_model] = model
                self._uses += 1
                model.used = self._uses
                if model.loaded_in == generation:
                    model.in_flight += 1
                    return model
                if model.loading is None:
                    model.loading = self._loader.submit(self._load, model, generation)
                loading = model.loading
            self._await_load(loading, target_model, deadline)

    def _await_load(self, loading: Future[None], target_model: str, deadline: float) -> None:
        try:
            loading.result(timeout=max(0.0, deadline - self._clock.monotonic_seconds()))
        except TimeoutError as problem:
            if loading.done():
                raise
            raise ModelNotReady(
                f"{target_model} is still loading; loading goes on", target_model=target_model
            ) from problem

    def _in_service(self, deadline: float) -> int:
        left = deadline - self._clock.monotonic_seconds()
        generation = self._server.wait_in_service(min(left, self.settings.start_wait_seconds))
        if generation is None:
            raise ServiceUnavailable(
                "the model server is not in service; it is started again by itself",
                retry_after_seconds=self.settings.server.most_pause_seconds,
            )
        return generation

    def _post_invocation(
        self, model: _Model, body: bytes, headers: Mapping[str, str], deadline: float
    ) -> Answer:
        with self._lock:
            self._invocations += 1
        left = max(0.001, deadline - self._clock.monotonic_seconds())
        return self._call(
            "POST", f"/models/{model.name}/invoke", seconds=left, content=body, headers=headers
        )

    # loading and unloading

    def _load(self, model: _Model, generation: int) -> None:
        try:
            with model.handling:
                folder = self._disk.fetch(model.target, in_use=self._is_needed)
                self._post_model(model, folder, generation)
        except BaseException:
            with self._lock:
                if model.in_flight == 0:
                    self._models.pop(model.target, None)
            raise
        finally:
            with self._changed:
                model.loading = None
                self._changed.notify_all()

    def _post_model(self, model: _Model, folder: Path, generation: int) -> None:
        """Have the container load a model, making room as long as it has none."""
        deadline = self._clock.monotonic_seconds() + self.settings.load_seconds
        document = {"model_name": model.name, "url": str(folder)}
        while True:
            left = max(0.001, deadline - self._clock.monotonic_seconds())
            with self._moving():
                changes = self._changes
                answer = self._call("POST", "/models", seconds=left, json=document)
                if answer.ok or answer.status == httpx.codes.CONFLICT:
                    with self._lock:
                        model.loaded_in = generation
                        self._loads += 1
                        self._changes += 1
                    return
            if answer.status != NO_MEMORY:
                raise _Refused(answer)
            if not self._make_room(model, changes, deadline):
                raise ServiceUnavailable(f"the model server has no room for {model.target}")

    def _make_room(self, model: _Model, changes: int, deadline: float) -> bool:
        """Make it worth while to try again; False when there is no room to be had.

        Unload the least recently used model that nobody uses. While all are in use, or others are
        about to load or unload, wait. If anything has changed since `changes`, there is room or
        there is something to unload by now.
        """
        with self._changed:
            while self._changes == changes:
                others = [m for m in self._loaded() if m is not model]
                idle = [m for m in others if m.in_flight == 0]
                if idle:
                    victim = min(idle, key=lambda m: m.used)
                    victim.loaded_in = 0
                    break
                left = deadline - self._clock.monotonic_seconds()
                if left <= 0 or not (others or self._calls_under_way):
                    return False
                self._changed.wait(min(left, 1.0))
            else:
                return True
        self._unload(victim)
        return True

    def _unload_others(self, model: _Model) -> None:
        with self._lock:
            idle = [m for m in self._loaded() if m.in_flight == 0 and m is not model]
            for other in idle:
                other.loaded_in = 0
        for other in idle:
            self._unload(other)

    def _unload(self, model: _Model) -> None:
        with model.handling, self._moving():
            self._call("DELETE", f"/models/{model.name}", seconds=self.settings.load_seconds)
            with self._lock:
                self._unloads += 1
                self._changes += 1
                if model.in_flight == 0 and model.loading is None:
                    self._models.pop(model.target, None)

    @contextmanager
    def _moving(self) -> Iterator[None]:
        """Count a call that changes what the container holds while it is under way."""
        with self._lock:
            self._calls_under_way += 1
        try:
            yield
        finally:
            with self._changed:
                self._calls_under_way -= 1
                self._changed.notify_all()

    def _loaded(self) -> list[_Model]:
        """Return what the present server has loaded; called with the lock held."""
        present = self._server.generation
        return [m for m in self._models.values() if m.loaded_in == present and m.loading is None]

    def _is_needed(self, name: str) -> bool:
        with self._lock:
            return any(
                m.name == name and (m.loaded_in or m.in_flight or m.loading)
                for m in self._models.values()
            )

    def _call(self, method: str, path: str, *, seconds: float, **more: Any) -> Answer:
        """Ask the server; its answer, whatever the status.

        Raises:
            ServiceUnavailable: none came.
        """
        try:
            answer = self._http.request(method, self._server.url + path, timeout=seconds, **more)
        except httpx.TimeoutException as problem:
            raise ServiceUnavailable(
                f"the model server did not answer {method} within {seconds:.0f} s", timed_out=True
            ) from problem
        except (httpx.HTTPError, RuntimeError) as problem:
            # RuntimeError: the client was closed meanwhile, the platform is going down.
            raise ServiceUnavailable(f"the model server broke off: {problem}") from problem
        return Answer(answer.status_code, answer.content, dict(answer.headers))


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
    facts = {k: v for k, v in facts.items() if k != "message"} if isinstance(facts, dict) else {}
    facts["original_status"] = answer.status
    if "error" in told:
        facts["container_error"] = told["error"]
    if answer.status == httpx.codes.TOO_MANY_REQUESTS:
        after = answer.headers.get("retry-after", "1")
        facts["retry_after_seconds"] = float(after) if after.isdecimal() else 1.0
        return Throttled(message, **{**facts, "do": do})
    kind = InvalidRequest if answer.status < 500 else ServiceUnavailable
    return kind(message, **{**facts, "do": do})
