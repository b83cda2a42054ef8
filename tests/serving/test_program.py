"""The container's program, started as its image starts it: the Dockerfile's files, and `serve`."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from atelier.contracts import ids
from atelier.contracts.checkpoints import ADAPTER_FILE
from atelier.contracts.settings import Targets
from atelier.lora.banked import bank_for
from atelier.lora.families import load_network
from tests.serving import dockerfile
from tests.serving.artifacts import ANN, BOB, archive_of, folder_with
from tests.serving.house import request_of
from tests.serving.real import REPOSITORY, artifact_files, weights_of

DOCKERFILE = dockerfile.read(REPOSITORY / "serving_image/Dockerfile")
START_SECONDS = 60
GRACE_SECONDS = 30


class Container:
    """The program in a process of its own, in a folder that holds what its image would hold."""

    def __init__(self, image: Path, *arguments: str, **environment: str) -> None:
        self.port = free_port()
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)
        self.process = subprocess.Popen(
            [sys.executable, *DOCKERFILE.entrypoint[1:], *(arguments or DOCKERFILE.command)],
            cwd=DOCKERFILE.moved(DOCKERFILE.workdir, image),
            env={
                "PATH": os.defpath,
                "HOME": str(image),
                **{name: DOCKERFILE.moved(v, image) for name, v in DOCKERFILE.environment.items()},
                "ATELIER_SERVE_HOST": "127.0.0.1",
                "SAGEMAKER_BIND_TO_PORT": str(self.port),
                "OMP_NUM_THREADS": "1",
                **environment,
            },
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        self.process.kill()
        self.process.wait()

    def ready(self) -> Self:
        pause = threading.Event()
        for _ in range(START_SECONDS * 20):
            assert self.process.poll() is None, "the server ended while it started"
            with suppress(httpx.TransportError):
                if self.http.get("/ping").status_code == 200:
                    return self
            pause.wait(0.05)
        raise AssertionError(f"ping did not answer 200 within {START_SECONDS} s")

    def load(self, name: str, folder: Path) -> httpx.Response:
        return self.http.post("/models", json={"model_name": name, "url": str(folder)})

    def invoke(self, name: str, owner: str, **wanted: Any) -> httpx.Response:
        return self.http.post(f"/models/{name}/invoke", json=request_of(owner, **wanted))


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return DOCKERFILE.lay_out(REPOSITORY, tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="module")
def files(image: Path) -> dict[str, bytes]:
    network = load_network(image / "base-models/tiny")
    bank = bank_for(network, Targets.ALL, slots=1, rank=4)
    return artifact_files(ANN, weights_of(bank.shapes, seed=1))


def test_an_image_serves_a_model_from_its_load_to_its_unload(
    image: Path, files: dict[str, bytes], tmp_path: Path
) -> None:
    (tmp_path / "objects/artifacts").mkdir(parents=True)
    (tmp_path / "objects/artifacts/v1.tar.gz").write_bytes(archive_of(files))
    folder = folder_with(tmp_path / "model", files)
    objects = (tmp_path / "objects").as_uri()
    with Container(image, ATELIER_OBJECTS=objects) as container:
        container.ready()
        assert container.load("a", folder).status_code == 200
        drawn = container.invoke("a", ANN)
        assert drawn.status_code == 200, drawn.text
        assert container.invoke("a", BOB).status_code == 404
        stored = container.http.post(
            "/invocations",
            json={
                "schema": "atelier.invocation/1",
                "artifact": "v1.tar.gz",
                "adapter_digest": ids.digest_of(files[ADAPTER_FILE]),
                "request": {n: v for n, v in request_of(ANN).items() if n != "schema"},
            },
        )
        assert stored.json()["images"] == drawn.json()["images"]
        assert container.http.delete("/models/a").status_code == 200
        assert container.invoke("a", ANN).status_code == 404


def test_sigterm_finishes_what_was_begun_and_ends_with_exit_code_zero(
    image: Path, files: dict[str, bytes], tmp_path: Path
) -> None:
    with Container(image) as container:
        container.ready()
        container.load("a", folder_with(tmp_path / "model", files))
        body = json.dumps(request_of(ANN, denoising_steps=60)).encode()
        with socket.create_connection(("127.0.0.1", container.port)) as client:
            head = f"POST /models/a/invoke HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n"
            client.sendall(head.encode() + b"\r\n" + body)
            # Answers on another connection say that the server has read this one by now.
            assert {container.http.get("/ping").status_code for _ in range(5)} == {200}
            container.process.send_signal(signal.SIGTERM)
            answer = b"".join(iter(lambda: client.recv(65_536), b""))
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert container.process.wait(GRACE_SECONDS) == 0


def test_a_server_without_its_base_model_ends_with_an_exit_code_that_says_so(
    image: Path, tmp_path: Path
) -> None:
    with Container(image, ATELIER_BASE_MODELS=str(tmp_path)) as container:
        assert container.process.wait(START_SECONDS) == 1


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [(["train"], {}), ([], {"SAGEMAKER_BIND_TO_PORT": "http"}), ([], {"ATELIER_BASE": "none"})],
)
def test_a_wrong_command_or_environment_ends_at_once(
    image: Path, arguments: list[str], environment: dict[str, str]
) -> None:
    with Container(image, *arguments, **environment) as container:
        assert container.process.wait(START_SECONDS) == 2


def test_the_dockerfile_declares_what_the_platform_looks_for() -> None:
    capabilities = "com.amazonaws.sagemaker.capabilities."
    assert DOCKERFILE.labels == {
        f"{capabilities}multi-models": "true",
        f"{capabilities}accept-bind-to-port": "true",
    }
    assert DOCKERFILE.entrypoint == ["python3", "-m", "serving_image.program"]
    assert DOCKERFILE.command == ["serve"]


@pytest.mark.parametrize("name", ["torch", "diffusers", "transformers", "fastapi", "uvicorn"])
def test_the_lock_pins_what_these_tests_ran_with(name: str) -> None:
    lock = (REPOSITORY / "serving_image/requirements.lock").read_text().splitlines()
    assert f"{name}=={version(name).partition('+')[0]}" in lock


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
