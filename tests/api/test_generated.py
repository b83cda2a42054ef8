"""Every route of the OpenAPI document, asked for what it tells and for anything else.

Whatever is sent, the answer is what the document promises or a problem document, and never 500.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.api.limits import BodyLimit
from atelier.contracts import ids, keys
from tasks.ports import Ports
from tests.api.conftest import client_of, uploaded
from tests.api.test_document import ROUTES
from tests.api.test_onboardings import PHOTOS

OWNER = ids.owner_of("default", "42")
ODD: list[Any] = [
    *[None, True, 0, -1, 2**63, 10**400, 1e308, -0.0, "", "\0", "\ud800", "\u202e", "a" * 5000],
    *["../../etc/passwd", "/", f"uploads/{OWNER}/first/", f"uploads/{OWNER}/../x/", "%2e%2e"],
    *["\r\nSet-Cookie: a=b", "${jndi:x}", "' OR 1=1", "42", "nano", "r" + "a" * 26],
    *[[], [[]], {}, {"": {}}, [None] * 100, {"a": [{"b": "c"}]}],
]
odd = st.sampled_from(ODD) | st.text(max_size=8) | st.integers() | st.floats()
patient = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


def of_schema(schema: Mapping[str, Any], known: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Return values that a schema allows, and some that it does not."""
    if "$ref" in schema:
        return of_schema(known[schema["$ref"].rpartition("/")[2]], known)
    if "anyOf" in schema:
        return st.one_of(*(of_schema(one, known) for one in schema["anyOf"]), odd)
    if "enum" in schema:
        return st.sampled_from(schema["enum"]) | odd
    kind = schema.get("type")
    if kind == "object" and "properties" in schema:
        fields = {name: of_schema(one, known) for name, one in schema["properties"].items()}
        needed = {name: fields.pop(name) for name in schema.get("required", ())}
        return st.fixed_dictionaries(needed, optional=fields) | odd
    if kind == "array":
        return st.lists(of_schema(schema.get("items", {}), known), max_size=3) | odd
    return {
        "string": st.sampled_from(["42", "me", f"uploads/{OWNER}/first/", "a" * 64]) | odd,
        "integer": st.integers(-1, 300) | odd,
        "number": st.floats(-1, 40) | odd,
        "boolean": st.booleans() | odd,
    }.get(kind or "", odd)


def is_told_well(answer: Any) -> None:
    assert answer.status_code < 500, answer.text
    for name, value in answer.headers.items():
        assert not set(name + value) & {"\r", "\n", "\0"}
    if answer.status_code >= 400:
        assert answer.headers["Content-Type"] == "application/problem+json"
        problem = answer.json()
        assert problem["code"]
        assert problem["detail"]
        assert problem["do"]
        assert len(answer.content) < 20_000


@pytest.fixture
def document(client: TestClient) -> dict[str, Any]:
    return dict(client.get("/openapi.json").json())


@pytest.mark.parametrize("route", sorted(ROUTES))
def test_a_route_answers_as_told_or_with_a_problem(
    client: TestClient, ports: Ports, document: dict[str, Any], route: str
) -> None:
    uploaded(client, ports, "42", *PHOTOS)
    method, _, template = route.partition(" ")
    operation = document["paths"][template][method.lower()]
    known = document["components"]["schemas"]
    body = operation.get("requestBody")
    shape = body["content"]["application/json"]["schema"] if body else {}
    named = [p["name"] for p in operation.get("parameters", ()) if p["in"] == "query"]
    words = st.text(max_size=10) | st.sampled_from([str(one) for one in ODD])

    @patient
    @given(
        body=of_schema(shape, known),
        query=st.dictionaries(st.sampled_from([*named, "x"]), words, max_size=3),
        part=words,
    )
    def ask(body: Any, query: dict[str, str], part: str) -> None:
        path = template.replace("{upload_set}", quoted(part)).replace("{name}", "01.png")
        path = path.replace("{onboarding}", quoted(part)).replace("{user_id}", quoted(part))
        answer = client.request(
            method,
            path.replace("{model}", quoted(part)),
            params={name: text.encode(errors="replace") for name, text in query.items()},
            content=json.dumps(body).encode() if shape else None,
            headers={"Content-Type": "application/json"},
        )
        is_told_well(answer)

    ask()


def quoted(part: str) -> str:
    from urllib.parse import quote  # noqa: PLC0415 - one use

    return quote(part, safe="", errors="replace") or "x"


# bodies


BODIES: Mapping[str, tuple[bytes, int]] = {
    "nothing": (b"", 400),
    "half": (b'{"user_id": "42"', 400),
    "no text": (b"\xff\xfe{}", 400),
    "UTF-16": ('{"user_id": "42"}'.encode("utf-16"), 400),
    "NaN": (b'{"user_id": NaN}', 400),
    "infinity": (b'{"user_id": "42", "seed": 1e999}', 400),
    "the same key twice": (b'{"user_id": "42", "user_id": "43"}', 400),
    "deep": (b"[" * 100_000, 400),
    "deep inside": (b'{"user_id": ' + b"[" * 60 + b"]" * 60 + b"}", 400),
    "a huge integer": (b'{"user_id": "42", "seed": ' + b"9" * 4000 + b"}", 400),
    "an integer beyond reading": (b'{"user_id": "42", "seed": ' + b"9" * 5000 + b"}", 400),
    "half a character": (b'{"user_id": "\\ud800"}', 400),
    "ten thousand unknown fields": (
        json.dumps({f"f{n}": n for n in range(10_000)}).encode(),
        400,
    ),
    "a list": (b"[]", 400),
    "too much": (b" " * (2 * 1024 * 1024), 413),
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("path", ["/v1/onboardings", "/v1/uploads", "/v1/models/me/images"])
def test_a_body_that_says_nothing_clear_is_refused(
    client: TestClient, path: str, name: str
) -> None:
    body, status = BODIES[name]
    answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    is_told_well(answer)


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/xml", "multipart/form-data", "", "x" * 2000, "a/b; c=\xe9"]
)
def test_a_body_of_another_type_is_refused(client: TestClient, kind: str) -> None:
    headers = {"Content-Type": kind.encode("latin-1")}
    answer = client.post("/v1/onboardings", content=b'{"user_id": 1}', headers=headers)  # type: ignore[arg-type]
    assert answer.status_code == 400
    is_told_well(answer)


def test_a_body_that_comes_too_slowly_is_given_up() -> None:
    sent: list[Any] = []

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        while True:
            await receive()

    async def ask() -> None:
        async def receive() -> Any:
            await asyncio.sleep(60)

        door = BodyLimit(endless, seconds=0.01)
        app = FastAPI()
        app.state.larger_bodies = {}
        scope = {"type": "http", "path": "/", "app": app}
        await door(scope, receive, sent.append)

    with pytest.raises(Exception, match="was not there after"):
        asyncio.run(ask())


# headers and keys


@pytest.mark.parametrize(
    "key",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        "Bearer atl.default",
        "Bearer atl.default.x.y.z",
        "Bearer atl..",
        "Bearer " + "a" * 5000,
        "Bearer atl.default.\xff",
        "Bearer atl.default.====",
    ],
)
def test_a_key_that_is_none_opens_nothing(app: FastAPI, key: str) -> None:
    with TestClient(app) as client:
        answer = client.get("/v1/models", headers={"Authorization": key.encode("latin-1")})  # type: ignore[dict-item]
    assert answer.status_code == 401
    is_told_well(answer)


@pytest.mark.parametrize("value", ["\x00", "a b", "é", "x" * 5000, "<script>", "\x7f", "q" * 64])
def test_a_request_id_comes_back_only_when_it_is_one(client: TestClient, value: str) -> None:
    answer = client.get("/v1/models", headers={"X-Request-Id": value.encode()})  # type: ignore[dict-item]
    assert answer.status_code == 200
    given_back = answer.headers["X-Request-Id"]
    assert given_back.isascii()
    assert given_back.isprintable()
    assert len(given_back) <= 128


@pytest.mark.parametrize("word", ["\x00", "\t", "é", "x" * 256, ""])
def test_an_idempotency_key_that_is_none_is_refused(
    client: TestClient, ports: Ports, word: str
) -> None:
    wish = {"user_id": "42", "photos": uploaded(client, ports, "42", *PHOTOS), "preset": "nano"}
    headers = {"Idempotency-Key": word.encode()}
    answer = client.post("/v1/onboardings", json=wish, headers=headers)  # type: ignore[arg-type]
    is_told_well(answer)
    assert answer.status_code in {202, 400}


@pytest.mark.parametrize("host", ["evil.example", "testserver.evil", "", "[::1", "127.0.0.1:80:80"])
def test_another_host_is_refused_with_a_problem(client: TestClient, host: str) -> None:
    answer = client.get("/v1/health", headers={"Host": host})
    assert answer.status_code == 400
    is_told_well(answer)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/../v1/models",
        "//v1/models",
        "/v1/models/%2e%2e%2fx",
        "/v1/onboardings/%00",
        "/%ff",
        "/v1",
    ],
)
def test_a_path_that_leads_elsewhere_is_no_path(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code in {200, 404, 405}
    is_told_well(answer)


# what others wrote into the bucket


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff", b"[" * 100_000, b" " * (2 * 1024 * 1024)])
@pytest.mark.parametrize("name", ["_complete.json", "_announced.json"])
def test_a_set_whose_documents_do_not_read_is_refused(
    client: TestClient, app: FastAPI, ports: Ports, name: str, body: bytes
) -> None:
    prefix = uploaded(client, ports, "42", *PHOTOS)
    ports.objects.put(prefix + name, body)
    consent = {"user_id": "42", "consent": {"given_by": "Ada"}}
    upload_set = keys.check_prefix(prefix).split("/")[2]
    is_told_well(client.post("/v1/onboardings", json={"user_id": "42", "photos": prefix}))
    is_told_well(client.post(f"/v1/uploads/{upload_set}/complete", json=consent))
    is_told_well(client_of(app, "default").get(f"/v1/uploads/{upload_set}/report?user_id=42"))
