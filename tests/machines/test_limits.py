"""How many transitions and history events an onboarding takes, computed and counted.

A job that keeps its estimate is looked at in at most 8 turns. States entered then:

    ResumeAt, Register, NeedsTraining, LaunchTraining          4
    8 × (WaitForCheckpoint, SyncCheckpoints, TrainingDone)    24
    PublishModel, AnnounceReady, Ready                         3   = 31 of 40 transitions

Every retry is one transition more, so 9 retries fit on the way. Events: entered and exited for each
state (Succeed, too), scheduled, started and succeeded for each of the 11 calls and scheduled,
started, submitted and succeeded for the callback; the execution's own two:

    2 × 31 + 3 × 11 + 4 + 2 = 101 of 300 history events; every retry adds 3.
"""

from __future__ import annotations

from tests.machines.running import fails, run, training

MOST_TURNS = 8
MOST_TRANSITIONS = 40
MOST_EVENTS = 300
GIVEN = {"user_id": "42", "photos": "uploads/o/m/"}
ON_ESTIMATE = [
    *(training(turn=turn) for turn in range(1, MOST_TURNS)),
    training("trained", turn=MOST_TURNS),
]


def test_a_job_that_keeps_its_estimate_takes_31_transitions_and_101_events():
    slowest = run("onboarding", GIVEN, SyncCheckpoints=ON_ESTIMATE)
    assert slowest.states.count("SyncCheckpoints") == MOST_TURNS
    assert len(slowest.states) == 4 + 3 * MOST_TURNS + 3 == 31 <= MOST_TRANSITIONS
    assert len(slowest.events) == 2 * 31 + 3 * 11 + 4 + 2 == 101 <= MOST_EVENTS


def test_nine_retries_on_the_way_still_fit():
    launches = [fails("Throttled")] * 9 + [training()]
    retried = run("onboarding", GIVEN, SyncCheckpoints=ON_ESTIMATE, LaunchTraining=launches)
    assert len(retried.states) + 9 == MOST_TRANSITIONS
    assert len(retried.events) == 101 + 3 * 9 <= MOST_EVENTS
