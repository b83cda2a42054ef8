"""What a job costs and how long to wait for it, decided without a port."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from atelier.contracts.base_models import BASE_MODELS
from atelier.contracts.request import SamplePrompt
from atelier.contracts.status import Stamp, Status
from tasks.planning import (
    BASE_COSTS,
    LONGEST_INTERVAL_SECONDS,
    TURNS,
    estimated_cost_seconds,
    plan,
    slower,
    wait_for,
    wait_seconds,
)
from tasks.ports import TaskSettings
from tests.contracts.people import JOB, NOON, at, request_record, wish

SETTINGS = TaskSettings(least_wait_seconds=1, most_wait_seconds=300)
SECONDS = st.floats(0, 5 * 86_400)


def looks_until_done(job_seconds: float, settings: TaskSettings) -> tuple[int, float]:
    """Return how often a job that keeps its estimate is looked at, and how late its end is seen."""
    now, turn = 0.0, 0
    while now < job_seconds:
        now += wait_seconds(
            eta_seconds=job_seconds - now, elapsed_seconds=now, turn=turn, settings=settings
        )
        turn += 1
    return turn, now - job_seconds


@given(SECONDS, SECONDS, st.integers(0, 100), st.integers(1, 60), st.integers(60, 600))
def test_a_wait_is_whole_seconds_within_the_settings_bounds(eta, elapsed, turn, least, most):
    settings = TaskSettings(least_wait_seconds=least, most_wait_seconds=most)
    wait = wait_seconds(eta_seconds=eta, elapsed_seconds=elapsed, turn=turn, settings=settings)
    assert isinstance(wait, int)
    assert wait >= least
    # Only a job that would otherwise need more than its turns is left alone for longer.
    share = eta / (TURNS - turn) if turn < TURNS else 0
    assert wait <= max(most, math.ceil(share) + 2, 2 * least + 2)


@given(st.floats(0.1, 5 * 86_400), st.integers(1, 30))
def test_a_job_that_keeps_its_estimate_is_looked_at_no_more_than_eight_times(seconds, least):
    settings = TaskSettings(least_wait_seconds=least, most_wait_seconds=300)
    looks, late = looks_until_done(seconds, settings)
    assert looks <= TURNS
    assert late <= max(2, least)


def test_the_wait_is_about_half_of_what_remains():
    waits = [
        wait_seconds(eta_seconds=eta, elapsed_seconds=1, turn=1, settings=SETTINGS)
        for eta in (400, 100, 10)
    ]
    assert waits == [200, 50, 5]


def test_the_last_wait_ends_one_second_beyond_the_estimate():
    assert wait_seconds(eta_seconds=2, elapsed_seconds=9, turn=2, settings=SETTINGS) == 3
    assert wait_seconds(eta_seconds=50, elapsed_seconds=9, turn=TURNS - 1, settings=SETTINGS) == 51


def test_a_late_job_is_looked_at_ever_more_rarely():
    elapsed, looks = 60.0, 0
    while elapsed < 86_400:
        elapsed += wait_seconds(
            eta_seconds=0, elapsed_seconds=elapsed, turn=TURNS + looks, settings=SETTINGS
        )
        looks += 1
    assert looks < 330


def test_nobody_waits_beyond_the_deadline():
    record = at(Stamp(1, Status.TRAINING, JOB), given={"deadline_seconds": 60})
    now = NOON + timedelta(seconds=50)
    assert wait_for(record, eta_seconds=1000, turn=0, now=now, settings=SETTINGS) == 10
    late = NOON + timedelta(seconds=500)
    assert wait_for(record, eta_seconds=1000, turn=0, now=late, settings=SETTINGS) == 1


def test_a_job_that_says_nothing_yet_is_waited_for_by_its_estimate():
    record = replace(at(Stamp(1, Status.LAUNCHING, JOB)), entered={"launching": NOON})
    whole = BASE_COSTS["tiny"].start_seconds + estimated_cost_seconds(record.given)
    waits = [
        wait_for(
            record,
            eta_seconds=None,
            turn=0,
            now=NOON + timedelta(seconds=elapsed),
            settings=SETTINGS,
        )
        for elapsed in (0, whole - 2)
    ]
    assert waits == [math.ceil(whole / 2), 3]


def test_every_base_model_has_a_cost_that_grows_with_steps_and_samples():
    assert set(BASE_COSTS) == set(BASE_MODELS)
    for base in BASE_MODELS:
        nano = estimated_cost_seconds(wish(base=base, preset="nano"))
        fast = estimated_cost_seconds(wish(base=base, preset="fast"))
        samples = (SamplePrompt("a photo of zorp"),)
        drawn = estimated_cost_seconds(replace(wish(base=base, preset="fast"), samples=samples))
        assert 0 < nano < fast < drawn


def test_every_request_gets_a_job_of_its_own_for_now():
    first, second = request_record("a"), request_record("b")
    assert [job.members for job in plan([first, second])] == [
        ((first.request, 1),),
        ((second.request, 1),),
    ]


def test_launches_slow_down_to_a_limit():
    interval = 1.0
    for _ in range(10):
        interval = slower(interval)
    assert interval == LONGEST_INTERVAL_SECONDS
