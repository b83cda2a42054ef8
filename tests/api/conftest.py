"""The application on the local stores, with an endpoint and executions that tests look into."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.api.application import create_app
from app.api.keys import mint
from atelier.contracts.clock import ManualClock
from infra.local.ledger import SqliteLedger
from infra.local.notifications import LoggedNotifications
from infra.local.objects import FileObjects
from infra.local.upload_forms import hmac_signer
from tasks.ports import Ports, TaskSettings
from tests.fakes.services import ScriptedEndpoint, ScriptedExecutions, ScriptedTrainingJobs

SECRET = b"0123456789abcdef0123456789abcdef"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def executions() -> ScriptedExecutions:
    return ScriptedExecutions()


@pytest.fixture
def endpoint() -> ScriptedEndpoint:
    return ScriptedEndpoint()


@pytest.fixture
def ports(
    tmp_path: Path,
    clock: ManualClock,
    executions: ScriptedExecutions,
    endpoint: ScriptedEndpoint,
) -> Iterator[Ports]:
    ledger = SqliteLedger(tmp_path / "ledger.sqlite3", clock=clock)
    jobs = ScriptedTrainingJobs(clock)
    yield Ports(
        ledger=ledger,
        objects=FileObjects(
            tmp_path / "objects",
            clock=clock,
            sign=hmac_signer(SECRET),
            upload_url="http://127.0.0.1/local/uploads",
        ),
        training_jobs=jobs,
        endpoint=endpoint,
        notifications=LoggedNotifications(tmp_path / "notifications.jsonl"),
        executions=executions,
        clock=clock,
        settings=TaskSettings(),
    )
    assert not jobs.definitions, "the API never creates training jobs"


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
