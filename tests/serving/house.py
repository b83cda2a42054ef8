"""A whole model server in the test's process, all real but the drawer and the sockets."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from starlette.testclient import TestClient

from atelier.contracts.clock import SystemClock
from atelier.contracts.generation import GenerateRequest
from atelier.objects import FileObjects
from serving_image.app import Doors, create_app
from serving_image.drawer import Drawer
from serving_image.engine import Engine, EngineState
from serving_image.loading import Loading
from serving_image.residency import Residency
from serving_image.settings import MEBIBYTE, ServeSettings
from tests.serving.artifacts import files_of, folder_with

SETTINGS = ServeSettings(slots=2, most_rows=4, queue_rows=8, host_bytes=MEBIBYTE, page_models=3)


class House:
    def __init__(
        self,
        folder: Path,
        drawer: Drawer,
        *,
        open_drawer: Callable[[], Drawer] | None = None,
        stored: bool = True,
        **settings: Any,
    ) -> None:
        self.folder = folder
        self.objects = folder / "objects"
        self.settings = replace(SETTINGS, **settings)
        self.clock = SystemClock()
        self.residency = Residency(slots=self.settings.slots, host_bytes=self.settings.host_bytes)
        self.engine = Engine(
            open_drawer=open_drawer or (lambda: drawer),
            residency=self.residency,
            clock=self.clock,
            most_rows=self.settings.most_rows,
            queue_rows=self.settings.queue_rows,
            stuck_seconds=self.settings.stuck_seconds,
        )
        loading = Loading(
            residency=self.residency,
            drawer=lambda: self.engine.drawer,
            objects=FileObjects(self.objects) if stored else None,
        )
        doors = Doors(
            engine=self.engine,
            residency=self.residency,
            loading=loading,
            settings=self.settings,
            clock=self.clock,
        )
        self.client = TestClient(create_app(doors), raise_server_exceptions=False)
        self.background = ThreadPoolExecutor(max_workers=16)

    def __enter__(self) -> Self:
        self.client.__enter__()
        self.engine.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.engine.stop(5)
        self.background.shutdown()
        self.client.__exit__(kind, problem, trace)

    def ready(self) -> House:
        assert self.engine.wait_until_started(20) is EngineState.READY
        return self

    def load(self, name: str, owner: str, **changes: Any) -> Any:
        self.ready()
        url = self.folder / "models" / name.replace("/", "_") / "model"
        if not url.exists():
            folder_with(url, files_of(owner, **changes))
        return self.client.post("/models", json={"model_name": name, "url": str(url)})

    def invoke(self, name: str, owner: str, **wanted: Any) -> Any:
        return self.client.post(f"/models/{name}/invoke", json=request_of(owner, **wanted))

    def put(self, path: str, body: bytes) -> None:
        file = self.objects / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(body)

    def invoke_artifact(self, path: str, digest: str, owner: str, **wanted: Any) -> Any:
        request = request_of(owner, **wanted)
        del request["schema"]
        given = {"schema": "atelier.invocation/1", "artifact": path, "adapter_digest": digest}
        return self.client.post("/invocations", json={**given, "request": request})

    def invoke_later(self, name: str, owner: str, **wanted: Any) -> Future[Any]:
        return self.background.submit(self.invoke, name, owner, **wanted)


def until(holds: Callable[[], object]) -> None:
    """Wait until something holds that others bring about."""
    pause = threading.Event()
    for _ in range(2000):
        if holds():
            return
        pause.wait(0.01)
    raise AssertionError("it did not come to hold within 20 s")


def request_of(owner: str, **wanted: Any) -> dict[str, Any]:
    """Only what is given on top of a valid request, so that a wrong value reaches the server."""
    given = GenerateRequest(prompt="zorp creature", owner=owner, denoising_steps=3).to_dict()
    return {**given, **wanted}
