"""The local bucket's events: each closed set is told, at least once, whatever ends in between."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from atelier.contracts.clock import ManualClock
from atelier.contracts.errors import ServiceUnavailable
from infra.local.objects import FileObjects
from infra.local.upload_events import UploadEvents
from infra.local.upload_forms import hmac_signer

KEY = "uploads/o/first/_complete.json"


class Bucket:
    """A bucket with its events, and what was told of it; `refuse` times telling fails."""

    def __init__(self, folder: Any, *, refuse: int = 0) -> None:
        self.told: list[str] = []
        self.refuse = refuse
        self.clock = ManualClock()
        self.stop = threading.Event()
        self.events = UploadEvents(
            bucket=folder / "objects",
            mark=folder / "mark",
            clock=self.clock,
            tell=self.tell,
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
            raise ServiceUnavailable("not now")
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
    (tmp_path / "mark").write_text("2026-01-01T02:00:00.000Z")
    later = Bucket(tmp_path)
    later.objects.put("uploads/o/second/_complete.json", b"{}")
    later.clock.advance(7200)
    later.objects.put("uploads/o/third/_complete.json", b"{}")
    assert KEY not in later.serve()


@pytest.mark.parametrize("mark", ["", "2026-", "9999999", "\x00"])
def test_a_mark_that_does_not_read_makes_everything_told_again(bucket, tmp_path, mark):
    bucket.objects.put(KEY, b"{}")
    (tmp_path / "mark").write_text(mark)
    assert Bucket(tmp_path).serve() == [KEY]


def test_what_cannot_be_told_now_is_told_later(tmp_path):
    bucket = Bucket(tmp_path, refuse=2)
    bucket.objects.put(KEY, b"{}")
    assert set(bucket.serve()) == {KEY}
