"""Every request has one id: its caller's or a new one, in every answer, and in the log."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from atelier.contracts import logs

GIVEN = {"X-Request-Id": "mine-42"}


def test_a_well_formed_id_comes_back(client: TestClient) -> None:
    assert client.get("/v1/health", headers=GIVEN).headers["X-Request-Id"] == "mine-42"


def test_a_request_without_an_id_gets_one_of_its_own(client: TestClient) -> None:
    first, second = (client.get("/v1/health").headers["X-Request-Id"] for _ in range(2))
    assert logs.read_request_id(first) == first
    assert first != second


@pytest.mark.parametrize("bad", ["a b", "x" * 65, "<script>", "-", "a;b"])
def test_a_malformed_id_is_replaced(client: TestClient, bad: str) -> None:
    told = client.get("/v1/health", headers={"X-Request-Id": bad}).headers["X-Request-Id"]
    assert told != bad
    assert logs.read_request_id(told) == told


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/onboardings/r", 404),
        ("GET", "/nowhere", 404),
        ("DELETE", "/v1/health", 405),
        ("POST", "/v1/onboardings", 400),
    ],
)
def test_a_problem_document_names_the_request(
    client: TestClient, method: str, path: str, status: int
) -> None:
    answer = client.request(method, path, headers=GIVEN)
    assert answer.status_code == status
    assert answer.json()["request_id"] == answer.headers["X-Request-Id"] == "mine-42"


def test_what_is_logged_of_a_request_names_its_id_and_route_and_no_person(
    client: TestClient, caplog: pytest.LogCaptureFixture, json_lines: Callable[[str], None]
) -> None:
    json_lines("api")
    with caplog.at_level(logging.DEBUG, logger="app.api"):
        client.get("/v1/users/ada-lovelace", headers=GIVEN)
    told = [json.loads(line) for line in caplog.text.splitlines() if '"api"' in line]
    [line] = [line for line in told if "answered" in line["message"]]
    assert line["request_id"] == "mine-42"
    assert "GET /v1/users/{user_id:path} answered 200" in line["message"]
    assert "ada" not in json.dumps(line)
