"""Endpoints by platform: target models are published, and answer as the body bids them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from atelier.contracts.errors import (
    AtelierError,
    InvalidRequest,
    ModelNotReady,
    NotFound,
    ServiceUnavailable,
    Throttled,
    WaitError,
)
from infra.local.endpoint import EndpointHost
from tasks.ports import Endpoint
from tests.contracts.stages.bucket import local_bucket
from tests.fakes.services import ScriptedEndpoint
from tests.local.bench import turns_until
from tests.local.endpoint_bench import EndpointBench


class EndpointStage(Protocol):
    """An endpoint in service."""

    port: Endpoint

    def published(self) -> str:
        """Return a target model that has an artifact."""

    def absent(self) -> str:
        """Return a target model that has none."""

    def answering(self, document: object) -> bytes:
        """Return the body of an invocation that is answered with this document."""

    def refusing(self, kind: type[AtelierError], words: str) -> bytes:
        """Return the body of an invocation that the container refuses in these words."""


STATUSES: Mapping[type[AtelierError], int] = {
    InvalidRequest: 400,
    Throttled: 429,
    ServiceUnavailable: 500,
}
RETRY_AFTER_SECONDS = 7


@dataclass
class LocalEndpointStage:
    bench: EndpointBench
    port: EndpointHost
    invocations: int = 0

    def published(self) -> str:
        self.bench.publish("person.tar.gz")
        return "person.tar.gz"

    def absent(self) -> str:
        return "nobody.tar.gz"

    def answering(self, document: object) -> bytes:
        return json.dumps({"act": "answer", "status": 200, "document": document}).encode()

    def refusing(self, kind: type[AtelierError], words: str) -> bytes:
        answer = {
            "act": "answer",
            "status": STATUSES[kind],
            "document": {"message": words},
            "headers": {"Retry-After": str(RETRY_AFTER_SECONDS)} if kind is Throttled else {},
        }
        return json.dumps(answer).encode()


@dataclass
class ScriptedEndpointStage:
    port: ScriptedEndpoint = field(default_factory=ScriptedEndpoint)

    def published(self) -> str:
        return "person.tar.gz"

    def absent(self) -> str:
        self.port.refusals.append(NotFound("no artifact", kind="artifact", name="nobody.tar.gz"))
        return "nobody.tar.gz"

    def answering(self, document: object) -> bytes:
        self.port.answer = json.dumps(document).encode()
        return b"{}"

    def refusing(self, kind: type[AtelierError], words: str) -> bytes:
        facts = {"retry_after_seconds": RETRY_AFTER_SECONDS} if kind is Throttled else {}
        self.port.refusals.append(kind(words, **facts))
        return b"{}"


@contextmanager
def local_endpoint(folder: Path) -> Iterator[EndpointStage]:
    with closing(EndpointBench(folder, local_bucket(folder))) as bench:
        yield LocalEndpointStage(bench, bench.host())


@contextmanager
def scripted_endpoint(_folder: Path) -> Iterator[EndpointStage]:
    yield ScriptedEndpointStage()


@contextmanager
def loading_local(folder: Path) -> Iterator[EndpointStage]:
    with closing(EndpointBench(folder, local_bucket(folder))) as bench:
        bench.publish("person.tar.gz", "a slow model")
        # Its model takes a second to load; an invocation may take less.
        yield LocalEndpointStage(bench, bench.host(invoke_seconds=0.3))


@contextmanager
def loading_scripted(_folder: Path) -> Iterator[EndpointStage]:
    stage = ScriptedEndpointStage()
    stage.port.refusals.append(ModelNotReady("still loading"))
    yield stage


@contextmanager
def local_endpoint_down(folder: Path) -> Iterator[EndpointStage]:
    bench = EndpointBench(folder, local_bucket(folder))
    with closing(bench.idle_host(start_wait_seconds=0.01)) as host:
        yield LocalEndpointStage(bench, host)


@contextmanager
def scripted_endpoint_down(_folder: Path) -> Iterator[EndpointStage]:
    stage = ScriptedEndpointStage()
    stage.port.refusals.append(ServiceUnavailable("not in service"))
    yield stage


def invoked_in_the_end(stage: EndpointStage, target: str, body: bytes) -> bytes:
    """Invoke until the endpoint answers."""
    answers: list[bytes] = []

    def once() -> None:
        with suppress(WaitError):
            answers.append(stage.port.invoke(target, body))

    turns_until(once, lambda: bool(answers))
    return answers[0]


OpenEndpoint = Callable[[Path], AbstractContextManager[EndpointStage]]
ENDPOINTS: Mapping[str, OpenEndpoint] = {
    "local": local_endpoint,
    "scripted": scripted_endpoint,
}
LOADING_ENDPOINTS: Mapping[str, OpenEndpoint] = {
    "local": loading_local,
    "scripted": loading_scripted,
}
ENDPOINTS_DOWN: Mapping[str, OpenEndpoint] = {
    "local": local_endpoint_down,
    "scripted": scripted_endpoint_down,
}
