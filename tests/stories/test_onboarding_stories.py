"""Stories: whole user journeys on a running platform, through the HTTP API alone."""

from __future__ import annotations

import base64
import io
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from atelier.contracts.clock import SystemClock
from infra.doctor import examine
from infra.local.evidence import collect
from infra.local.training import TrainingSettings
from tests.stories.conftest import Studio, mascot_photos, running, turned_photos

pytestmark = [pytest.mark.story, pytest.mark.timeout(240)]


def picture(drawn: dict[str, Any], number: int = 0) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(drawn["images"][number]["image_base64"])))


def test_a_person_gets_their_first_model_and_draws_with_it(studio: Studio) -> None:
    ada = studio.person("first-model", "ada")
    onboarding = ada.onboard(
        mascot_photos(), model="me", samples=[{"prompt": "a photo of zorp creature", "seed": 1}]
    )
    seen = ada.wait(onboarding)
    assert seen["status"] == "ready", seen["failure"]
    assert [entered["status"] for entered in seen["timeline"]][-1] == "ready"
    assert seen["progress"]["step"] == seen["progress"]["steps"]
    for name in (*seen["progress"]["previews"], *seen["progress"]["samples"]):
        answer = ada.http.get(f"/v1/onboardings/{onboarding}/images/{name}")
        Image.open(io.BytesIO(answer.content)).verify()
    assert [m["model"] for m in ada.get("/v1/users/ada")["models"]] == ["me"]
    drawn = ada.draw("me", "a photo of zorp creature", count=2, seed=3)
    assert [image["seed"] for image in drawn["images"]] == [3, 4]
    assert picture(drawn).size == (64, 64)
    assert drawn["version"] == seen["version"]
    assert [told["type"] for told in studio.notifications("first-model")] == ["onboarding.ready"]


def test_a_second_model_of_the_same_owner_leaves_the_first_alone(studio: Studio) -> None:
    ada = studio.person("second-model", "ada")
    assert ada.wait(ada.onboard(mascot_photos(), model="cat"))["status"] == "ready"
    before = ada.draw("cat", "a photo of zorp creature", seed=5)
    assert ada.wait(ada.onboard(turned_photos(), model="dog"))["status"] == "ready"
    assert [m["model"] for m in ada.get("/v1/users/ada")["models"]] == ["cat", "dog"]
    after = ada.draw("cat", "a photo of zorp creature", seed=5)
    assert after["images"] == before["images"]
    other = ada.draw("dog", "a photo of zorp creature", seed=5)
    assert other["images"] != before["images"]


def test_a_returning_owner_with_the_same_photos_is_ready_without_training(
    studio: Studio,
) -> None:
    ada = studio.person("returning", "ada")
    first = ada.wait(ada.onboard(mascot_photos(), model="me"))
    again = ada.wait(ada.onboard(mascot_photos(), model="me", priority=1))
    assert again["id"] != first["id"]
    assert (again["status"], again["version"]) == ("ready", first["version"])
    assert again["job"] is None
    [model] = ada.get("/v1/users/ada")["models"]
    assert len(model["versions"]) == 1


def test_two_tenants_who_both_call_their_user_42_get_their_own_models(studio: Studio) -> None:
    one, other = studio.person("tenant-one", "42"), studio.person("tenant-two", "42")
    mine, theirs = one.onboard(mascot_photos()), other.onboard(turned_photos())
    assert one.wait(mine)["status"] == other.wait(theirs)["status"] == "ready"
    assert one.http.get(f"/v1/onboardings/{theirs}").status_code == 404
    prompt = "a photo of zorp creature"
    # Interleaved on one endpoint: every image comes from its owner's adapter, again and again.
    drawn = [(one.draw("me", prompt, seed=9), other.draw("me", prompt, seed=9)) for _ in range(3)]
    assert len({d["images"][0]["image_base64"] for d, _ in drawn}) == 1
    assert len({d["images"][0]["image_base64"] for _, d in drawn}) == 1
    assert drawn[0][0]["images"] != drawn[0][1]["images"]
    base = [p.draw("me", prompt, seed=9, adapter_scale=0)["images"] for p in (one, other)]
    assert base[0] == base[1]


def test_a_training_that_dies_is_repeated_and_succeeds_once(studio: Studio) -> None:
    ada = studio.person("dying", "ada")
    onboarding = ada.onboard(mascot_photos())
    seen = ada.wait(onboarding, lambda o: o["status"] == "training" and bool(o["progress"]))
    killed = kill_training(studio, seen["job"])
    assert killed, "the training program was not found"
    done = ada.wait(onboarding)
    assert (done["status"], done["attempt"]) == ("ready", 2), done
    assert done["job"] != seen["job"]
    [model] = ada.get("/v1/users/ada")["models"]
    assert len(model["versions"]) == 1
    assert [told["type"] for told in studio.notifications("dying")] == ["onboarding.ready"]


def test_an_onboarding_cancelled_while_training_stops_and_leaves_no_model(
    studio: Studio,
) -> None:
    ada = studio.person("cancelled-training", "ada")
    onboarding = ada.onboard(mascot_photos(), hyperparameters={"steps": 400})
    ada.wait(onboarding, lambda o: bool(o["progress"]) and o["progress"]["step"] > 0)
    assert ada.post(f"/v1/onboardings/{onboarding}/cancel", {})["status"] == "cancelled"
    stopped = ada.wait(onboarding, lambda o: o["progress"]["state"] == "stopped")
    while stopped["progress"]["state"] != "stopped":
        stopped = ada.read(onboarding)
    assert stopped["progress"]["step"] < 400
    assert ada.get("/v1/users/ada") == {"user_id": "ada", "models": [], "onboardings": []}
    wait_for_execution(studio, stopped["execution"], "ABORTED")
    told = studio.notifications("cancelled-training")
    assert [t["type"] for t in told] == ["onboarding.cancelled"]


def test_an_onboarding_cancelled_while_queued_never_trains(tmp_path: Path) -> None:
    full = TrainingSettings(creates_per_second=0, instance_quota=0)
    with running(tmp_path, training=full) as studio:
        ada = studio.person("queue", "ada")
        onboarding = ada.onboard(mascot_photos())
        waiting = ada.wait(onboarding, lambda o: bool(o["waiting_for"]))
        assert waiting["waiting_for"]
        assert ada.post(f"/v1/onboardings/{onboarding}/cancel", {})["status"] == "cancelled"
        wait_for_execution(studio, waiting["execution"], "FAILED")
        assert ada.read(onboarding)["job"] is None


def test_an_onboarding_that_was_cancelled_is_tried_once_more_and_becomes_ready(
    tmp_path: Path,
) -> None:
    with running(tmp_path, training=TrainingSettings(creates_per_second=0)) as studio:
        ada = studio.person("retried", "ada")
        onboarding = ada.onboard(mascot_photos())
        ada.wait(onboarding, lambda o: bool(o["job"]))
        assert ada.post(f"/v1/onboardings/{onboarding}/cancel", {})["status"] == "cancelled"
        assert ada.onboard(mascot_photos()) == onboarding
        seen = ada.wait(onboarding)
        assert (seen["status"], seen["attempt"]) == ("ready", 2), seen["failure"]
        assert seen["execution"] == f"{onboarding}-2"
        [model] = ada.get("/v1/users/ada")["models"]
        assert len(model["versions"]) == 1
        wait_for_execution(studio, seen["execution"], "SUCCEEDED")
        told = [t["type"] for t in studio.notifications("retried")]
        assert told == ["onboarding.cancelled", "onboarding.ready"]
    clock = SystemClock()
    evidence = collect(tmp_path, clock=clock, running=False)
    assert examine(evidence, now=clock.now()).findings == ()


def test_an_execution_that_an_operator_stops_cancels_its_onboarding(tmp_path: Path) -> None:
    full = TrainingSettings(creates_per_second=0, instance_quota=0)
    with running(tmp_path, training=full) as studio:
        ada = studio.person("console", "ada")
        waiting = ada.wait(ada.onboard(mascot_photos()), lambda o: bool(o["waiting_for"]))
        studio.platform.ports.executions.stop(
            "onboarding", waiting["execution"], error="Stopped", cause="by hand in the console"
        )
        seen = ada.wait(waiting["id"])
        assert (seen["status"], seen["failure"]["error"]) == ("cancelled", "Cancelled")
        assert "by hand" in seen["failure"]["message"]


def test_throttled_launches_wait_their_turn_and_nobody_is_lost_or_doubled(
    tmp_path: Path,
) -> None:
    slow = TrainingSettings(creates_per_second=0.5, instance_quota=2)
    with running(tmp_path, training=slow) as studio:
        people = [studio.person("launch", f"user-{n}") for n in range(3)]
        wanted = [person.onboard(mascot_photos()) for person in people]
        for person, onboarding in zip(people, wanted, strict=True):
            seen = person.wait(onboarding)
            assert (seen["status"], seen["attempt"]) == ("ready", 1), seen
            [model] = person.get(f"/v1/users/{person.user}")["models"]
            assert len(model["versions"]) == 1
        assert len(studio.notifications("launch")) == len(people)


def test_photos_that_make_no_model_are_refused_one_by_one_before_training(
    studio: Studio,
) -> None:
    ada = studio.person("refused", "ada")
    good = mascot_photos()
    photos = [*good[:2], good[0], b"\x89PNG\r\n\x1a\n no picture", good[3][: len(good[3]) // 2]]
    seen = ada.wait(ada.onboard(photos))
    assert (seen["status"], seen["job"]) == ("failed", None)
    assert seen["failure"]["error"] == "PhotosRejected"
    assert {"03.png", "04.png", "05.png"} <= set(str(seen["failure"]["facts"]).split("'"))
    assert seen["failure"]["do"]
    assert ada.get("/v1/users/ada")["models"] == []


def kill_training(studio: Studio, job: str) -> list[int]:
    """Kill the processes of a training job, as a dying machine would; return their ids."""
    mine = f"TRAINING_JOB_NAME={job}".encode()
    killed = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and mine in environment_of(process):
            os.kill(int(process.name), signal.SIGKILL)
            killed.append(int(process.name))
    return killed


def environment_of(process: Path) -> list[bytes]:
    try:
        return (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return []


def wait_for_execution(studio: Studio, name: str, status: str) -> Mapping[str, Any]:
    """Wait until an onboarding's execution has ended, and check how."""
    executions, clock = studio.platform.ports.executions, studio.platform.clock
    for _ in range(1200):
        execution = executions.describe("onboarding", name)
        if execution.status != "RUNNING":
            assert execution.status == status, execution
            return {"error": execution.error}
        clock.sleep(0.05)
    raise AssertionError(f"execution {name} still runs")
