"""Time as it is given and written: UTC, aware, milliseconds; a clock that moves when told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atelier.contracts.clock import (
    Clock,
    ManualClock,
    SteadyClock,
    SystemClock,
    boot_seconds,
    from_iso,
    to_iso,
)
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
        "0001-01-01T00:00:00+23:59", "2026-01-01T05555555555555550:00Z",
        "9999-12-31T23:59:59-23:59", "2026-01-01T00:00:00.5", "\x00",
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


class Machine:
    """A machine whose clock people set, and that also just lives on."""

    def __init__(self) -> None:
        self.wall = datetime(2026, 1, 1, tzinfo=UTC)
        self.alive_seconds = 1000.0
        self.kept: list[datetime] = []

    def live(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.alive_seconds += seconds

    def set_clock(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)

    def start(self) -> SteadyClock:
        return SteadyClock(
            earliest=max(self.kept, default=None),
            keep=self.kept.append,
            machine=lambda: self.wall,
            elapsed=lambda: self.alive_seconds,
        )


jumps = st.floats(-1e8, 1e8)
pauses = st.floats(0, 1e6)
happenings = st.lists(
    st.one_of(
        st.tuples(st.just("live"), pauses),
        st.tuples(st.just("set_clock"), jumps),
        st.tuples(st.just("start"), pauses),
    ),
    max_size=30,
)


@given(happenings)
def test_steady_time_never_goes_back_whoever_sets_the_clock_and_however_often_it_is_started(
    happened,
):
    machine = Machine()
    clock = machine.start()
    latest = clock.now()
    for what, seconds in happened:
        if what == "start":
            machine.live(seconds)
            clock = machine.start()
        else:
            getattr(machine, what)(seconds)
        assert clock.now() >= latest
        latest = clock.now()


@given(st.lists(st.tuples(pauses, jumps), max_size=20))
def test_steady_time_goes_on_by_what_went_by_and_by_nothing_else(happened):
    machine = Machine()
    clock = machine.start()
    began = clock.now()
    for seconds, jump in happened:
        machine.live(seconds)
        machine.set_clock(jump)
    gone = sum(seconds for seconds, _ in happened)
    assert abs((clock.now() - began).total_seconds() - gone) < 1e-3 * max(1, len(happened))


def test_a_steady_clock_tells_how_far_it_is_from_the_machines():
    machine = Machine()
    clock = machine.start()
    assert clock.ahead_seconds() == 0
    machine.set_clock(-3600)
    assert clock.ahead_seconds() == 3600
    assert machine.start().ahead_seconds() == 3600
    machine.set_clock(7200)
    assert machine.start().ahead_seconds() == 0


def test_a_steady_clock_of_this_machine_begins_with_its_time():
    clock: Clock = SteadyClock()
    before, monotonic = SystemClock().now(), clock.monotonic_seconds()
    assert abs(clock.now() - before) < timedelta(seconds=5)
    alive = boot_seconds()
    clock.sleep(0.001)
    assert boot_seconds() > alive
    assert clock.monotonic_seconds() > monotonic
