"""Notifications: delivered once, or refused so that they are repeated."""

from __future__ import annotations

import pytest

from atelier.contracts.errors import ServiceUnavailable
from tests.contracts.people import notification, request_record
from tests.contracts.races import together
from tests.contracts.stages.notifications import NOTIFICATIONS

READY = notification(request_record())
FAILED = notification(request_record("43"), "onboarding.failed")


@pytest.fixture(params=sorted(NOTIFICATIONS))
def stage(request, tmp_path):
    return NOTIFICATIONS[request.param](tmp_path)


def test_what_is_delivered_arrives_once_whole_and_in_order(stage):
    stage.port.deliver(READY)
    stage.port.deliver(FAILED)

    assert stage.heard() == [READY, FAILED]


def test_deliveries_from_many_threads_all_arrive_once(stage):
    all_of_them = [notification(request_record(str(user))) for user in range(16)]
    together(16, lambda number: stage.port.deliver(all_of_them[number]))

    assert sorted(heard.id for heard in stage.heard()) == sorted(told.id for told in all_of_them)


def test_what_cannot_be_delivered_now_is_refused_and_did_not_arrive(stage):
    stage.cut()

    with pytest.raises(ServiceUnavailable):
        stage.port.deliver(READY)
    assert stage.heard() == []


def test_what_was_refused_and_is_repeated_arrives_once(stage):
    stage.cut()
    with pytest.raises(ServiceUnavailable):
        stage.port.deliver(READY)
    stage.mend()
    stage.port.deliver(READY)

    assert stage.heard() == [READY]
