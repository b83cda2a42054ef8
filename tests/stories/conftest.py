"""A running local platform for stories, and the people who use it through the HTTP API."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from app.api.application import create_app
from app.api.keys import mint
from app.local import add_upload_receiver
from infra.local.platform import LocalPlatform, LocalSettings
from infra.local.training import TrainingSettings
from tasks.ports import TaskSettings

MASCOT = Path(__file__).resolve().parents[2] / "examples/mascot"
PATIENCE_SECONDS = 120.0
ENDED = frozenset({"ready", "failed", "cancelled"})


def mascot_photos() -> list[bytes]:
    """The demo's ten photos."""
    return [path.read_bytes() for path in sorted(MASCOT.glob("*.png"))]


def turned_photos() -> list[bytes]:
    """Ten other photos: the mascot's, upside down, as another person's pictures."""
    turned = []
    for body in mascot_photos():
        out = io.BytesIO()
        with Image.open(io.BytesIO(body)) as image:
            image.rotate(180).save(out, "PNG")
        turned.append(out.getvalue())
    return turned


@dataclass(frozen=True)
class Person:
    """One user of one tenant, with a client that carries the tenant's key."""

    http: TestClient
    tenant: str
    user: str

    def upload(self, photos: list[bytes]) -> str:
        """Upload photos with consent; return the set's folder."""
        announced = [
            {
                "name": f"{number:02d}.png",
                "digest": hashlib.sha256(body).hexdigest(),
                "bytes": len(body),
                "content_type": "image/png",
            }
            for number, body in enumerate(photos, 1)
        ]
        upload = self.post("/v1/uploads", {"user_id": self.user, "photos": announced}, 201)
        for form, body in zip(upload["forms"], photos, strict=True):
            sent = self.http.post(form["url"], data=form["fields"], files={"file": body})
            assert sent.status_code == 204, sent.text
        self.post(
            f"/v1/uploads/{upload['upload_set']}/complete",
            {"user_id": self.user, "consent": {"given_by": self.user}},
        )
        return str(upload["photos"])

    def onboard(self, photos: list[bytes], **wish: Any) -> str:
        """Upload photos and start an onboarding; return its id."""
        folder = self.upload(photos)
        body = {"user_id": self.user, "photos": folder, "preset": "nano", **wish}
        return str(self.post("/v1/onboardings", body, 202)["id"])

    def read(self, onboarding: str) -> dict[str, Any]:
        """Return an onboarding as it stands."""
        return self.get(f"/v1/onboardings/{onboarding}")

    def wait(
        self, onboarding: str, until: Callable[[dict[str, Any]], bool] | None = None
    ) -> dict[str, Any]:
        """Return the onboarding once it has ended, or once `until` holds."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            seen = self.read(onboarding)
            if (until and until(seen)) or seen["status"] in ENDED:
                return seen
            assert time.monotonic() < deadline, f"still {seen}"
            time.sleep(0.1)  # noqa: TID251 - a person looks again

    def draw(self, model: str, prompt: str, **wish: Any) -> dict[str, Any]:
        """Draw images."""
        body = {"user_id": self.user, "prompt": prompt, "denoising_steps": 4, **wish}
        return self.post(f"/v1/models/{model}/images", body)

    def get(self, path: str, status: int = 200) -> dict[str, Any]:
        """GET a path and check the answer's status."""
        answer = self.http.get(path)
        assert answer.status_code == status, answer.text
        return dict(answer.json())

    def post(self, path: str, body: dict[str, Any], status: int = 200) -> dict[str, Any]:
        """POST a body and check the answer's status."""
        answer = self.http.post(path, json=body)
        assert answer.status_code == status, answer.text
        return dict(answer.json())


@dataclass(frozen=True)
class Studio:
    """A running platform."""

    platform: LocalPlatform
    app: Any

    def person(self, tenant: str, user: str) -> Person:
        """Return a user of a tenant."""
        key = mint(self.platform.secret, tenant)
        client = TestClient(
            self.app, headers={"Authorization": f"Bearer {key}"}, base_url="http://localhost"
        )
        return Person(client, tenant, user)

    def notifications(self, tenant: str) -> list[dict[str, Any]]:
        """Return what a tenant was told, in order."""
        import json  # noqa: PLC0415

        path = self.platform.settings.home / "logs" / "notifications.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [told for told in map(json.loads, lines) if told["tenant"] == tenant]


@contextmanager
def running(home: Path, *, training: TrainingSettings, **options: Any) -> Iterator[Studio]:
    """Run a platform in `home` until the block ends."""
    settings = LocalSettings(
        home=home,
        upload_url="http://localhost/local/uploads",
        tasks=TaskSettings(launches_per_second=20, round_seconds=20),
        training=training,
    )
    platform = LocalPlatform(settings, **options)
    app = create_app(ports=platform.ports, secret=platform.secret, allowed_hosts=("localhost",))
    add_upload_receiver(app, platform)
    platform.start()
    try:
        yield Studio(platform, app)
    finally:
        platform.stop()


Open = Callable[..., AbstractContextManager[Studio]]


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """The platform that most stories share; each story brings its own tenant."""
    home = tmp_path_factory.mktemp("studio")
    with running(home, training=TrainingSettings(creates_per_second=0)) as studio:
        yield studio
