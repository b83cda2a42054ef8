"""What is said of an onboarding in each situation: exact, short, and nothing that is not known."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from atelier.contracts.durations import Phase
from atelier.contracts.progress import AdapterPointer, Progress, TrainingState
from atelier.contracts.records import Failure, JobOutcome, RequestRecord
from atelier.contracts.status import Stamp, Status
from tasks.attempts import BEGUN_AGAIN
from tasks.background import lasted
from tasks.durations import Durations
from tasks.forecast import Ahead
from tasks.launching import HELD_BY_CAPACITY, HELD_BY_QUOTA
from tasks.outlook import SITUATIONS, Outlook, outlook
from tasks.ports import Execution, TaskSettings
from tests.contracts.people import JOB, NOON, at

MEASURED = Durations(
    {
        Phase.START: (0.5, 0.625, 11.0),
        Phase.TRAINING: (0.9, 1.0, 1.1),
        Phase.SAMPLING: (1.0, 1.0, 1.0),
        Phase.PUBLISHING: (0.5, 0.5, 0.5),
    }
)
"""Seconds per second of the table, of three onboardings; one of them started very late."""
STEPS = 150


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def standing(status: Status, *, seconds: float = 0, **fields: Any) -> RequestRecord:
    """Return a fast onboarding of noon that entered `status` so many seconds later."""
    job = None if status in {Status.QUEUED, Status.CLAIMED} else JOB
    entered = {Status.QUEUED.value: NOON, status.value: after(seconds)}
    if job and status not in {Status.FAILED, Status.CANCELLED}:
        entered.setdefault(Status.LAUNCHING.value, after(1))
    start = {
        "entered": entered,
        "host": "algo-1" if job else None,
        "steps": STEPS,
        "updated_at": after(seconds),
        "given": {"preset": "fast"},
    }
    return at(Stamp(fields.pop("attempt", 1), status, job), **(start | fields))


def said(state: TrainingState, *, at_seconds: float, **fields: Any) -> Progress:
    start = {
        "request": "r" + "a" * 26,
        "attempt": 1,
        "job": JOB,
        "host": "algo-1",
        "state": state,
        "step": 0,
        "steps": STEPS,
        "updated_at": after(at_seconds),
        "entered": {state.value: after(at_seconds)},
    }
    return Progress(**(start | fields))


def of(
    record: RequestRecord,
    progress: Progress | None = None,
    *,
    seconds: float,
    durations: Durations = MEASURED,
    **more: Any,
) -> Outlook:
    given = {"ahead": Ahead(), "settings": TaskSettings()} | more
    return outlook(record, progress, durations=durations, now=after(seconds), **given)


QUEUED = standing(Status.QUEUED, queued_at=NOON)
LAUNCHING = standing(Status.LAUNCHING, seconds=1)
TRAINING = standing(Status.TRAINING, seconds=6, look_at=after(12), looks=2)
HALF = said(TrainingState.TRAINING, at_seconds=12, step=75, steps_per_second=12.5)


def test_a_request_whose_photos_are_looked_at_does_not_claim_a_place_in_the_queue() -> None:
    told = of(standing(Status.QUEUED), seconds=1, ahead=Ahead(1, 0))
    assert told.sentence.startswith("Its photos are being looked at")


def test_a_queued_request_is_told_its_place_and_how_fast_the_queue_moves() -> None:
    told = of(QUEUED, seconds=1, ahead=Ahead(place=3, waiting=7, own=1))
    assert told.sentence.startswith(
        "It waits in the queue at place 3 of 7, which moves by 1 launch a second; it should be "
        "ready in about 26 s, at 12:00:26 UTC"
    )
    assert "ahead in the queue: 1 of this tenant, 1 of others" in told.details
    assert told.expected_end_at is not None


def test_a_long_queue_would_move_faster_with_more_launches_a_second() -> None:
    assert any(
        "launches_per_second" in way
        for way in of(QUEUED, seconds=1, ahead=Ahead(place=30, waiting=30)).faster
    )
    assert not any(
        "launches_per_second" in way
        for way in of(QUEUED, seconds=1, ahead=Ahead(place=2, waiting=2)).faster
    )


def test_a_request_held_up_by_the_quota_says_since_when_and_takes_the_next_instance() -> None:
    held = standing(Status.CLAIMED, seconds=2, waiting_for=f"{HELD_BY_QUOTA}: 4 of 4 are used")
    told = of(held, seconds=10, ahead=Ahead(place=1, waiting=1, ends=[after(20)]))
    assert told.phase == "held"
    assert told.sentence.startswith(
        "It is waiting for a free training instance, since 12:00:02 UTC (8.0 s); it should be"
    )
    assert f"told so far: {HELD_BY_QUOTA}: 4 of 4 are used" in told.details
    assert told.faster[0] == "a higher quota of training instances"
    assert told.expected_end_at is not None
    assert told.expected_end_at > after(20)


def test_nobody_promises_when_a_region_has_room_again() -> None:
    held = standing(Status.CLAIMED, seconds=2, waiting_for=f"{HELD_BY_CAPACITY}: none left")
    told = of(held, seconds=10, ahead=Ahead(1, 1))
    assert told.expected_end_at is None
    assert "nobody can say when AWS has room" in told.sentence


def test_what_was_lost_is_no_time_in_the_queue() -> None:
    entered = {Status.QUEUED.value: after(30), Status.LAUNCHING.value: after(32)}
    record = replace(standing(Status.LAUNCHING, attempt=2), created_at=NOON, entered=entered)
    assert lasted(record, None) == [("earlier attempts", 30.0), ("photos and queue", 2.0)]


def test_a_lost_attempt_is_told_with_why_and_the_attempt_that_follows() -> None:
    again = standing(
        Status.QUEUED, queued_at=after(30), attempt=2, waiting_for=f"{BEGUN_AGAIN}: the host died"
    )
    told = of(again, seconds=31, ahead=Ahead(1, 1))
    assert told.sentence.startswith("Attempt 1 was lost (the host died) and attempt 2 begins")


def test_before_anything_was_measured_it_is_said_to_be_a_guess_by_the_table() -> None:
    told = of(LAUNCHING, seconds=3, durations=Durations())
    assert "UTC (a guess, as nothing like it was measured yet); " in told.sentence
    assert (
        "by the table of costs, nothing measured yet: start 8.0 s, training 14 s, "
        "sampling 1.0 s, publishing 1.0 s"
    ) in told.details


def test_a_measured_estimate_names_how_many_measurements_stand_behind_it() -> None:
    told = of(LAUNCHING, seconds=3)
    assert "guess" not in told.sentence
    assert (
        "usual: start 5.0 s, training 14 s, sampling 1.0 s, publishing 0.5 s "
        "(medians of up to 3 measured)"
    ) in told.details


def test_a_phase_that_was_never_measured_is_not_called_usual() -> None:
    told = of(LAUNCHING, seconds=3, durations=Durations({Phase.START: (1.0,)}))
    assert "usual: start 8.0 s (1 measured)" in told.details
    assert any(line.startswith("by the table of costs") for line in told.details)


def test_a_time_of_another_day_is_told_with_its_date() -> None:
    entered = {Status.QUEUED.value: NOON, Status.READY.value: after(21)}
    ready = standing(Status.READY, entered=entered, version="v1-1a2b3c4d")
    assert "v1-1a2b3c4d at 2026-01-01 12:00:21 UTC after" in of(ready, seconds=86_400).sentence
    assert "v1-1a2b3c4d at 12:00:21 UTC after" in of(ready, seconds=60).sentence


def test_one_slow_onboarding_does_not_move_the_estimate() -> None:
    without = Durations({**MEASURED.rates, Phase.START: (0.5, 0.625, 0.625)})
    assert of(LAUNCHING, seconds=3) == replace(
        of(LAUNCHING, seconds=3, durations=without),
        details=of(LAUNCHING, seconds=3).details,
    )


def test_a_training_says_its_step_its_speed_and_what_is_usual() -> None:
    told = of(TRAINING, HALF, seconds=12)
    assert told.sentence.startswith(
        "It trains: step 75 of 150 at 12.5 steps a second (usually 10.3)"
    )


def test_a_training_ends_by_its_host_s_own_speed_once_it_has_made_a_third_of_its_steps() -> None:
    told = of(TRAINING, HALF, seconds=12)
    assert told.expected_end_at is not None
    # 75 steps at 12.5 a second, the adapter, a look, publishing.
    assert after(12 + 6 + 1) < told.expected_end_at < after(12 + 6 + 1 + 4)


def test_a_request_is_ready_only_after_the_look_that_finds_it_done() -> None:
    late = replace(TRAINING, look_at=after(60))
    told = of(late, HALF, seconds=12)
    assert told.expected_end_at is not None
    assert told.expected_end_at > after(60)


def test_a_host_that_is_done_waits_for_its_next_look() -> None:
    pointer = AdapterPointer("f", "c", "0" * 64, 1)
    done = said(TrainingState.DONE, at_seconds=10, step=150, adapter=pointer)
    told = of(TRAINING, done, seconds=11)
    assert told.sentence.startswith("Its host is done, and it waits for its next look at 12:00:12")


def test_a_silent_job_is_told_as_silent_and_nothing_is_promised() -> None:
    told = of(TRAINING, HALF, seconds=200)
    assert told.phase == "silent"
    assert "last spoke at step 75 of 150, 3 min 08 s ago: it may be starting again" in told.sentence
    assert told.expected_end_at is None


def test_a_job_that_ended_before_it_was_done_is_told_at_once() -> None:
    record = replace(TRAINING, job_outcome=JobOutcome.FAILED)
    told = of(record, HALF, seconds=13)
    said = told.sentence
    assert (told.phase, told.expected_end_at) == ("lost", None)
    assert "failed before it was done, and the next look begins another attempt" in said


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        ("FAILED", "Throttled", "the platform redrives it by itself"),
        ("FAILED", "PhotosRejected", "it is about to end so"),
        ("ABORTED", None, "was stopped by hand while it was training"),
        ("TIMED_OUT", "States.Timeout", "ran out of time"),
    ],
)
def test_an_execution_that_ended_is_told_with_who_goes_on(
    status: str, error: str | None, said: str
) -> None:
    ended = Execution("arn", "onboarding", "x", status, error=error)
    told = of(TRAINING, HALF, seconds=12, execution=ended)
    assert said in told.sentence
    assert "atelier redrive" not in told.sentence


def test_an_execution_that_failed_in_place_needs_somebody_who_redrives_it() -> None:
    failed = Execution("arn", "onboarding", "x", "FAILED", error="ContractBroken")
    told = of(TRAINING, HALF, seconds=12, execution=failed)
    assert told.phase == "failed in place"
    assert f"atelier redrive {TRAINING.request}" in told.sentence
    assert "ContractBroken" in told.sentence
    assert told.expected_end_at is None


def test_a_deadline_that_has_passed_is_told() -> None:
    told = of(TRAINING, HALF, seconds=10**6)
    assert told.phase == "overdue"
    assert "Its deadline passed at" in told.sentence


def test_a_ready_request_says_how_long_it_took_and_what_took_longest() -> None:
    entered = {
        Status.QUEUED.value: NOON,
        Status.LAUNCHING.value: after(1),
        Status.TRAINED.value: after(20),
        Status.READY.value: after(21),
    }
    ready = standing(Status.READY, entered=entered, version="v1-1a2b3c4d")
    told = of(ready, seconds=60)
    assert told.sentence == (
        "It became ready as v1-1a2b3c4d at 12:00:21 UTC after 21 s, of which the training job "
        "took the longest, 19 s."
    )
    assert told.expected_end_at is None


def test_a_failed_request_says_why_and_what_to_do() -> None:
    failure = Failure("PhotosRejected", "2 of 5 photos can be used", "Send others.")
    told = of(standing(Status.FAILED, seconds=3, failure=failure), seconds=60)
    assert told.sentence == (
        "It failed at 12:00:03 UTC after 3.0 s (PhotosRejected: 2 of 5 photos can be used). "
        "Send others."
    )


def test_a_stopped_request_says_who_stopped_it() -> None:
    failure = Failure("Cancelled", "stopped by hand", "")
    told = of(standing(Status.CANCELLED, seconds=3, failure=failure), seconds=60)
    assert (
        "It was cancelled at 12:00:03 UTC after 3.0 s (Cancelled: stopped by hand)" in told.sentence
    )


@pytest.mark.parametrize("status", list(Status))
def test_every_status_has_its_sentence(status: Status) -> None:
    extra = {"version": "v1-1a2b3c4d"} if status is Status.READY else {}
    told = of(standing(status, seconds=2, **extra), seconds=5)
    assert told.phase in SITUATIONS
    assert told.sentence.endswith(".")
    assert ";;" not in told.sentence
