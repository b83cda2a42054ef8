"""An endpoint host with a model server of the test's own, and artifacts to serve."""

from __future__ import annotations

import gzip
import io
import json
import sys
import tarfile
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atelier.contracts.clock import SystemClock
from atelier.contracts.errors import WaitError
from infra.local.endpoint import EndpointHost, EndpointSettings
from infra.local.model_server import ServerSettings
from infra.local.programs import Program
from tasks.ports import Objects
from tests.local.bench import turns_until

QUICK_SERVER = ServerSettings(
    ping_every_seconds=0.05, least_pause_seconds=0.01, grace_seconds=5, ping_seconds=5
)


def archive(members: dict[str, bytes], *, kind: bytes = tarfile.REGTYPE) -> bytes:
    """Return a tar.gz of members, all of one kind."""
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.type = kind
            member.size = len(content) if kind == tarfile.REGTYPE else 0
            member.linkname = "" if kind == tarfile.REGTYPE else "/etc/passwd"
            tar.addfile(member, io.BytesIO(content))
    return gzip.compress(body.getvalue(), mtime=0)


def artifact(words: str, *, size: int = 10) -> bytes:
    """Return an artifact whose card says `words`."""
    return archive({"adapter.json": words.encode(), "adapter.safetensors": b"x" * size})


@dataclass
class EndpointBench:
    folder: Path
    objects: Objects
    stop: threading.Event = field(default_factory=threading.Event)
    hosts: list[EndpointHost] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def publish(self, target: str, words: str | None = None, *, size: int = 10) -> None:
        self.objects.put(f"artifacts/{target}", artifact(words or target, size=size))

    def host(self, *, rooms: int = 8, server: ServerSettings = QUICK_SERVER, **more: Any):
        """Start a host whose server has room for so many models; wait until it is in service."""
        host = self.idle_host(rooms=rooms, server=server, **more)
        thread = threading.Thread(target=host.serve, args=(self.stop,))
        thread.start()
        self.threads.append(thread)
        assert host.wait_ready(20)
        return host

    def idle_host(self, *, rooms: int = 8, server: ServerSettings = QUICK_SERVER, **more: Any):
        host = EndpointHost(
            folder=self.folder / "endpoint",
            log=self.folder / "logs/endpoint.log",
            objects=self.objects,
            program=Program(
                command=(
                    sys.executable,
                    "-I",
                    str(Path(__file__).with_name("model_program.py")),
                    str(rooms),
                    "serve",
                ),
                working_directory=self.folder,
                environment={"PATH": "/usr/bin:/bin"},
            ),
            clock=SystemClock(),
            settings=EndpointSettings(server=server, tick_seconds=0.01, **more),
        )
        self.hosts.append(host)
        return host

    def close(self) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def log(self) -> list[str]:
        return (self.folder / "logs/endpoint.log").read_text().splitlines()


def ask(host: EndpointHost, target: str, **given: Any) -> dict[str, Any]:
    """Invoke a target model and return its answer's document."""
    return json.loads(host.invoke(target, json.dumps(given).encode()) or b"{}")


def ask_in_the_end(host: EndpointHost, target: str) -> dict[str, Any]:
    """Ask until the model answers, however short the endpoint's patience is."""
    answers: list[dict[str, Any]] = []

    def once() -> None:
        with suppress(WaitError):
            answers.append(ask(host, target))

    turns_until(once, lambda: bool(answers))
    return answers[0]


def wait(holds) -> None:
    turns_until(lambda: None, holds)
