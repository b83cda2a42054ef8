"""The story that the logs tell: everything that happened, and nothing that is nobody's business."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.cli.photos import read_folder
from atelier.contracts.clock import SystemClock
from examples.demo.platform import RunningPlatform, local_platform
from infra.local.chronicle import Line, chronicle
from infra.local.ledger import SqliteLedger
from tests.stories.conftest import MASCOT

pytestmark = [pytest.mark.story, pytest.mark.timeout(280)]

PROMPT = "XQZPROMPT"
NEGATIVE = "XQZNEGATIVE"
PERSON = "XQZPERSON"
GUARDIAN = "XQZGUARDIAN"
CAPTION = "XQZCAPTION"
REFUSED = "XQZREFUSED"
DRAWING = "story-drawing-1"


class Journey:
    """One person's onboarding and drawing, with a mark in everything that is theirs."""

    def __init__(self, platform: RunningPlatform) -> None:
        self.home = platform.home
        self.signatures: list[str] = []
        self.http = httpx.Client(
            base_url=platform.url,
            headers={"Authorization": f"Bearer {platform.key}"},
            timeout=120,
            trust_env=False,
        )

    def close(self) -> None:
        self.http.close()

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        return self.http.request(method, path, json=body, headers=headers)

    def onboard(self) -> str:
        photos = read_folder(MASCOT, told=lambda _: None)
        announced = [{**p.announcement(), "caption": f"zorp {CAPTION}"} for p in photos]
        upload = self.ask("POST", "/v1/uploads", {"user_id": PERSON, "photos": announced}).json()
        for form, photo in zip(upload["forms"], photos, strict=True):
            self.signatures += [str(v) for k, v in form["fields"].items() if "sign" in k.lower()]
            sent = httpx.post(
                form["url"], data=form["fields"], files={"file": photo.body}, trust_env=False
            )
            assert sent.status_code == 204, sent.text
        consent = {"user_id": PERSON, "consent": {"given_by": GUARDIAN}}
        self.ask("POST", f"/v1/uploads/{upload['upload_set']}/complete", consent)
        wish = {
            "user_id": PERSON,
            "photos": upload["photos"],
            "preset": "nano",
            "samples": [{"prompt": f"a zorp {PROMPT}", "denoising_steps": 2}],
        }
        started = self.ask("POST", "/v1/onboardings", wish)
        assert started.status_code == 202, started.text
        onboarding = str(started.json()["id"])
        clock = SystemClock()
        while self.ask("GET", f"/v1/onboardings/{onboarding}").json()["status"] != "ready":
            clock.sleep(0.3)
        return onboarding

    def draw(self, prompt: str, **headers: str) -> httpx.Response:
        wish = {
            "user_id": PERSON,
            "prompt": f"a zorp {prompt}",
            "negative_prompt": NEGATIVE,
            "denoising_steps": 2,
        }
        return self.ask("POST", "/v1/models/me/images", wish, **headers)


def log_files(home: Path) -> list[Path]:
    """Every file of logs, but the notifications: those are a tenant's own mail."""
    files = [*home.glob("platform.log*"), home / "platform.out", *(home / "logs").rglob("*.log")]
    return [path for path in files if path.is_file()]


def told(home: Path, onboarding: str) -> list[Line]:
    ledger = SqliteLedger(home / "ledger.sqlite3", clock=SystemClock())
    try:
        return chronicle(home, ledger.read(onboarding))
    finally:
        ledger.close()


def test_logs_tell_a_whole_story_and_hold_nobody_s_words_or_secrets(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with (
        local_platform(home, clock=SystemClock()) as platform,
        closing(Journey(platform)) as journey,
    ):
        onboarding = journey.onboard()
        drawn = journey.draw(PROMPT, **{"X-Request-Id": DRAWING})
        assert drawn.status_code == 200, drawn.text
        refused = journey.ask(
            "POST",
            "/v1/models/me/images",
            {"user_id": PERSON, "prompt": REFUSED, "denoising_steps": -1},
        )
        assert refused.status_code == 400
        journey.ask("GET", f"/v1/users/{PERSON}")
        secrets = {
            platform.key,
            platform.key.rpartition(".")[2],
            (home / "secret").read_bytes().hex(),
            *journey.signatures,
        }
        while_it_runs = told(home, onboarding)
    texts = {path: path.read_text(errors="replace") for path in log_files(home)}
    assert len(texts) >= 3

    # Nothing that is a person's, nothing that opens a door.
    for marked in (PROMPT, NEGATIVE, PERSON, GUARDIAN, CAPTION, REFUSED, *secrets):
        assert [path.name for path, text in texts.items() if marked in text] == [], marked
    assert all('"token"' not in text and "TaskToken" not in text for text in texts.values())

    # One id from the API to the model server.
    def lines(path: Path) -> list[dict[str, Any]]:
        return [json.loads(t) for t in path.read_text().splitlines() if t.startswith("{")]

    of_the_draw = {
        line["part"]
        for path in (home / "platform.log", home / "logs" / "endpoint.log")
        for line in lines(path)
        if line.get("request_id") == DRAWING
    }
    assert of_the_draw == {"api", "model server"}

    # The onboarding's line of every task names it.
    platform_lines = lines(home / "platform.log")
    tasks = {line["task"] for line in platform_lines if line.get("request") == onboarding}
    assert {"Register", "LaunchTraining", "SyncCheckpoints", "PublishModel"} <= tasks

    # And the story reads the same after the platform has stopped.
    story = [line for line in told(home, onboarding) if line.main]
    assert {line.part for line in story} >= {
        "ledger",
        "execution",
        "training job",
        "training host",
        "model server",
        "notification",
    }
    assert [line.words for line in while_it_runs if line.main] == [line.words for line in story]
    assert len(story) <= 24
    assert story == sorted(story, key=lambda line: line.at)
