"""Onboardings over HTTP: started once, found by their owner alone, cancelled at any moment."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from app.api.application import create_app
from atelier.contracts import checkpoints, ids, keys
from atelier.contracts.progress import Progress, TrainingState
from atelier.contracts.status import Stamp, Status
from tasks.ports import Ports
from tests.api.conftest import SECRET, client_of, uploaded
from tests.fakes.services import ScriptedExecutions

PHOTOS = (b"one", b"two", b"three", b"four")


def start(client: TestClient, prefix: str, *, key: str | None = "k-1", **changes: object):
    headers = {"Idempotency-Key": key} if key else {}
    body = {"user_id": "42", "photos": prefix, "model": "me", "preset": "nano", **changes}
    return client.post("/v1/onboardings", json=body, headers=headers)


def test_starting_answers_at_once_with_where_to_look(
    client: TestClient, ports: Ports, executions: ScriptedExecutions
) -> None:
    prefix = uploaded(client, ports, "42", *PHOTOS)
    answer = start(client, prefix)
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/onboardings/{answer.json()['id']}"
    assert client.get(answer.headers["Location"]).json()["status"] == "queued"
    assert list(executions.executions) == [("onboarding", f"{answer.json()['id']}-1")]


def test_the_execution_gets_the_consent_and_the_tenant_of_the_credential(
    client: TestClient, ports: Ports, executions: ScriptedExecutions
) -> None:
    prefix = uploaded(client, ports, "42", *PHOTOS)
    start(client, prefix)
    [given] = executions.inputs.values()
    assert given["tenant"] == "default"
    assert given["consent"]["given_by"] == "42"


def test_the_same_key_and_input_are_the_same_onboarding(
    client: TestClient, ports: Ports, executions: ScriptedExecutions
) -> None:
    prefix = uploaded(client, ports, "42", *PHOTOS)
    first = start(client, prefix)
    ports.clock.sleep(30)
    second = start(client, prefix)
    assert (first.status_code, second.status_code) == (202, 200)
    assert first.json()["id"] == second.json()["id"]
    assert len(executions.executions) == 1


def test_without_a_key_the_input_is_the_key(client: TestClient, ports: Ports) -> None:
    prefix = uploaded(client, ports, "42", *PHOTOS)
    first, second = start(client, prefix, key=None), start(client, prefix, key=None)
    other = start(client, prefix, key=None, model="other")
    assert first.json()["id"] == second.json()["id"] != other.json()["id"]


def test_the_same_key_with_another_input_is_a_conflict(client: TestClient, ports: Ports) -> None:
    prefix = uploaded(client, ports, "42", *PHOTOS)
    start(client, prefix)
    answer = start(client, prefix, model="other")
    assert answer.status_code == 409
    assert answer.json()["code"] == "IdempotencyConflict"


def test_another_onboarding_for_the_same_model_waits_for_the_first(
    client: TestClient, ports: Ports, executions: ScriptedExecutions
) -> None:
    first = start(client, uploaded(client, ports, "42", *PHOTOS))
    prefix = uploaded(client, ports, "42", *PHOTOS, b"five")
    answer = start(client, prefix, key="k-2")
    assert (answer.status_code, answer.json()["code"]) == (409, "AlreadyExists")
    assert answer.json()["facts"] == {"kind": "onboarding", "name": first.json()["id"]}
    assert first.json()["id"] in answer.json()["do"]
    assert len(executions.executions) == 1


def test_the_first_onboarding_is_still_found_while_the_second_is_refused(
    client: TestClient, ports: Ports
) -> None:
    prefix = uploaded(client, ports, "42", *PHOTOS)
    first = start(client, prefix)
    start(client, prefix, key="k-2", new_version=True)
    assert start(client, prefix, key="k-3").status_code == 409
    again = start(client, prefix)
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])


@pytest.mark.parametrize("changes", [{"new_version": True}, {"model": "other"}])
def test_a_new_version_or_another_model_may_be_asked_for_meanwhile(
    client: TestClient, ports: Ports, changes: dict[str, object]
) -> None:
    prefix = uploaded(client, ports, "42", *PHOTOS)
    start(client, prefix)
    assert start(client, prefix, key="k-2", **changes).status_code == 202


def test_a_model_of_that_name_under_way_for_another_user_is_no_obstacle(
    client: TestClient, ports: Ports
) -> None:
    start(client, uploaded(client, ports, "42", *PHOTOS))
    prefix = uploaded(client, ports, "43", *PHOTOS)
    assert start(client, prefix, key="k-2", user_id="43").status_code == 202


def test_an_onboarding_that_was_cancelled_makes_room_for_the_next(
    client: TestClient, ports: Ports
) -> None:
    prefix = uploaded(client, ports, "42", *PHOTOS)
    first = start(client, prefix).json()["id"]
    client.post(f"/v1/onboardings/{first}/cancel")
    assert start(client, prefix, key="k-2").status_code == 202


def test_a_base_model_whose_weights_are_not_there_is_refused_before_anything_starts(
    ports: Ports, executions: ScriptedExecutions
) -> None:
    settings = replace(ports.settings, base_models=("tiny",))
    client = client_of(
        create_app(ports=replace(ports, settings=settings), secret=SECRET), "default"
    )
    prefix = uploaded(client, ports, "42", *PHOTOS)
    answer = start(client, prefix, base="sd15")
    assert answer.status_code == 400
    assert answer.json()["detail"] == "this deployment has no base model sd15; it has: tiny"
    assert answer.json()["facts"]["allowed"] == ["tiny"]
    assert not executions.executions
    assert start(client, prefix, base="tiny").status_code == 202


def test_photos_that_are_left_out_are_shown_once_they_were_looked_at(
    client: TestClient, ports: Ports
) -> None:
    onboarding = start(client, uploaded(client, ports, "42", *PHOTOS)).json()["id"]
    assert client.get(f"/v1/onboardings/{onboarding}").json()["photos"] is None
    left_out, notes = {"cat.png": "is no image"}, {"dog.png": "dark"}
    ports.ledger.annotate(
        onboarding,
        attempt=1,
        photos_used=8,
        photos_left_out=left_out,
        photos_notes=notes,
        photos_advice=("take more",),
    )
    for shown in (
        client.get(f"/v1/onboardings/{onboarding}").json(),
        client.get("/v1/onboardings").json()["items"][0],
    ):
        assert shown["photos"] == {
            "used": 8,
            "left_out": left_out,
            "notes": notes,
            "advice": ["take more"],
        }
        assert shown["consent"]["given_by"]


def test_an_onboarding_whose_start_was_lost_is_started_by_the_retry(
    client: TestClient, ports: Ports, executions: ScriptedExecutions
) -> None:
    prefix = uploaded(client, ports, "42", *PHOTOS)
    start(client, prefix)
    executions.forget()
    assert start(client, prefix).status_code == 200
    assert len(executions.executions) == 1


def test_an_unclosed_set_is_refused_before_anything_starts(
    client: TestClient, ports: Ports, executions: ScriptedExecutions
) -> None:
    owner = ids.owner_of("default", "42")
    answer = start(client, f"uploads/{owner}/m{'a' * 26}/")
    assert answer.status_code == 400
    assert "complete" in answer.json()["do"]
    assert not executions.executions


def test_photos_of_another_user_are_not_found(client: TestClient, ports: Ports) -> None:
    prefix = uploaded(client, ports, "43", *PHOTOS)
    assert start(client, prefix).status_code == 404


@pytest.mark.parametrize("inside", ["first", "../first/", "a b/", "/", "ü/"])
def test_a_folder_that_is_none_is_refused(client: TestClient, inside: str) -> None:
    answer = start(client, f"uploads/{ids.owner_of('default', '42')}/{inside}")
    assert answer.status_code == 400
    assert answer.json()["facts"]["where"] == "photos"
    assert "POST /v1/uploads" in answer.json()["do"]


def test_a_wrong_hyperparameter_is_named_with_its_range(client: TestClient, ports: Ports) -> None:
    prefix = uploaded(client, ports, "42", *PHOTOS)
    answer = start(client, prefix, hyperparameters={"rank": 5000})
    assert answer.status_code == 400
    assert "rank 5000" in answer.json()["detail"]
    assert "128" in answer.json()["detail"]


def test_two_tenants_who_both_call_their_user_42_see_their_own(app, ports: Ports) -> None:
    one, other = client_of(app, "one"), client_of(app, "other")
    mine = start(one, uploaded(one, ports, "42", *PHOTOS)).json()
    start(other, uploaded(other, ports, "42", *PHOTOS))
    assert other.get(f"/v1/onboardings/{mine['id']}").status_code == 404
    assert other.post(f"/v1/onboardings/{mine['id']}/cancel").status_code == 404
    assert [o["id"] for o in one.get("/v1/onboardings").json()["items"]] == [mine["id"]]


def test_a_users_own_key_sees_that_user_alone(app, client: TestClient, ports: Ports) -> None:
    mine = start(client, uploaded(client, ports, "42", *PHOTOS)).json()
    ada = client_of(app, "default", "ada")
    assert ada.get(f"/v1/onboardings/{mine['id']}").status_code == 404
    assert ada.get("/v1/onboardings").json()["items"] == []
    assert ada.get("/v1/users/42").status_code == 404
    assert client_of(app, "default", "42").get(f"/v1/onboardings/{mine['id']}").status_code == 200


def test_a_request_without_a_key_or_with_a_forged_one_is_unauthorised(client: TestClient) -> None:
    forged = client.headers["Authorization"][:-3] + "aaa"
    for headers in ({"Authorization": ""}, {"Authorization": forged}):
        answer = client.get("/v1/onboardings", headers=headers)
        assert answer.status_code == 401
        assert answer.json()["code"] == "Unauthorized"


def test_another_host_header_is_refused(client: TestClient) -> None:
    assert client.get("/v1/health", headers={"Host": "evil.example"}).status_code == 400


def test_the_freshest_progress_is_shown(client: TestClient, ports: Ports) -> None:
    onboarding = start(client, uploaded(client, ports, "42", *PHOTOS)).json()["id"]
    job = ids.job_name(ids.batch_of([(onboarding, 1)]), 1)
    ports.ledger.advance(onboarding, Stamp(1, Status.LAUNCHING, job), host="algo-1")
    progress = Progress(
        request=onboarding,
        attempt=1,
        job=job,
        host="algo-1",
        state=TrainingState.TRAINING,
        step=3,
        steps=6,
        loss=0.5,
        eta_seconds=2.5,
        updated_at=ports.clock.now(),
        previews=(checkpoints.preview("algo-1", onboarding, 3),),
    )
    base = keys.checkpoints(job)
    ports.objects.put(base + checkpoints.progress("algo-1", onboarding), progress.to_json())
    ports.objects.put(base + checkpoints.preview("algo-1", onboarding, 3), b"a picture")
    shown = client.get(f"/v1/onboardings/{onboarding}").json()["progress"]
    assert (shown["step"], shown["previews"]) == (3, ["step-000003.png"])
    picture = client.get(f"/v1/onboardings/{onboarding}/images/step-000003.png")
    assert picture.content == b"a picture"
    assert client.get(f"/v1/onboardings/{onboarding}/images/step-000004.png").status_code == 404
    assert client.get(f"/v1/onboardings/{onboarding}/images/progress.json").status_code == 404


def test_a_progress_file_that_does_not_read_says_nothing(client: TestClient, ports: Ports) -> None:
    onboarding = start(client, uploaded(client, ports, "42", *PHOTOS)).json()["id"]
    job = ids.job_name(ids.batch_of([(onboarding, 1)]), 1)
    ports.ledger.advance(onboarding, Stamp(1, Status.LAUNCHING, job), host="algo-1")
    key = keys.checkpoint(job, checkpoints.progress("algo-1", onboarding))
    for body in (b"{", b" " * 1024 * 1024):
        ports.objects.put(key, body)
        shown = client.get(f"/v1/onboardings/{onboarding}")
        assert (shown.status_code, shown.json()["progress"]) == (200, None)


def test_a_queued_onboarding_that_is_cancelled_tells_its_execution(
    client: TestClient, ports: Ports, executions: ScriptedExecutions
) -> None:
    onboarding = start(client, uploaded(client, ports, "42", *PHOTOS)).json()["id"]
    ports.ledger.annotate(onboarding, attempt=1, token="the token", queued_at=ports.clock.now())
    answer = client.post(f"/v1/onboardings/{onboarding}/cancel")
    assert answer.json()["status"] == "cancelled"
    [(token, (error, _))] = executions.failed.items()
    assert (token, error) == ("the token", "Cancelled")
    assert not ports.ledger.queued(limit=10)


def test_an_onboarding_that_failed_in_place_goes_on_on_a_persons_word(
    client: TestClient, ports: Ports, executions: ScriptedExecutions
) -> None:
    onboarding = start(client, uploaded(client, ports, "42", *PHOTOS)).json()["id"]
    refused = client.post(f"/v1/onboardings/{onboarding}/redrive")
    assert (refused.status_code, refused.json()["code"]) == (400, "InvalidRequest")
    assert "under way" in refused.json()["do"]
    name = ids.execution_name(onboarding, 1)
    executions.finish("onboarding", name, "FAILED", error="ObjectMissing")
    answer = client.post(f"/v1/onboardings/{onboarding}/redrive")
    assert (answer.status_code, answer.json()["status"]) == (200, "queued")
    assert executions.describe("onboarding", name).status == "RUNNING"


def test_asking_again_without_a_key_tries_once_more_what_was_cancelled(
    client: TestClient, ports: Ports, executions: ScriptedExecutions
) -> None:
    prefix = uploaded(client, ports, "42", *PHOTOS)
    onboarding = start(client, prefix, key=None).json()["id"]
    client.post(f"/v1/onboardings/{onboarding}/cancel")
    again = start(client, prefix, key=None)
    assert (again.status_code, again.json()["id"]) == (202, onboarding)
    assert (again.json()["attempt"], again.json()["status"]) == (2, "queued")
    assert executions.describe("onboarding", f"{onboarding}-2").status == "RUNNING"
    found = start(client, prefix, key=None)
    assert (found.status_code, found.json()["attempt"]) == (200, 2)


def test_a_key_finds_what_became_of_it_and_a_retry_of_its_own_begins_it_once_more(
    client: TestClient, ports: Ports, executions: ScriptedExecutions
) -> None:
    prefix = uploaded(client, ports, "42", *PHOTOS)
    onboarding = start(client, prefix).json()["id"]
    refused = client.post(f"/v1/onboardings/{onboarding}/retry")
    assert (refused.status_code, refused.json()["code"]) == (400, "InvalidRequest")
    client.post(f"/v1/onboardings/{onboarding}/cancel")
    assert start(client, prefix).json()["status"] == "cancelled"
    answer = client.post(f"/v1/onboardings/{onboarding}/retry")
    assert (answer.status_code, answer.json()["attempt"]) == (200, 2)
    assert executions.describe("onboarding", f"{onboarding}-2").status == "RUNNING"
    assert client.post("/v1/onboardings/none/retry").status_code == 404


@pytest.mark.parametrize("key", [None, "k-1"])
def test_a_retry_waits_for_another_onboarding_for_the_same_model(
    client: TestClient, ports: Ports, key: str | None
) -> None:
    prefix = uploaded(client, ports, "42", *PHOTOS)
    first = start(client, prefix, key=key).json()["id"]
    client.post(f"/v1/onboardings/{first}/cancel")
    second = start(client, prefix, key="k-2").json()["id"]
    answer = client.post(f"/v1/onboardings/{first}/retry")
    assert (answer.status_code, answer.json()["facts"]["name"]) == (409, second)
    assert start(client, prefix, key=key).status_code == (409 if key is None else 200)


def test_nobody_redrives_what_is_not_theirs(client: TestClient) -> None:
    assert client.post("/v1/onboardings/none/redrive").status_code == 404


def test_callback_tokens_are_never_shown(client: TestClient, ports: Ports) -> None:
    onboarding = start(client, uploaded(client, ports, "42", *PHOTOS)).json()["id"]
    ports.ledger.annotate(onboarding, attempt=1, token="secret-token")
    for path in (f"/v1/onboardings/{onboarding}", "/v1/onboardings", "/v1/users/42"):
        assert "secret-token" not in client.get(path).text


def test_a_list_is_paged_newest_first(client: TestClient, ports: Ports) -> None:
    prefix = uploaded(client, ports, "42", *PHOTOS)
    made = []
    for number in range(5):
        ports.clock.sleep(1)
        made.append(start(client, prefix, key=f"k-{number}", model=f"m{number}").json()["id"])
    seen, cursor = [], None
    while True:
        page = client.get(
            "/v1/onboardings",
            params={"limit": 2, "cursor": cursor or ""} if cursor else {"limit": 2},
        ).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == made[::-1]


def test_a_foreign_cursor_is_refused(client: TestClient) -> None:
    answer = client.get("/v1/onboardings", params={"cursor": "no cursor"})
    assert answer.status_code == 400
