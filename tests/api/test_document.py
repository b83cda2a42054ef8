"""OpenAPI tells what is so: every route, its limits, and how each error is answered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.api import problems
from app.api.shapes import Problem
from atelier.contracts.errors import AtelierError, descendants

ROUTES = {
    "POST /v1/uploads",
    "POST /v1/uploads/{upload_set}/complete",
    "GET /v1/uploads/{upload_set}/report",
    "POST /v1/onboardings",
    "GET /v1/onboardings",
    "GET /v1/onboardings/{onboarding}",
    "GET /v1/onboardings/{onboarding}/why",
    "POST /v1/onboardings/{onboarding}/cancel",
    "POST /v1/onboardings/{onboarding}/redrive",
    "POST /v1/onboardings/{onboarding}/retry",
    "GET /v1/onboardings/{onboarding}/images/{name}",
    "GET /v1/users/{user_id}",
    "GET /v1/models",
    "POST /v1/models/{model}/images",
    "GET /v1/health",
}


@pytest.fixture
def document(client: TestClient) -> dict[str, Any]:
    return dict(client.get("/openapi.json").json())


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_every_route_is_told_and_nothing_else(document: dict[str, Any]) -> None:
    assert {route for route, _ in operations(document)} == ROUTES


def test_every_error_is_told_as_a_problem_document(document: dict[str, Any]) -> None:
    for route, operation in operations(document):
        if route == "GET /v1/health":
            continue
        told = operation["responses"]
        assert {"400", "401", "404", "default"} <= set(told), route
        for status, response in told.items():
            if status == "default" or int(status) >= 400:
                [(media_type, content)] = response["content"].items()
                assert media_type == "application/problem+json"
                assert content["schema"] == {"$ref": "#/components/schemas/Problem"}


def test_no_route_promises_another_answer_to_a_wrong_field(document: dict[str, Any]) -> None:
    assert "HTTPValidationError" not in document["components"]["schemas"]
    assert all("422" not in operation["responses"] for _, operation in operations(document))


def test_the_limits_of_a_wish_are_told(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    wish, drawing = (schemas[name]["properties"] for name in ("NewOnboarding", "Generate"))
    assert (wish["deadline_seconds"]["minimum"], wish["priority"]["maximum"]) == (60, 9)
    assert (drawing["count"]["maximum"], drawing["guidance"]["maximum"]) == (8, 30)
    assert drawing["width"]["anyOf"][0]["multipleOf"] == 8


def test_the_calls_to_a_first_image_are_told_in_their_order(document: dict[str, Any]) -> None:
    told = re.findall(r"^\d\. `(.+)`:", document["info"]["description"], re.MULTILINE)
    assert told == [
        "POST /v1/uploads",
        "POST /v1/uploads/{upload_set}/complete",
        "POST /v1/onboardings",
        "GET /v1/onboardings/{onboarding}",
        "POST /v1/models/{model}/images",
    ]
    assert set(told) <= ROUTES


def test_every_operation_has_a_short_name_of_its_own(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, operation in operations(document)]
    assert sorted(names) == [
        "announce_photos",
        "cancel_onboarding",
        "complete_upload",
        "draw_images",
        "explain_onboarding",
        "health",
        "list_models",
        "list_onboardings",
        "read_image",
        "read_onboarding",
        "read_user",
        "redrive_onboarding",
        "report_on_upload",
        "retry_onboarding",
        "start_onboarding",
    ]


def test_the_types_of_photos_are_told(document: dict[str, Any]) -> None:
    photo = document["components"]["schemas"]["PhotoToUpload"]["properties"]
    assert photo["content_type"]["enum"] == ["image/jpeg", "image/png", "image/webp"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nowhere", 404, "NotFound"),
        ("DELETE", "/v1/models", 405, "MethodNotAllowed"),
        ("GET", "/v1/onboardings?limit=0", 400, "InvalidRequest"),
        ("GET", "/v1/onboardings/none", 404, "NotFound"),
    ],
)
def test_what_is_answered_is_what_is_told(
    client: TestClient, method: str, path: str, status: int, code: str
) -> None:
    answer = client.request(method, path)
    assert answer.headers["Content-Type"] == "application/problem+json"
    told = Problem.model_validate(answer.json())
    assert (answer.status_code, told.status, told.code) == (status, status, code)
    assert told.detail
    assert told.do


def test_a_wrong_field_is_named_with_what_was_found_and_what_is_allowed(client: TestClient) -> None:
    answer = client.get("/v1/onboardings", params={"limit": 0}).json()
    assert answer["detail"] == "limit: must be at least 1, found '0'"


def test_a_body_that_is_no_json_is_told_where_it_breaks(client: TestClient) -> None:
    answer = client.post(
        "/v1/uploads", content=b"{", headers={"Content-Type": "application/json"}
    ).json()
    assert answer["detail"].startswith("body: no readable JSON")


def test_every_error_of_the_tree_has_a_status() -> None:
    for kind in descendants(AtelierError):
        answer = problems.problem(kind("It is so.", where="x"))
        assert 400 <= answer.status_code < 600
        assert ("Retry-After" in answer.headers) == (answer.status_code in {429, 503})


def test_a_defect_is_a_problem_document_without_its_inner_words(app: Any) -> None:
    def breaks() -> None:
        raise RuntimeError("the inner words")

    app.add_api_route("/v1/breaks", breaks)
    answer = TestClient(app, raise_server_exceptions=False).get("/v1/breaks")
    assert (answer.status_code, answer.json()["code"]) == (500, "InternalError")
    assert "inner words" not in answer.text
