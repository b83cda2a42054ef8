"""Alarms: told in order, each once, and none kept for nobody."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from workflows.engine.alarms import Alarms

NOW = datetime(2026, 5, 5, tzinfo=UTC)
DAYS = timedelta(days=14)


def soon(number: int) -> datetime:
    return NOW + timedelta(seconds=number)


def test_alarms_of_executions_that_have_ended_do_not_stay_until_they_are_due():
    alarms = Alarms()
    for number in range(10_000):
        alarms.set(f"execution-{number}", 1, NOW + DAYS)
        alarms.tidy(lambda arn, _: arn == "execution-7")
    assert len(alarms) <= 1_025
    assert alarms.take(NOW + DAYS) == ("execution-7", 1)


def test_alarms_that_somebody_waits_for_all_come_in_the_order_in_which_they_are_due():
    alarms = Alarms()
    for number in reversed(range(5_000)):
        alarms.set("execution", number, soon(number))
        alarms.tidy(lambda _, timer: timer % 2 == 0)
    taken = []
    while (alarm := alarms.take(NOW + DAYS)) is not None:
        taken.append(alarm[1])
    assert taken == sorted(taken)
    assert set(taken) >= set(range(0, 5_000, 2))


def test_an_alarm_that_was_forgotten_can_be_set_again():
    alarms = Alarms()
    for number in range(1_025):
        alarms.set("execution", number, soon(number))
    alarms.tidy(lambda _arn, _timer: False)
    assert len(alarms) == 0
    alarms.set("execution", 3, soon(3))
    assert alarms.take(soon(3)) == ("execution", 3)
