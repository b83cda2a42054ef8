"""The bucket's events: which start an onboarding, and that rubbish neither starts nor repeats."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atelier.contracts import keys
from atelier.contracts.dataset import UploadComplete
from atelier.contracts.errors import ServiceUnavailable
from atelier.contracts.request import normalise, read_input
from atelier.contracts.status import Stamp, Status
from tasks import register, start_from_upload
from tests.contract_documents.drawing import plain
from tests.fakes.world import World, new_world


def closed(world: World, user: str = "42", **onboarding: Any) -> str:
    """Upload a set whose document asks for an onboarding; return the document's key."""
    key = keys.upload_complete(world.upload(user))
    document = UploadComplete.from_json(world.objects.read(key))
    wish = {"user_id": user, "preset": "nano", **onboarding}
    world.objects.put(key, replace(document, onboarding=wish).to_json())
    return key


def by_eventbridge(key: str) -> dict[str, Any]:
    return {
        "version": "0",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "detail": {
            "bucket": {"name": "atelier"},
            "object": {"key": key, "size": 1, "etag": "0", "sequencer": "00"},
            "reason": "PutObject",
        },
    }


def by_notification(*found: str) -> dict[str, Any]:
    return {
        "Records": [
            {
                "eventSource": "aws:s3",
                "eventName": "ObjectCreated:Put",
                "s3": {"bucket": {"name": "atelier"}, "object": {"key": quote_plus(key)}},
            }
            for key in found
        ]
    }


def tell(world: World, event: Any) -> dict[str, Any]:
    return start_from_upload.run(event, ports=world.ports)


@pytest.mark.parametrize("told", [by_eventbridge, by_notification])
def test_a_closed_set_that_asks_for_an_onboarding_starts_it(world, told):
    result = tell(world, told(closed(world, subject="dog")))
    [request] = result["started"]
    record = world.read(request)
    assert (record.status, record.given.subject) == (Status.QUEUED, "dog")
    assert record.given.consent.given_by == "ada"
    assert ("onboarding", f"{request}-1") in world.executions.executions


def test_what_started_registers_as_the_same_request(world):
    [request] = tell(world, by_eventbridge(closed(world)))["started"]
    started = world.executions.inputs["onboarding", f"{request}-1"]
    result = register.run({"given": started, "execution": f"{request}-1"}, ports=world.ports)
    assert result["request"] == request


def test_an_event_that_comes_again_in_any_form_starts_nothing_twice(world):
    key = closed(world)
    first = tell(world, by_eventbridge(key))
    again = [tell(world, event) for event in (by_notification(key, key), by_eventbridge(key))]
    assert [set(told["started"]) for told in again] == [set(first["started"])] * 2
    assert len(world.executions.executions) == 1


def test_an_event_that_comes_after_the_end_revives_nothing(world):
    [request] = tell(world, by_eventbridge(closed(world)))["started"]
    started = world.executions.inputs["onboarding", f"{request}-1"]
    world.clock.advance(25 * 3600)
    payload = {"given": started, "execution": f"{request}-1"}
    with pytest.raises(Exception, match="deadline"):
        register.run(payload, ports=world.ports)
    world.ledger.advance(request, Stamp(1, Status.FAILED))
    world.executions.forget()
    assert tell(world, by_eventbridge(closed(world)))["started"] == [request]
    assert not world.executions.executions


def test_a_start_that_was_cut_off_after_the_ledger_is_finished_by_the_next_event(world):
    key = closed(world)
    [request] = tell(world, by_eventbridge(key))["started"]
    world.executions.forget()
    tell(world, by_eventbridge(key))
    assert ("onboarding", f"{request}-1") in world.executions.executions


@pytest.mark.parametrize(
    "key",
    [
        "uploads/o/first/_complete.json",
        f"uploads/{'o' + 'a' * 26}/first/01.png",
        f"uploads/{'o' + 'a' * 26}/first/more/_complete.json",
        f"uploads/{'o' + 'a' * 26}/../_complete.json",
        f"uploads/{'o' + 'a' * 26}/.hidden/_complete.json",
        f"datasets/{'o' + 'a' * 26}/first/_complete.json",
        f"uploads/{'o' + 'a' * 26}/gone/_complete.json",
        "uploads/%2e%2e/%00/_complete.json",
        "",
    ],
)
def test_other_keys_and_sets_that_are_gone_start_nothing(world, key):
    for told in (by_eventbridge, by_notification):
        assert tell(world, told(key)) == {"started": [], "refused": [], "ignored": 1}


def test_a_set_that_asks_for_nothing_starts_nothing(world):
    key = keys.upload_complete(world.upload())
    assert tell(world, by_eventbridge(key))["ignored"] == 1


@pytest.mark.parametrize(
    "event",
    [
        {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "atelier"},
        {},
        [],
        None,
        "x",
        {"Records": "x"},
        {"Records": [None, 1, {}, {"s3": 1}, {"s3": {"object": []}}]},
        {"detail": []},
        {"detail-type": "Object Deleted", "detail": {"object": {"key": "uploads/x"}}},
        {"detail-type": "Object Created", "detail": {"object": {"key": 7}}},
    ],
)
def test_what_tells_of_no_new_object_is_passed_over(world, event):
    assert tell(world, event) == {"started": [], "refused": [], "ignored": 0}


def test_a_deleted_object_s_record_is_passed_over(world):
    event = by_notification(closed(world))
    event["Records"][0]["eventName"] = "ObjectRemoved:Delete"
    assert tell(world, event)["started"] == []


@pytest.mark.parametrize(
    ("wish", "where"),
    [
        ({"rubbish": 1}, "$"),
        ({"preset": "best"}, "preset"),
        ({"user_id": None}, "user_id"),
        ({"base": "none"}, "base"),
        ({"hyperparameters": {"rank": 10**300}}, "hyperparameters"),
        ({"photos": "uploads/x/"}, "onboarding.photos"),
        ({"consent": {}}, "onboarding.consent"),
        ({"deadline_seconds": 1}, "deadline_seconds"),
    ],
)
def test_a_wish_that_does_not_read_is_refused_with_its_place_and_never_raised(world, wish, where):
    key = closed(world, **wish)
    [refused] = tell(world, by_eventbridge(key))["refused"]
    assert (refused["key"], refused["error"]) == (key, "InvalidRequest")
    assert refused["facts"]["where"] == where
    assert not world.executions.executions


def test_a_set_is_started_for_nobody_but_its_owner(world):
    for stranger in ({"user_id": "43"}, {"tenant": "other"}):
        [refused] = tell(world, by_eventbridge(closed(world, **stranger)))["refused"]
        assert refused["error"] == "NotFound"
    assert not world.executions.executions


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[" * 100_000, b"\xff", b"x" * (2 * 1024 * 1024)], ids=len
)
def test_a_document_that_does_not_read_is_refused_and_never_raised(world, body):
    key = closed(world)
    world.objects.put(key, body)
    [refused] = tell(world, by_eventbridge(key))["refused"]
    assert refused["error"] in {"InvalidRequest", "ContractBroken"}


def test_one_bad_record_keeps_no_other_back(world):
    bad, good = closed(world, "1", preset="best"), closed(world, "2")
    result = tell(world, by_notification(bad, "uploads/x", good))
    assert len(result["started"]) == len(result["refused"]) == result["ignored"] == 1


def test_what_cannot_start_now_is_raised_after_the_others_have_started(world):
    late, good = closed(world, "1"), closed(world, "2")

    class Slow:
        def read(self, key, **given):
            if key == late:
                raise ServiceUnavailable("slow down")
            return world.objects.read(key, **given)

    ports = replace(world.ports, objects=Slow())
    with pytest.raises(ServiceUnavailable):
        start_from_upload.run(by_notification(late, good), ports=ports)
    assert len(world.executions.executions) == 1


@given(st.dictionaries(st.sampled_from(["detail", "Records", "detail-type", "x"]), plain))
def test_no_event_whatever_it_holds_is_raised(event):
    with new_world() as world:
        assert tell(world, event)["started"] == []


def test_the_result_is_plain_json(world):
    result = tell(world, by_notification(closed(world), closed(world, "2", preset="best")))
    assert json.loads(json.dumps(result)) == result


def test_a_set_s_wish_is_the_request_that_the_console_would_make(world):
    [request] = tell(world, by_eventbridge(closed(world)))["started"]
    assert request == normalise(read_input(world.asked()), now=world.clock.now()).request
