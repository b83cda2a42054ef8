"""Time as it is given and written: UTC, aware, milliseconds; a clock that moves when told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atelier.contracts.clock import Clock, ManualClock, SystemClock, from_iso, to_iso
from tests.contract_documents.drawing import moments


@given(moments)
def test_a_moment_is_written_and_read_back(moment):
    assert from_iso(to_iso(moment)) == moment


@given(moments, moments)
def test_written_moments_sort_as_time_does(one, other):
    assert (to_iso(one) < to_iso(other)) is (one < other)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.1Z", datetime(2026, 1, 2, 3, 4, 5, 100_000, tzinfo=UTC)),
        ("2026-01-02T03:04:05.123456789Z", datetime(2026, 1, 2, 3, 4, 5, 123_456, tzinfo=UTC)),
        ("2026-01-02T05:04:05+02:00", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.5-00:30", datetime(2026, 1, 2, 3, 34, 5, 500_000, tzinfo=UTC)),
    ],
)
def test_a_time_is_read_with_any_offset_and_fraction_and_becomes_utc(text, moment):
    assert from_iso(text) == moment
    assert from_iso(text).tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "", "now", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00", "2026-01-01", "1735689600", "Z",
        "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-01-01T00:00:00.5", "\x00",
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_time_with_a_timezone_is_refused(text):
    with pytest.raises(ValueError, match=r".+"):
        from_iso(text)


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_refused(text):
    try:
        moment = from_iso(text)
    except ValueError:
        return
    assert moment.tzinfo is UTC


def test_a_time_without_a_timezone_is_not_written():
    with pytest.raises(ValueError, match="timezone"):
        to_iso(datetime(2026, 1, 1))  # noqa: DTZ001 - the very thing that is refused


def test_a_time_of_another_timezone_is_written_in_utc():
    moment = datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))

    assert to_iso(moment) == "2026-01-01T00:00:00.000Z"


def test_a_manual_clock_moves_only_when_told():
    clock: Clock = ManualClock()
    start, origin = clock.now(), clock.monotonic_seconds()

    clock.sleep(1.5)
    clock.sleep(0)
    clock.sleep(-3)

    assert clock.now() - start == timedelta(seconds=1.5)
    assert clock.monotonic_seconds() - origin == 1.5
    assert clock.now() == clock.now()


def test_a_manual_clock_never_goes_back():
    with pytest.raises(ValueError, match="forward only"):
        ManualClock().advance(-1)


def test_the_machines_clock_is_aware_and_its_durations_never_negative():
    clock: Clock = SystemClock()
    before = clock.monotonic_seconds()

    clock.sleep(0)
    clock.sleep(0.001)

    assert clock.now().tzinfo is UTC
    assert clock.monotonic_seconds() >= before
