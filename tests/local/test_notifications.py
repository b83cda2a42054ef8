"""The log of notifications: whole lines, whatever a crash or a full disk does to the last one."""

from __future__ import annotations

import pytest

from atelier.contracts.errors import ServiceUnavailable
from infra.local.notifications import LoggedNotifications, read_notifications
from tests.contracts.people import notification, request_record
from tests.local.disks import small_disk

READY = notification(request_record())
FAILED = notification(request_record("43"), "onboarding.failed")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "logs/notifications.jsonl"


def test_a_reader_finds_what_was_delivered(path):
    assert list(read_notifications(path)) == []
    for told in (READY, FAILED):
        LoggedNotifications(path).deliver(told)
    assert list(read_notifications(path)) == [READY, FAILED]


@pytest.mark.parametrize("kept", [1, 17, -1])
def test_half_a_line_that_a_crash_left_is_skipped_by_readers_and_cut_off_by_the_next(path, kept):
    LoggedNotifications(path).deliver(READY)
    whole = path.read_bytes()
    path.write_bytes(whole + FAILED.to_json()[:kept])
    assert list(read_notifications(path)) == [READY]
    LoggedNotifications(path).deliver(FAILED)
    assert list(read_notifications(path)) == [READY, FAILED]
    assert path.read_bytes() == whole + FAILED.to_json() + b"\n"


def test_a_first_line_that_is_half_is_cut_off(path):
    path.parent.mkdir()
    path.write_bytes(READY.to_json()[:40])
    LoggedNotifications(path).deliver(READY)
    assert list(read_notifications(path)) == [READY]


def test_lines_that_are_no_notifications_are_skipped(path):
    path.parent.mkdir()
    path.write_bytes(b"not json\n{}\n\n" + READY.to_json() + b"\n[1]\n")
    assert list(read_notifications(path)) == [READY]


def test_a_disk_that_fills_up_in_mid_line_leaves_no_half_line(path):
    port = LoggedNotifications(path)
    port.deliver(READY)
    whole = path.read_bytes()
    with small_disk(len(whole) + 40), pytest.raises(ServiceUnavailable, match="cannot be written"):
        port.deliver(FAILED)
    assert path.read_bytes() == whole
    port.deliver(FAILED)
    assert list(read_notifications(path)) == [READY, FAILED]
