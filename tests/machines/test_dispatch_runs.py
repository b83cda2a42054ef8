"""The dispatch machine on the engine: rounds until nobody waits, and never too long a history."""

from __future__ import annotations

from tests.machines.running import fails, run
from workflows.machines import asl
from workflows.machines.dispatch import MOST_ROUNDS

MORE = {"epoch": 7, "more": True}
DONE = {"epoch": 7, "more": False}
HISTORY_LIMIT = 25_000


def test_an_epoch_ends_when_nobody_waits_any_more():
    epoch = run("dispatch", {"epoch": 7}, LaunchRound=[MORE, MORE, DONE])
    assert epoch.record.status == "SUCCEEDED"
    assert epoch.states[-1] == "Idle"
    assert epoch.functions.called("LaunchRound") == [
        {"epoch": 7, "turn": 0},
        {"epoch": 7, "turn": 1},
        {"epoch": 7, "turn": 2},
    ]


def test_an_endless_queue_is_handed_to_the_next_epoch():
    epoch = run("dispatch", {"epoch": 7}, LaunchRound=[MORE])
    assert epoch.states[-1] == "HandOver"
    assert len(epoch.functions.called("LaunchRound")) == MOST_ROUNDS


def test_even_the_worst_epoch_keeps_its_history_below_the_limit():
    machine = asl.load("dispatch")
    retries = sum(r["MaxAttempts"] for r in machine["States"]["LaunchRound"]["Retry"])
    # A round enters and leaves three states and calls once; a retry schedules, starts and fails.
    most = MOST_ROUNDS * (2 * 3 + 3 + 3 * retries)
    assert most < HISTORY_LIMIT

    retried_out = [fails("ServiceUnavailable")] * 6 + [MORE]
    epoch = run("dispatch", {"epoch": 7}, LaunchRound=retried_out * MOST_ROUNDS)
    assert epoch.states.count("LaunchRound") == MOST_ROUNDS
    assert len(epoch.events) < most


def test_a_round_that_fails_for_good_ends_the_epoch_for_the_next_wake_to_find():
    epoch = run("dispatch", {"epoch": 7}, LaunchRound=[fails("ContractBroken")])
    assert (epoch.record.status, epoch.record.error) == ("FAILED", "ContractBroken")
