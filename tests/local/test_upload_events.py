"""The local bucket's events: each closed set is told, at least once, whatever ends in between."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from atelier.contracts.clock import SystemClock
from atelier.contracts.errors import ServiceUnavailable
from infra.local.objects import FileObjects
from infra.local.upload_events import AGAIN_SECONDS, UploadEvents, straight
from infra.local.upload_forms import hmac_signer

KEY = "uploads/o/first/_complete.json"


class Bucket:
    """A bucket with its events, and what was told of it; `refuse` times telling fails."""

    def __init__(self, folder: Any, *, refuse: int = 0, channel: Any = straight) -> None:
        self.told: list[str] = []
        self.refuse = refuse
        self.clock = SystemClock()
        self.stop = threading.Event()
        self.events = UploadEvents(
            bucket=folder / "objects",
            mark=folder / "mark",
            clock=self.clock,
            tell=self.tell,
            channel=channel,
            retry_seconds=0.01,
        )
        self.objects = FileObjects(
            folder / "objects",
            clock=self.clock,
            sign=hmac_signer(b"a secret of the tests, 32 bytes."),
            upload_url="",
            on_put=self.events.written,
        )

    def tell(self, event: Any) -> None:
        if self.refuse:
            self.refuse -= 1
            raise (ServiceUnavailable("not now") if self.refuse % 2 else KeyError("a defect"))
        assert event["detail-type"] == "Object Created"
        self.told.append(event["detail"]["object"]["key"])

    def serve(self) -> list[str]:
        """Tell what there is, then stop."""
        self.events.stop()
        thread = threading.Thread(target=self.events.serve, args=(self.stop,))
        thread.start()
        while not (self.told or not thread.is_alive()):
            thread.join(0.01)
        self.stop.set()
        self.events.stop()
        thread.join()
        return self.told


@pytest.fixture
def bucket(tmp_path):
    return Bucket(tmp_path)


def test_a_closed_set_is_told_and_nothing_else_is(bucket):
    for key in ("uploads/o/first/01.png", "records/_complete.json", KEY):
        bucket.objects.put(key, b"{}")
    assert set(bucket.serve()) == {KEY}


def test_what_was_written_before_a_kill_is_told_at_the_next_start(bucket, tmp_path):
    bucket.objects.put(KEY, b"{}")
    assert Bucket(tmp_path).serve() == [KEY]


def test_what_was_told_long_before_is_not_told_again(bucket, tmp_path):
    bucket.objects.put(KEY, b"{}")
    bucket.serve()
    marked_at = (tmp_path / "mark").stat().st_mtime
    os.utime(tmp_path / "objects" / KEY, times=(0, marked_at - 2 * AGAIN_SECONDS))
    later = Bucket(tmp_path)
    later.objects.put("uploads/o/second/_complete.json", b"{}")
    assert KEY not in later.serve()


def test_nothing_is_marked_before_it_was_heard(tmp_path):
    bucket = Bucket(tmp_path, refuse=1_000_000)
    bucket.objects.put(KEY, b"{}")
    bucket.stop.set()
    bucket.serve()
    assert not (tmp_path / "mark").exists()


def losing(times: int) -> Any:
    """Return a channel that loses each of its first events."""

    def channel(deliver: Any) -> Any:
        lost: list[Any] = []

        def carry(event: Any) -> None:
            if len(lost) < times:
                lost.append(event)
            else:
                deliver(event)

        return carry

    return channel


def test_what_the_channel_loses_is_told_until_it_is_heard(tmp_path):
    bucket = Bucket(tmp_path, channel=losing(3))
    bucket.objects.put(KEY, b"{}")
    assert bucket.serve() == [KEY]


def test_what_is_heard_late_is_told_no_more(tmp_path):
    held: list[Any] = []
    bucket = Bucket(tmp_path, channel=lambda deliver: lambda event: held.append((deliver, event)))
    bucket.objects.put(KEY, b"{}")
    thread = threading.Thread(target=bucket.events.serve, args=(bucket.stop,))
    thread.start()
    while not held:
        thread.join(0.01)
    deliver, event = held[0]
    deliver(event)
    while not (tmp_path / "mark").exists():
        thread.join(0.01)
    bucket.stop.set()
    bucket.events.stop()
    thread.join()
    assert bucket.told == [KEY]


def test_what_cannot_be_told_now_is_told_later(tmp_path):
    bucket = Bucket(tmp_path, refuse=2)
    bucket.objects.put(KEY, b"{}")
    assert set(bucket.serve()) == {KEY}
