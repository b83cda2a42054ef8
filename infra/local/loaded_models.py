"""Which models the container holds: loaded once, kept while used, unloaded when room is needed.

    POST /models         200 or 409: loaded; 507: unload the least recently used, and again
    DELETE /models/<id>  only of a model that nobody uses

Source: sagemaker/latest/dg `mms-container-apis`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from atelier.contracts.clock import Clock
from atelier.contracts.errors import ModelNotReady, ServiceUnavailable
from infra.local.model_disk import ModelDisk, model_id
from infra.local.model_server import Answer, ModelServer

NO_MEMORY = 507


class LoadRefused(Exception):
    """The container would not load a model; carries its answer."""

    def __init__(self, answer: Answer) -> None:
        """Keep the answer."""
        super().__init__(answer.text[:200])
        self.answer = answer


@dataclass(eq=False, slots=True)
class Model:
    """A target model as the endpoint knows it.

    Attributes:
        target: TargetModel.
        name: what the container calls it.
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


class LoadedModels:
    """Keeps the books of a server's models. Safe to use from many threads."""

    def __init__(
        self,
        server: ModelServer,
        disk: ModelDisk,
        *,
        clock: Clock,
        load_seconds: float,
        start_wait_seconds: float,
        parallel_loads: int,
    ) -> None:
        """Begin with none.

        Args:
            server: the container.
            disk: where artifacts are unpacked.
            clock: time.
            load_seconds: a load may take so long.
            start_wait_seconds: how long a use waits for a server that is starting.
            parallel_loads: models that are loaded at the same time.
        """
        self._server = server
        self._disk = disk
        self._clock = clock
        self._load_seconds = load_seconds
        self._start_wait_seconds = start_wait_seconds
        self._loader = ThreadPoolExecutor(parallel_loads, thread_name_prefix="model-load")
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._models: dict[str, Model] = {}
        self._uses = 0
        self._calls_under_way = 0
        self._changes = 0
        self.loads = 0
        self.unloads = 0

    def targets(self) -> tuple[str, ...]:
        """Return the target models that are loaded now."""
        with self._lock:
            return tuple(model.target for model in self._loaded())

    def uses(self) -> Mapping[str, int]:
        """Return target model → invocations that use it now, of every model that is loaded."""
        with self._lock:
            return {model.target: model.in_flight for model in self._loaded()}

    def close(self) -> None:
        """Wait for the loads under way; the server must be closed before, which ends them."""
        self._loader.shutdown(wait=True, cancel_futures=True)

    @contextmanager
    def in_use(self, target_model: str, *, deadline: float) -> Iterator[Model]:
        """Give a model that is loaded and stays so for the duration.

        Raises:
            ModelNotReady: it is not loaded by the deadline; loading goes on.
            NotFound: there is no such artifact.
            AdapterRejected: the artifact does not unpack.
            LoadRefused: the container would not load it.
            ServiceUnavailable: there is no server now, or no room in it.
        """
        model = self._acquire(target_model, deadline)
        try:
            yield model
        finally:
            with self._changed:
                model.in_flight -= 1
                self._changed.notify_all()

    def lost(self, model: Model) -> None:
        """Note that the container does not know a model any more."""
        with self._lock:
            model.loaded_in = 0

    def unload_others(self, model: Model) -> None:
        """Unload everything else that nobody uses."""
        with self._lock:
            idle = [m for m in self._loaded() if m.in_flight == 0 and m is not model]
            for other in idle:
                other.loaded_in = 0
        for other in idle:
            self._unload(other)

    def _acquire(self, target_model: str, deadline: float) -> Model:
        while True:
            generation = self._in_service(deadline)
            with self._lock:
                model = self._models.get(target_model)
                if model is None:
                    model = Model(target_model, model_id(target_model))
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

    def _in_service(self, deadline: float) -> int:
        left = deadline - self._clock.monotonic_seconds()
        generation = self._server.wait_in_service(min(left, self._start_wait_seconds))
        if generation is None:
            raise ServiceUnavailable(
                "the model server is not in service; it is started again by itself. The last time "
                f"it ended: {self._server.problem}"
            )
        return generation

    def _await_load(self, loading: Future[None], target_model: str, deadline: float) -> None:
        try:
            loading.result(timeout=max(0.0, deadline - self._clock.monotonic_seconds()))
        except TimeoutError as problem:
            if loading.done():
                raise
            raise ModelNotReady(
                f"{target_model} is still loading; loading goes on", target_model=target_model
            ) from problem

    def _load(self, model: Model, generation: int) -> None:
        try:
            with model.handling:
                kept = self._disk.holds(model.target)
                folder = self._disk.fetch(model.target, in_use=self._is_needed)
                try:
                    self._post(model, folder, generation)
                except LoadRefused:
                    # Files that were unpacked long ago may have been damaged since.
                    self._disk.drop(model.target)
                    if not kept:
                        raise
                    folder = self._disk.fetch(model.target, in_use=self._is_needed)
                    self._post(model, folder, generation)
        except BaseException:
            with self._lock:
                if model.in_flight == 0:
                    self._models.pop(model.target, None)
            raise
        finally:
            with self._changed:
                model.loading = None
                self._changed.notify_all()

    def _post(self, model: Model, folder: Path, generation: int) -> None:
        """Have the container load a model, making room as long as it has none."""
        deadline = self._clock.monotonic_seconds() + self._load_seconds
        document = {"model_name": model.name, "url": str(folder)}
        while True:
            left = max(0.001, deadline - self._clock.monotonic_seconds())
            with self._moving():
                changes = self._changes
                answer = self._server.call("POST", "/models", seconds=left, json=document)
                if answer.ok or answer.status == httpx.codes.CONFLICT:
                    with self._lock:
                        model.loaded_in = generation
                        self.loads += 1
                        self._changes += 1
                    return
            if answer.status != NO_MEMORY:
                raise LoadRefused(answer)
            if not self._make_room(model, changes, deadline):
                raise ServiceUnavailable(f"the model server has no room for {model.target}")

    def _make_room(self, model: Model, changes: int, deadline: float) -> bool:
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

    def _unload(self, model: Model) -> None:
        """Have the container forget a model that is marked so already, so that nobody takes it."""
        with model.handling, self._moving():
            self._server.call("DELETE", f"/models/{model.name}", seconds=self._load_seconds)
            with self._lock:
                self.unloads += 1
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

    def _loaded(self) -> list[Model]:
        """Return what the present server has loaded; called with the lock held."""
        present = self._server.generation
        return [m for m in self._models.values() if m.loaded_in == present and m.loading is None]

    def _is_needed(self, name: str) -> bool:
        """Tell whether a model's files, by its container name, must stay on disk."""
        with self._lock:
            return any(
                m.name == name and (m.loaded_in or m.in_flight or m.loading)
                for m in self._models.values()
            )
