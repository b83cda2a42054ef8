"""Models over HTTP: the status check, and images that are never drawn with other weights."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.api.application import create_app
from app.api.limits import MAX_DRAWINGS
from atelier.contracts import ids
from atelier.contracts.errors import NotFound, ServiceUnavailable
from atelier.contracts.generation import GeneratedImage, GenerateResponse, ImageFormat
from atelier.contracts.records import ModelRecord, ModelVersion, Notification
from atelier.contracts.status import Stamp, Status
from tasks.ports import Ports
from tests.api.conftest import SECRET, client_of, uploaded
from tests.api.test_onboardings import PHOTOS, start
from tests.fakes.services import ScriptedEndpoint

DIGEST = "ab" * 32


@pytest.fixture
def published(client: TestClient, ports: Ports) -> str:
    """One published model `me` of user 42."""
    request = start(client, uploaded(client, ports, "42", *PHOTOS)).json()["id"]
    owner, now = ids.owner_of("default", "42"), ports.clock.now()
    job = ids.job_name(ids.batch_of([(request, 1)]), 1)
    ports.ledger.advance(request, Stamp(1, Status.LAUNCHING, job), host="algo-1")
    version = ModelVersion(
        version=ids.version_name(1, DIGEST),
        artifact=f"artifacts/tiny/{owner}/me/v1.tar.gz",
        digest=DIGEST,
        bytes=1000,
        request=request,
        rank=16,
        instance_prompt="a photo of zorp creature",
        created_at=now,
    )
    model = ModelRecord(
        owner=owner,
        tenant="default",
        user="42",
        model="me",
        base="tiny",
        trigger="zorp",
        subject="creature",
        current=version.version,
        versions=(version,),
        dataset="m" + "a" * 26,
        created_at=now,
        updated_at=now,
    )
    ports.ledger.publish(
        request,
        Stamp(1, Status.READY, job),
        model=model,
        version=version,
        notification=Notification(
            id=ids.message_id("ready", request),
            tenant="default",
            type="onboarding.ready",
            data={},
            created_at=now,
        ),
    )
    return request


def answer(digest: str = DIGEST) -> bytes:
    image = GeneratedImage(seed=7, image_base64=base64.b64encode(b"picture").decode())
    return GenerateResponse(
        images=(image,),
        format=ImageFormat.PNG,
        width=64,
        height=64,
        base="tiny",
        adapter_digest=digest,
        seconds=0.5,
    ).to_json()


def test_the_status_check_shows_ready_models_and_onboardings_under_way(
    client: TestClient, ports: Ports, published: str
) -> None:
    start(client, uploaded(client, ports, "42", *PHOTOS), key="k-2", model="second")
    shown = client.get("/v1/users/42").json()
    assert [m["model"] for m in shown["models"]] == ["me"]
    assert [o["model"] for o in shown["onboardings"]] == ["second"]
    assert published not in [o["id"] for o in shown["onboardings"]]


def test_images_are_drawn_with_the_current_version_of_the_owner(
    client: TestClient, ports: Ports, published: str, endpoint: ScriptedEndpoint
) -> None:
    endpoint.answer = answer()
    drawn = client.post("/v1/models/me/images", json={"user_id": "42", "prompt": "zorp", "seed": 7})
    assert drawn.status_code == 200
    assert base64.b64decode(drawn.json()["images"][0]["image_base64"]) == b"picture"
    [(target, body)] = endpoint.asked
    owner = ids.owner_of("default", "42")
    assert target == f"tiny/{owner}/me/{ids.version_name(1, DIGEST)}.tar.gz"
    assert json.loads(body)["owner"] == owner
    assert client.get("/v1/models").json()["items"][0]["used_at"] is not None


def test_images_drawn_with_other_weights_are_discarded(
    client: TestClient, published: str, endpoint: ScriptedEndpoint
) -> None:
    endpoint.answer = answer(digest="cd" * 32)
    drawn = client.post("/v1/models/me/images", json={"user_id": "42", "prompt": "zorp"})
    assert drawn.status_code == 500
    assert "discarded" in drawn.json()["detail"]
    assert "image_base64" not in drawn.text


def test_a_model_that_is_still_training_is_named_in_the_refusal(
    client: TestClient, ports: Ports
) -> None:
    onboarding = start(client, uploaded(client, ports, "42", *PHOTOS)).json()["id"]
    drawn = client.post("/v1/models/me/images", json={"user_id": "42", "prompt": "zorp"})
    assert drawn.status_code == 404
    assert onboarding in drawn.json()["detail"]
    assert "Wait" in drawn.json()["do"]


def test_another_tenants_model_does_not_exist(
    app, published: str, endpoint: ScriptedEndpoint
) -> None:
    foreign = client_of(app, "other")
    drawn = foreign.post("/v1/models/me/images", json={"user_id": "42", "prompt": "zorp"})
    assert drawn.status_code == 404
    assert endpoint.asked == []
    assert foreign.get("/v1/models").json() == {"items": []}


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompt": "  "},
        {"count": 0},
        {"count": 9},
        {"guidance": 0.5},
        {"width": 63},
        {"denoising_steps": 0},
        {"seed": -1},
        {"adapter_scale": 3},
        {"format": "gif"},
    ],
)
def test_a_wish_out_of_range_is_refused_before_the_endpoint(
    client: TestClient, published: str, endpoint: ScriptedEndpoint, wrong: dict[str, object]
) -> None:
    body = {"user_id": "42", "prompt": "zorp", **wrong}
    drawn = client.post("/v1/models/me/images", json=body)
    assert drawn.status_code == 400
    assert next(iter(wrong)) in drawn.json()["detail"]
    assert endpoint.asked == []


def test_whoever_waits_for_images_leaves_threads_to_status_checks(
    app: FastAPI, client: TestClient, published: str, endpoint: ScriptedEndpoint
) -> None:
    endpoint.answer = answer()
    wish = {"user_id": "42", "prompt": "zorp"}
    for _ in range(MAX_DRAWINGS):
        app.state.drawing_places.acquire()
    refused = client.post("/v1/models/me/images", json=wish)
    assert (refused.status_code, "Retry-After" in refused.headers) == (429, True)
    assert client.get(f"/v1/onboardings/{published}").status_code == 200
    app.state.drawing_places.release()
    for _ in range(2):
        assert client.post("/v1/models/me/images", json=wish).status_code == 200


class ForgetfulLedger:
    """A ledger on a full disk: it reads, and notes no use."""

    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def touch_model(self, owner: str, model: str, *, used_at: Any) -> None:
        raise ServiceUnavailable(f"{owner}/{model} {used_at}: disk full")


def test_images_are_handed_over_even_when_their_use_cannot_be_noted(
    ports: Ports, published: str, endpoint: ScriptedEndpoint
) -> None:
    full = replace(ports, ledger=ForgetfulLedger(ports.ledger))
    app = create_app(ports=full, secret=SECRET, allowed_hosts=("testserver",))
    endpoint.answer = answer()
    wish = {"user_id": "42", "prompt": "zorp"}
    assert client_of(app, "default").post("/v1/models/me/images", json=wish).status_code == 200


def test_a_user_id_may_hold_a_slash(client: TestClient) -> None:
    shown = client.get("/v1/users/team%2Fada")
    assert (shown.status_code, shown.json()["user_id"]) == (200, "team/ada")


@pytest.mark.parametrize(
    ("photos", "wish", "status"),
    [
        ((*PHOTOS, b"five"), {}, 409),
        (PHOTOS, {"seed": 1}, 409),
        (PHOTOS, {}, 202),
        (PHOTOS[::-1], {}, 202),
        ((*PHOTOS, b"five"), {"new_version": True}, 202),
        ((*PHOTOS, b"five"), {"model": "other"}, 202),
    ],
)
@pytest.mark.usefixtures("published")
def test_a_model_that_exists_is_made_otherwise_only_as_a_new_version(
    client: TestClient,
    ports: Ports,
    photos: tuple[bytes, ...],
    wish: dict[str, object],
    status: int,
) -> None:
    prefix = uploaded(client, ports, "42", *photos)
    answer = start(client, prefix, key="k-2", **wish)
    assert answer.status_code == status, answer.text
    if status == 409:
        assert answer.json()["facts"] == {"kind": "model", "name": "me"}
        assert "new_version" in answer.json()["do"]


def test_the_onboarding_that_made_a_model_is_found_again(
    client: TestClient, ports: Ports, published: str
) -> None:
    again = start(client, uploaded(client, ports, "42", *PHOTOS))
    assert (again.status_code, again.json()["id"]) == (200, published)


def test_weights_that_the_platform_lost_are_its_own_defect_and_not_the_caller_s(
    client: TestClient,
    published: str,
    endpoint: ScriptedEndpoint,
    caplog: pytest.LogCaptureFixture,
) -> None:
    owner = ids.owner_of("default", "42")
    gone = NotFound(f"there is no model tiny/{owner}/me/v1.tar.gz", kind="model", name="me")
    endpoint.refusals = [gone]
    drawn = client.post("/v1/models/me/images", json={"user_id": "42", "prompt": "zorp"})
    assert (drawn.status_code, drawn.json()["code"]) == (500, "ObjectMissing")
    assert "are lost" in drawn.json()["detail"]
    assert owner not in drawn.text
    assert f"artifacts/tiny/{owner}/me" in caplog.text
