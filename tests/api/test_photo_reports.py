"""The report on an upload set, before anything is paid."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image, ImageFilter

from app.api.limits import MAX_LOOKS
from tasks import register
from tasks.ports import Ports
from tests.api.conftest import announced, client_of, uploaded
from tests.fakes.world import photo


def blurred(number: int) -> bytes:
    out = BytesIO()
    image = Image.open(BytesIO(photo(number, 512))).filter(ImageFilter.GaussianBlur(24))
    image.save(out, "PNG")
    return out.getvalue()


def report(client: TestClient, folder: str, user: str = "42", **query: str) -> Any:
    upload_set = folder.split("/")[2]
    return client.get(f"/v1/uploads/{upload_set}/report", params={"user_id": user, **query})


def test_each_photo_is_used_or_told_why_not(client: TestClient, ports: Ports) -> None:
    good = [photo(n) for n in range(5)]
    folder = uploaded(client, ports, "42", *good, photo(0), b"GIF89a no photo", blurred(7))
    told = report(client, folder).json()
    assert (told["makes_a_model"], told["used"], told["findings"]) == (True, 5, {})
    verdicts = {v["name"]: v for v in told["verdicts"]}
    assert [v["used"] for v in told["verdicts"]] == [True] * 5 + [False] * 3
    assert verdicts["06.png"]["same_as"] == "01.png"
    assert verdicts["07.png"]["reason"] == "not-an-image"
    assert "GIF" in verdicts["07.png"]["detail"]
    assert verdicts["08.png"]["reason"] == "blurred"
    assert "few-photos" in told["advice"]


def test_a_set_that_makes_no_model_says_so_for_the_whole(client: TestClient, ports: Ports) -> None:
    folder = uploaded(client, ports, "42", photo(1), photo(1), photo(1), photo(1), photo(2))
    told = report(client, folder).json()
    assert told["makes_a_model"] is False
    assert set(told["findings"]) == {"too-few", "all-alike"}


def test_a_photo_is_judged_for_the_base_model_that_it_is_meant_for(
    client: TestClient, ports: Ports
) -> None:
    folder = uploaded(client, ports, "42", *[photo(n, 96) for n in range(5)])
    assert report(client, folder).json()["used"] == 5
    too_small = report(client, folder, base="sd15").json()
    assert too_small["used"] == 0
    assert {v["reason"] for v in too_small["verdicts"]} == {"too-small"}


def test_the_photos_are_looked_at_once_and_again_when_one_changed(
    client: TestClient, ports: Ports
) -> None:
    folder = uploaded(client, ports, "42", *[photo(n) for n in range(4)])
    first = report(client, folder).json()
    kept = [i for i in ports.objects.list(folder) if "_report-" in i.key]
    assert len(kept) == 1
    assert report(client, folder).json() == first
    assert [i for i in ports.objects.list(folder) if "_report-" in i.key] == kept
    ports.objects.put(f"{folder}01.png", photo(9))
    changed = report(client, folder).json()["verdicts"][0]
    assert (changed["used"], changed["reason"]) == (False, "changed")


def test_an_onboarding_says_what_the_report_said(client: TestClient, ports: Ports) -> None:
    folder = uploaded(client, ports, "42", *[photo(n) for n in range(5)], b"no photo at all")
    told = report(client, folder).json()
    kept = {info.key for info in ports.objects.list(folder)}
    wish = {"user_id": "42", "photos": folder}
    started = client.post("/v1/onboardings", json=wish).json()
    payload = {"given": {**wish, "tenant": "default"}, "execution": started["execution"]}
    register.run(payload, ports=ports)
    shown = client.get(f"/v1/onboardings/{started['id']}").json()
    assert shown["photos"] == {
        "used": told["used"],
        "left_out": {v["name"]: v["detail"] for v in told["verdicts"] if not v["used"]},
        "notes": {},
        "advice": list(told["advice"].values()),
    }
    assert {info.key for info in ports.objects.list(folder)} == kept
    assert shown["consent"]["given_by"] == "42"


def test_a_set_is_looked_at_only_once_it_is_closed_with_consent(
    client: TestClient, ports: Ports
) -> None:
    body = {"user_id": "42", "photos": announced(photo(1))}
    folder = client.post("/v1/uploads", json=body).json()["photos"]
    answer = report(client, folder)
    assert (answer.status_code, answer.json()["code"]) == (400, "InvalidRequest")
    assert "consent" in answer.json()["do"]


def test_a_foreign_set_is_not_there(client: TestClient, ports: Ports, app: Any) -> None:
    folder = uploaded(client, ports, "42", photo(1))
    assert report(client_of(app, "other"), folder).status_code == 404
    assert report(client, folder, user="43").status_code == 404
    assert report(client, "uploads/x/no such set!/").status_code == 404


@pytest.mark.parametrize("query", [{"base": "no-such"}, {"preset": "no-such"}])
def test_a_base_model_or_preset_that_is_not_there_is_named(
    client: TestClient, ports: Ports, query: dict[str, str]
) -> None:
    folder = uploaded(client, ports, "42", photo(1))
    answer = report(client, folder, **query)
    assert answer.status_code == 400
    assert "no-such" in answer.json()["detail"]


def test_who_comes_while_others_sets_are_looked_at_is_asked_to_come_again(
    client: TestClient, ports: Ports, app: Any
) -> None:
    folder = uploaded(client, ports, "42", photo(1))
    for _ in range(MAX_LOOKS):
        assert app.state.looking_places.acquire(blocking=False)
    answer = report(client, folder)
    assert (answer.status_code, answer.json()["code"]) == (429, "Throttled")
    assert answer.headers["Retry-After"]
    app.state.looking_places.release()
    assert report(client, folder).status_code == 200
