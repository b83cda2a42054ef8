"""The dispatch state machine: launches what waits in the queue, one execution per epoch.

    FirstRound → LaunchRound → MoreToLaunch → NextRound → LaunchRound …
                                            → Idle
                                            → HandOver

An execution is named `dispatch-<epoch>`: StartExecution's own name rule is what makes it the only
dispatcher. It catches nothing. If a round fails for good, the execution ends, and the next wake
(the queue's stream, or a schedule every minute) closes the epoch and starts another one.
"""

from __future__ import annotations

from workflows.machines import parts
from workflows.machines.sdk import Choice, ChoiceRule, Machine, Pass, Succeed, Task

NAME = "dispatch"

MOST_ROUNDS = 150
"""Rounds of one epoch. Even if every round used up all its retries, the history would stay below
its limit of 25,000 events (https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html)."""

ROUND_TIMEOUT_SECONDS = 120
"""A round works for about 50 s; this is when it counts as lost."""

TIMEOUT_SECONDS = 24 * 3600
"""A backstop: 150 rounds take about two hours, with every retry well below a day."""


def _first_round() -> Pass:
    return Pass(
        "FirstRound",
        comment="Begins to count rounds. The epoch comes with the input, as in the execution's "
        "name.",
        parameters={**parts.payload(epoch="$.epoch"), "turn": 0},
    )


def _launch_round() -> Task:
    return parts.invoke(
        "LaunchRound",
        comment="Works for about 50 seconds: claims who waits, seals batches, creates training "
        "jobs at the pace that the account allows, and completes the tokens of those who are on "
        "their way. It finishes first what a dead dispatcher left.",
        function="LaunchRound",
        given=parts.payload(epoch="$.epoch", turn="$.turn"),
        timeout_seconds=ROUND_TIMEOUT_SECONDS,
        returns=("more",),
        result_path="$.round",
        retry=parts.retriers(),
    )


def _more_to_launch() -> Choice:
    return Choice(
        "MoreToLaunch",
        comment="A round that says there is no more has closed the epoch, and only if nobody rang "
        "since its last scan of the queue.",
    )


def _next_round() -> Pass:
    return Pass(
        "NextRound",
        comment="Counts, so that an epoch ends long before the history's limit.",
        parameters=parts.payload(epoch="$.epoch", turn="States.MathAdd($.turn, 1)"),
    )


def _idle() -> Succeed:
    return Succeed(
        "Idle", comment="Nobody waits. The next request rings and starts the next epoch."
    )


def _hand_over() -> Succeed:
    return Succeed(
        "HandOver",
        comment="Somebody still waits, but this history is long enough: the next wake, within a "
        "minute, finds this epoch's execution ended and starts the next with a fresh history.",
    )


def build() -> Machine:
    """Return the machine with its states joined."""
    first, launch, more = _first_round(), _launch_round(), _more_to_launch()
    next_round, idle, hand_over = _next_round(), _idle(), _hand_over()

    first.next(launch)
    launch.next(more)
    more.add_choice(ChoiceRule.BooleanEquals("$.round.more", value=False), idle)
    more.add_choice(ChoiceRule.NumericGreaterThanEquals("$.turn", MOST_ROUNDS - 1), hand_over)
    more.default_choice(next_round)
    next_round.next(launch)

    return Machine(
        (first, launch, more, next_round, idle, hand_over),
        comment="Launches training jobs for who waits in the queue. One execution per epoch; its "
        "name makes it the only one.",
        timeout_seconds=TIMEOUT_SECONDS,
    )
