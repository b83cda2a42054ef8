"""What the ledger keeps of how long onboardings took. One promise of the port a test."""

from __future__ import annotations

from datetime import timedelta

from atelier.contracts.durations import KEPT_MEASUREMENTS, Measurement, Phase, Taken
from tests.contracts.people import NOON


def measured(number: int, **fields) -> Measurement:
    start = {
        "request": f"r{number:026d}",
        "attempt": 1,
        "base": "tiny",
        "preset": "nano",
        "at": NOON + timedelta(seconds=number),
        "taken": {Phase.START: Taken(4.5), Phase.TRAINING: Taken(2.0 + number, 0.48)},
    }
    return Measurement(**(start | fields))


def test_nothing_was_measured_at_first(ledger):
    assert list(ledger.measurements(base="tiny", preset="nano")) == []


def test_what_onboardings_took_is_told_newest_first(ledger):
    for number in (2, 1, 3):
        ledger.measure(measured(number))

    told = ledger.measurements(base="tiny", preset="nano")

    assert list(told) == [measured(3), measured(2), measured(1)]


def test_an_onboarding_that_is_measured_twice_counts_once(ledger):
    ledger.measure(measured(1))
    ledger.measure(measured(1, at=NOON + timedelta(seconds=9)))

    told = ledger.measurements(base="tiny", preset="nano")

    assert [m.at for m in told] == [NOON + timedelta(seconds=9)]


def test_each_base_model_and_preset_is_measured_for_itself(ledger):
    ledger.measure(measured(1))
    ledger.measure(measured(2, preset="fast"))
    ledger.measure(measured(3, base="sd15"))

    assert list(ledger.measurements(base="tiny", preset="fast")) == [measured(2, preset="fast")]
    assert list(ledger.measurements(base="sd15", preset="nano")) == [measured(3, base="sd15")]


def test_only_the_newest_are_kept(ledger):
    for number in range(KEPT_MEASUREMENTS + 5):
        ledger.measure(measured(number))

    told = ledger.measurements(base="tiny", preset="nano")

    assert len(told) == KEPT_MEASUREMENTS
    assert told[-1] == measured(5)
