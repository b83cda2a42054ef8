"""The life of a request: `judge` as a table over all pairs, and what no disorder can change."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atelier.contracts.status import (
    BEFORE_ANY_JOB,
    BOUND_TO_JOB,
    RANK,
    TERMINAL,
    Stamp,
    Status,
    Verdict,
    judge,
)

JOB, OTHER = "atelier-b-1", "atelier-b-2"
APPLIES, SAME, STALE = Verdict.APPLIES, Verdict.SAME, Verdict.STALE
LIFE = [
    Status.QUEUED,
    Status.CLAIMED,
    Status.LAUNCHING,
    Status.TRAINING,
    Status.TRAINED,
    Status.PUBLISHING,
]


def stamp(status, attempt=1, job=JOB):
    return Stamp(attempt, status, None if status in BEFORE_ANY_JOB else job)


# One row per status that a request stands at, one column per status that comes in, in the order
# of Status: queued claimed launching training trained publishing ready failed cancelled erased.
TABLE = {
    Status.QUEUED: "= > > > > > > > > >",
    Status.CLAIMED: ". = > > > > > > > >",
    Status.LAUNCHING: ". . = > > > > > > >",
    Status.TRAINING: ". . . = > > > > > >",
    Status.TRAINED: ". . . . = > > > > >",
    Status.PUBLISHING: ". . . . . = > > > >",
    Status.READY: ". . . . . . = . . >",
    Status.FAILED: ". . . . . . . = . >",
    Status.CANCELLED: ". . . . . . . . = >",
    Status.ERASED: ". . . . . . . . . =",
}
VERDICTS = {">": APPLIES, "=": SAME, ".": STALE}


@pytest.mark.parametrize("current", Status, ids=str)
def test_within_an_attempt_the_table_says_what_follows_what(current):
    found = [judge(stamp(current), stamp(new)) for new in Status]

    assert found == [VERDICTS[mark] for mark in TABLE[current].split()]


@pytest.mark.parametrize("current", Status, ids=str)
@pytest.mark.parametrize("new", Status, ids=str)
def test_news_of_another_attempt_apply_only_as_its_beginning_or_as_erasure(current, new):
    for attempt in (1, 3, 4):
        verdict = judge(stamp(current, 2), stamp(new, attempt))

        begins = attempt == 3 and new is Status.QUEUED and current not in TERMINAL
        erases = new is Status.ERASED and current is not Status.ERASED
        assert verdict is (APPLIES if begins or erases else STALE)


@pytest.mark.parametrize("current", sorted(BOUND_TO_JOB), ids=str)
@pytest.mark.parametrize("new", Status, ids=str)
def test_news_of_another_job_change_nothing_but_erasure(current, new):
    verdict = judge(stamp(current), stamp(new, job=OTHER))

    if new is Status.ERASED:
        assert verdict is APPLIES
    else:
        assert verdict is STALE


@pytest.mark.parametrize("current", sorted(BOUND_TO_JOB), ids=str)
@pytest.mark.parametrize("end", [Status.READY, Status.FAILED, Status.CANCELLED], ids=str)
def test_an_end_that_names_no_job_ends_whatever_job_there_is(current, end):
    assert judge(stamp(current), Stamp(1, end)) is APPLIES
    assert judge(stamp(end), Stamp(1, end)) is SAME


def test_a_stamp_names_a_job_exactly_where_there_is_one():
    for status in BEFORE_ANY_JOB:
        with pytest.raises(ValueError, match="no job exists yet"):
            Stamp(1, status, JOB)
    for status in BOUND_TO_JOB:
        with pytest.raises(ValueError, match="names no job"):
            Stamp(1, status)
    for status in TERMINAL:
        assert Stamp(1, status, JOB).job == JOB
        assert Stamp(1, status).job is None


def test_attempts_count_from_1():
    with pytest.raises(ValueError, match="count from 1"):
        Stamp(0, Status.QUEUED)


def test_every_status_has_a_rank_and_life_rises():
    assert set(RANK) == set(Status)
    ranks = [RANK[status] for status in LIFE]
    assert ranks == sorted(set(ranks))
    assert max(ranks) < min(RANK[status] for status in TERMINAL)
    assert RANK[Status.ERASED] == max(RANK.values())


# disorder


def fold(stamps):
    """Return where a new request stands after these news, as a ledger keeps it."""
    current = Stamp(1, Status.QUEUED)
    for new in stamps:
        if judge(current, new) is APPLIES:
            job = new.job or (current.job if new.attempt == current.attempt else None)
            current = Stamp(new.attempt, new.status, job)
    return current


@st.composite
def histories(draw):
    """Draw the true news of a request: attempts that broke off, and one that came to an end."""
    news = []
    attempts = draw(st.integers(1, 3))
    for attempt in range(1, attempts + 1):
        last = attempt == attempts
        reached = len(LIFE) if last else draw(st.integers(1, len(LIFE)))
        job = f"job-{attempt}"
        news += [stamp(status, attempt, job) for status in LIFE[:reached]]
    end = draw(st.sampled_from([Status.READY, Status.FAILED, Status.CANCELLED]))
    return [*news, stamp(end, attempts, f"job-{attempts}")]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_doubled_and_late_news_never_lead_to_another_state(data):
    history = data.draw(histories())
    disturbed = []
    for number, new in enumerate(history):
        disturbed.append(new)
        disturbed += data.draw(st.lists(st.sampled_from(history[: number + 1]), max_size=3))

    assert fold(disturbed) == fold(history) == history[-1]


@settings(max_examples=200, deadline=None)
@given(histories(), st.randoms(use_true_random=False))
def test_within_an_attempt_any_order_of_news_ends_at_the_highest(history, chance):
    attempt = [new for new in history if new.attempt == 1]
    expected = fold(attempt)
    chance.shuffle(attempt)

    assert fold(attempt) == expected


@settings(max_examples=200, deadline=None)
@given(histories(), st.randoms(use_true_random=False))
def test_whatever_was_erased_stays_erased(history, chance):
    news = [*history, Stamp(1, Status.ERASED)]
    chance.shuffle(news)

    assert fold(news).status is Status.ERASED


def test_no_news_applies_twice():
    every = [
        Stamp(attempt, status, job)
        for attempt, status, job in itertools.product((1, 2), Status, (None, JOB, OTHER))
        if not (job is None and status in BOUND_TO_JOB)
        and not (job is not None and status in BEFORE_ANY_JOB)
    ]
    for current, new in itertools.product(every, every):
        if judge(current, new) is APPLIES:
            assert judge(new, new) is SAME
            assert judge(new, current) is not APPLIES
