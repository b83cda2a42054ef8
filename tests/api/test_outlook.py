"""The outlook over HTTP: with every onboarding, in lists, and in its long form."""

from __future__ import annotations

from typing import Any

from fastapi.testclient import TestClient

from tasks.ports import Ports
from tests.api.conftest import client_of, uploaded
from tests.api.test_onboardings import PHOTOS, start


def test_every_view_of_an_onboarding_carries_its_outlook(client: TestClient, ports: Ports) -> None:
    onboarding = start(client, uploaded(client, ports, "42", *PHOTOS)).json()
    one = client.get(f"/v1/onboardings/{onboarding['id']}").json()["outlook"]
    [listed] = client.get("/v1/onboardings").json()["items"]
    [of_user] = client.get("/v1/users/42").json()["onboardings"]
    assert one == listed["outlook"] == of_user["outlook"] == onboarding["outlook"]
    assert one["phase"] == "queued"
    assert one["expected_end_at"] is not None


def test_the_long_form_says_what_the_sentence_rests_on(client: TestClient, ports: Ports) -> None:
    onboarding = start(client, uploaded(client, ports, "42", *PHOTOS)).json()
    why = client.get(f"/v1/onboardings/{onboarding['id']}/why").json()
    assert why["id"] == onboarding["id"]
    assert why["sentence"] == onboarding["outlook"]["sentence"]
    assert any("nothing measured yet" in line for line in why["details"])
    assert any(line.startswith("decides next: ") for line in why["details"])


def test_an_ended_onboarding_expects_nothing(client: TestClient, ports: Ports) -> None:
    onboarding = start(client, uploaded(client, ports, "42", *PHOTOS)).json()["id"]
    ended = client.post(f"/v1/onboardings/{onboarding}/cancel").json()["outlook"]
    assert (ended["phase"], ended["expected_end_at"]) == ("cancelled", None)


def test_nobody_is_told_of_another_tenant_s_onboarding(
    app: Any, client: TestClient, ports: Ports
) -> None:
    onboarding = start(client, uploaded(client, ports, "42", *PHOTOS)).json()["id"]
    answer = client_of(app, "stranger").get(f"/v1/onboardings/{onboarding}/why")
    assert answer.status_code == 404
