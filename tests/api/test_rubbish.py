"""What no client should send: told in the caller's words with a 4xx, and never kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.api.limits import MAX_BODY_BYTES
from tasks.ports import Ports
from tests.api.conftest import announced, uploaded
from tests.api.test_onboardings import PHOTOS

LONE = "\ud800"
"""Half of a pair: JSON can write it, UTF-8 cannot."""


def post(client: TestClient, path: str, body: Any) -> Any:
    answer = client.post(
        path, content=json.dumps(body), headers={"Content-Type": "application/json"}
    )
    return answer.status_code, answer.json()


@pytest.mark.parametrize(
    "wrong", [{"base": LONE}, {"subject": LONE}, {LONE: 1}, {"hyperparameters": {LONE: 1}}]
)
def test_text_that_utf8_cannot_hold_is_refused(
    client: TestClient, ports: Ports, wrong: dict[str, Any]
) -> None:
    wish = {"user_id": "42", "photos": uploaded(client, ports, "42", *PHOTOS), **wrong}
    status, told = post(client, "/v1/onboardings", wish)
    assert (status, told["code"]) == (400, "InvalidRequest")


def test_a_content_type_that_utf8_cannot_hold_is_refused(client: TestClient) -> None:
    [photo] = announced(b"one")
    wish = {"user_id": "42", "photos": [{**photo, "content_type": LONE}]}
    assert post(client, "/v1/uploads", wish)[0] == 400


@pytest.mark.parametrize("field", ["rank", "alpha", "learning_rate", "steps"])
def test_a_number_beyond_all_measure_is_refused(
    client: TestClient, ports: Ports, field: str
) -> None:
    photos = uploaded(client, ports, "42", *PHOTOS)
    wish = {"user_id": "42", "photos": photos, "hyperparameters": {field: 10**400}}
    status, told = post(client, "/v1/onboardings", wish)
    assert (status, told["code"]) == (400, "InvalidRequest")


@pytest.mark.parametrize(
    "consent",
    [
        {"given_by": "Ada\0"},
        {"given_by": LONE},
        {"given_by": "Ada", "text_version": LONE},
        {"given_by": "Ada", "text_version": "v" * 65},
    ],
)
def test_a_consent_that_cannot_be_kept_is_refused(
    client: TestClient, ports: Ports, consent: dict[str, str]
) -> None:
    upload_set = uploaded(client, ports, "42", *PHOTOS).split("/")[2]
    path = f"/v1/uploads/{upload_set}/complete"
    status, told = post(client, path, {"user_id": "42", "consent": consent})
    assert (status, told["code"]) == (400, "InvalidRequest")


def test_a_misspelt_field_is_told_the_nearest_that_there_is(client: TestClient) -> None:
    wish = {"user_id": "42", "photos": "uploads/o/m/", "hyperparameters": {"step": 3}, "modle": "m"}
    status, told = post(client, "/v1/onboardings", wish)
    assert status == 400
    assert "unknown fields 'modle'; did you mean 'model'? allowed are" in told["detail"]
    wish = {"user_id": "42", "photos": [{"nam": "a.png"}]}
    _, told = post(client, "/v1/uploads", wish)
    assert told["detail"].startswith("photos.0: unknown fields 'nam'; did you mean 'name'?")


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"photos": []}, "user_id: is missing"),
        ({"user_id": 7, "photos": []}, "user_id: must be a text, found 7"),
        ({"user_id": "42", "photos": "x"}, "photos: must be a list, found 'x'"),
        ([], "body: must be an object"),
    ],
)
def test_fields_are_refused_in_words_of_our_own(client: TestClient, wish: Any, said: str) -> None:
    status, told = post(client, "/v1/uploads", wish)
    assert status == 400
    assert said in told["detail"]


def test_whoever_has_no_key_is_told_so_before_anything_of_the_body(client: TestClient) -> None:
    answer = client.post("/v1/onboardings", content=b"{", headers={"Authorization": "Bearer x"})
    assert (answer.status_code, answer.json()["code"]) == (401, "Unauthorized")


def test_a_body_that_is_too_large_is_not_read_to_its_end(client: TestClient) -> None:
    sent = []

    def endless() -> Iterator[bytes]:
        for number in range(64):
            sent.append(number)
            yield b" " * 65536

    answer = client.post("/v1/onboardings", content=endless())
    assert (answer.status_code, answer.json()["code"]) == (413, "BodyTooLarge")


def test_a_route_that_takes_more_says_so(app: FastAPI, client: TestClient) -> None:
    body = json.dumps({"user_id": "x" * MAX_BODY_BYTES})
    assert client.post("/v1/onboardings", content=body).status_code == 413
    app.state.larger_bodies["/v1/onboardings"] = 2 * MAX_BODY_BYTES
    assert client.post("/v1/onboardings", content=body).status_code == 400
