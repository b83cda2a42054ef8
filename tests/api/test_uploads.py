"""Uploads: announced by digest, POSTed one by one, closed with consent."""

from __future__ import annotations

import hashlib

import httpx
import pytest
from fastapi.testclient import TestClient

from atelier.contracts.dataset import UploadComplete
from atelier.contracts.errors import InvalidRequest
from infra.local.upload_events import object_created
from tasks import start_from_upload
from tasks.ports import Ports
from tests.api.conftest import announced, client_of, uploaded


def test_the_same_photos_announced_twice_are_one_set(client: TestClient) -> None:
    body = {"user_id": "42", "photos": announced(b"one", b"two")}
    first, second = client.post("/v1/uploads", json=body), client.post("/v1/uploads", json=body)
    assert first.json()["upload_set"] == second.json()["upload_set"]


def test_completing_names_every_photo_that_is_missing(client: TestClient, ports: Ports) -> None:
    announcement = {"user_id": "42", "photos": announced(b"one", b"two", b"three")}
    answer = client.post("/v1/uploads", json=announcement).json()
    ports.objects.accept_upload(answer["forms"][0]["fields"], b"one")  # type: ignore[attr-defined]
    done = client.post(
        f"/v1/uploads/{answer['upload_set']}/complete",
        json={"user_id": "42", "consent": {"given_by": "Ada"}},
    )
    assert done.status_code == 400
    assert done.json()["facts"]["missing"] == ["02.png", "03.png"]


def test_a_photo_of_another_size_than_announced_is_named(client: TestClient, ports: Ports) -> None:
    answer = client.post("/v1/uploads", json={"user_id": "42", "photos": announced(b"one")}).json()
    ports.objects.accept_upload(answer["forms"][0]["fields"], b"other")  # type: ignore[attr-defined]
    done = client.post(
        f"/v1/uploads/{answer['upload_set']}/complete",
        json={"user_id": "42", "consent": {"given_by": "Ada"}},
    )
    assert done.json()["facts"]["wrong"] == ["01.png"]


def test_a_closed_set_records_who_consented_when_to_which_text(
    client: TestClient, ports: Ports
) -> None:
    prefix = uploaded(client, ports, "42", b"one", b"two")
    document = UploadComplete.from_json(ports.objects.read(prefix + "_complete.json"))
    assert document.consent.given_by == "42"
    assert document.consent.given_at == ports.clock.now()
    assert [p.name for p in document.photos] == ["01.png", "02.png"]


def test_the_first_consent_of_a_set_stands(client: TestClient, ports: Ports) -> None:
    prefix = uploaded(client, ports, "42", b"one")
    upload_set = prefix.split("/")[2]
    again = client.post(
        f"/v1/uploads/{upload_set}/complete",
        json={"user_id": "42", "consent": {"given_by": "somebody else"}},
    )
    assert again.status_code == 200
    document = UploadComplete.from_json(ports.objects.read(prefix + "_complete.json"))
    assert document.consent.given_by == "42"


def test_a_set_without_consent_is_not_closed(client: TestClient) -> None:
    answer = client.post("/v1/uploads", json={"user_id": "42", "photos": announced(b"one")}).json()
    done = client.post(f"/v1/uploads/{answer['upload_set']}/complete", json={"user_id": "42"})
    assert done.status_code == 400
    assert "consent" in done.json()["detail"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"name": "../escape.png"}, "name"),
        ({"name": "_complete.json"}, "name"),
        ({"digest": "no digest"}, "digest"),
        ({"bytes": 0}, "bytes"),
        ({"bytes": 10**9}, "bytes"),
        ({"content_type": "image/svg+xml"}, "image/svg+xml"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_malformed_announcement_is_refused_by_name(
    client: TestClient, change: dict[str, object], named: str
) -> None:
    [photo] = announced(b"one")
    answer = client.post("/v1/uploads", json={"user_id": "42", "photos": [photo | change]})
    assert answer.status_code == 400
    assert named in answer.json()["detail"]
    assert answer.json()["do"]


def test_a_photo_name_that_stands_twice_is_refused(client: TestClient) -> None:
    [photo] = announced(b"one")
    answer = client.post("/v1/uploads", json={"user_id": "42", "photos": [photo, photo]})
    assert answer.status_code == 400
    assert "01.png" in answer.json()["detail"]


def test_another_tenant_does_not_find_the_set(client: TestClient, ports: Ports, app) -> None:
    prefix = uploaded(client, ports, "42", b"one")
    foreign = client_of(app, "other").post(
        f"/v1/uploads/{prefix.split('/')[2]}/complete",
        json={"user_id": "42", "consent": {"given_by": "thief"}},
    )
    assert foreign.status_code == 404


def test_a_changed_form_is_not_accepted(client: TestClient, ports: Ports) -> None:
    answer = client.post("/v1/uploads", json={"user_id": "42", "photos": announced(b"one")}).json()
    fields = answer["forms"][0]["fields"]
    with pytest.raises(InvalidRequest):
        ports.objects.accept_upload(  # type: ignore[attr-defined]
            fields | {"key": fields["key"].replace("01.png", "02.png")}, b"one"
        )


def test_digests_are_compared_as_announced(client: TestClient) -> None:
    digest = hashlib.sha256(b"one").hexdigest()
    photo = announced(b"one")[0] | {"digest": digest.upper()}
    answer = client.post("/v1/uploads", json={"user_id": "42", "photos": [photo]})
    assert answer.status_code == 400


def close(client: TestClient, ports: Ports, **body: object) -> httpx.Response:
    """Upload a set of four photos and close it with `body`."""
    bodies = [b"one", b"two", b"three", b"four"]
    answer = client.post("/v1/uploads", json={"user_id": "42", "photos": announced(*bodies)}).json()
    for form, photo in zip(answer["forms"], bodies, strict=True):
        ports.objects.accept_upload(form["fields"], photo)  # type: ignore[attr-defined]
    path = f"/v1/uploads/{answer['upload_set']}/complete"
    return client.post(path, json={"user_id": "42", "consent": {"given_by": "Ada"}, **body})


def test_a_set_can_be_closed_with_the_onboarding_that_it_is_for(
    client: TestClient, ports: Ports
) -> None:
    closed = close(client, ports, onboarding={"preset": "nano", "subject": "dog"}).json()
    found = client.get(f"/v1/onboardings/{closed['onboarding']}").json()
    assert (found["user_id"], found["preset"], found["status"]) == ("42", "nano", "queued")


def test_the_onboarding_of_a_set_is_the_one_that_a_call_would_start(
    client: TestClient, ports: Ports
) -> None:
    closed = close(client, ports, onboarding={"preset": "nano"}).json()
    wish = {"user_id": "42", "photos": closed["photos"], "preset": "nano"}
    assert client.post("/v1/onboardings", json=wish).json()["id"] == closed["onboarding"]
    event = object_created(closed["photos"] + "_complete.json")
    assert start_from_upload.run(event, ports=ports)["started"] == [closed["onboarding"]]


@pytest.mark.parametrize(
    ("wish", "named"),
    [
        ({"preset": "best"}, "preset"),
        ({"photos": "uploads/x/"}, "photos"),
        ({"hyperparameters": {"rank": 0}}, "rank"),
        ({"base": "none"}, "none"),
        ({"model": "../x"}, "model"),
    ],
)
def test_a_wish_that_cannot_start_leaves_the_set_open(
    client: TestClient, ports: Ports, wish: dict[str, object], named: str
) -> None:
    answer = close(client, ports, onboarding=wish)
    assert answer.status_code == 400
    assert named in answer.json()["detail"]
    assert not [i for i in ports.objects.list("uploads/") if i.key.endswith("_complete.json")]


def test_a_set_that_was_closed_before_takes_no_other_wish(client: TestClient, ports: Ports) -> None:
    first = close(client, ports, onboarding={"preset": "nano"})
    same = close(client, ports, onboarding={"preset": "nano"})
    none = close(client, ports)
    other = close(client, ports, onboarding={"preset": "fast"})
    assert first.json() == same.json() == none.json()
    assert (other.status_code, other.json()["code"]) == (409, "AlreadyExists")
