"""The application on the local stores, with an endpoint and executions that tests look into."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.api.application import create_app
from app.api.keys import mint
from atelier.contracts.clock import ManualClock
from atelier.contracts.errors import AlreadyExists, NotFound
from infra.local.ledger import SqliteLedger
from infra.local.notifications import LoggedNotifications
from infra.local.objects import FileObjects
from infra.local.upload_forms import hmac_signer
from tasks.ports import Execution, Ports, TaskSettings

SECRET = b"0123456789abcdef0123456789abcdef"


@dataclass
class RecordedExecutions:
    """Executions that start and then stand still."""

    started: dict[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    failed_tokens: list[tuple[str, str]] = field(default_factory=list)

    def start(self, machine: str, name: str, given: Mapping[str, Any]) -> Execution:
        before = self.started.setdefault((machine, name), given)
        if before != given:
            raise AlreadyExists(f"execution {name}", kind="execution", name=name)
        return self.describe(machine, name)

    def describe(self, machine: str, name: str) -> Execution:
        if (machine, name) not in self.started:
            raise NotFound(f"no execution {name}", kind="execution", name=name)
        return Execution(f"arn:{name}", machine, name, "RUNNING")

    def stop(self, machine: str, name: str, *, error: str, cause: str) -> None:
        self.describe(machine, name)

    def succeed_task(self, token: str, output: Mapping[str, Any]) -> bool:
        return True

    def fail_task(self, token: str, *, error: str, cause: str) -> bool:
        self.failed_tokens.append((token, error))
        return True


@dataclass
class ScriptedEndpoint:
    """An endpoint that answers with what a test put there."""

    answer: bytes = b""
    asked: list[tuple[str, bytes]] = field(default_factory=list)

    def invoke(self, target_model: str, body: bytes, **_: str) -> bytes:
        self.asked.append((target_model, body))
        return self.answer


@dataclass
class NoTrainingJobs:
    """A training service without jobs."""

    def create(self, definition: Mapping[str, Any]) -> None:
        raise AssertionError("the API never creates training jobs")

    def describe(self, name: str) -> Any:
        raise NotFound(name, kind="training job", name=name)

    def stop(self, name: str) -> None:
        raise AssertionError("the API never stops training jobs")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def executions() -> RecordedExecutions:
    return RecordedExecutions()


@pytest.fixture
def endpoint() -> ScriptedEndpoint:
    return ScriptedEndpoint()


@pytest.fixture
def ports(
    tmp_path: Path,
    clock: ManualClock,
    executions: RecordedExecutions,
    endpoint: ScriptedEndpoint,
) -> Ports:
    ledger = SqliteLedger(tmp_path / "ledger.sqlite3", clock=clock)
    return Ports(
        ledger=ledger,
        objects=FileObjects(
            tmp_path / "objects",
            clock=clock,
            sign=hmac_signer(SECRET),
            upload_url="http://127.0.0.1/local/uploads",
        ),
        training_jobs=NoTrainingJobs(),
        endpoint=endpoint,
        notifications=LoggedNotifications(tmp_path / "notifications.jsonl"),
        executions=executions,
        clock=clock,
        settings=TaskSettings(),
    )


@pytest.fixture
def app(ports: Ports) -> Any:
    return create_app(ports=ports, secret=SECRET, allowed_hosts=("testserver",))


def client_of(app: Any, tenant: str, user: str | None = None) -> TestClient:
    key = mint(SECRET, tenant, user)
    return TestClient(app, headers={"Authorization": f"Bearer {key}"})


@pytest.fixture
def client(app: Any) -> TestClient:
    return client_of(app, "default")


def announced(*bodies: bytes) -> list[dict[str, Any]]:
    return [
        {
            "name": f"{i:02d}.png",
            "digest": hashlib.sha256(body).hexdigest(),
            "bytes": len(body),
            "content_type": "image/png",
        }
        for i, body in enumerate(bodies, 1)
    ]


def uploaded(client: TestClient, ports: Ports, user: str, *bodies: bytes) -> str:
    """Upload and close a set; return its folder."""
    answer = client.post("/v1/uploads", json={"user_id": user, "photos": announced(*bodies)})
    assert answer.status_code == 201, answer.text
    prefix: str = answer.json()["photos"]
    for form, body in zip(answer.json()["forms"], bodies, strict=True):
        ports.objects.accept_upload(form["fields"], body)  # type: ignore[attr-defined]
    done = client.post(
        f"/v1/uploads/{answer.json()['upload_set']}/complete",
        json={"user_id": user, "consent": {"given_by": user}},
    )
    assert done.status_code == 200, done.text
    return prefix
