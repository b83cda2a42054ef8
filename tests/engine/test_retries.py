"""Which errors Retry and Catch match, and how long a retry waits.

https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.engine.definition import Retrier
from workflows.engine.retries import choose_retry, matches

SPECIAL = (
    "States.Timeout",
    "States.HeartbeatTimeout",
    "States.DataLimitExceeded",
    "States.Runtime",
)


@pytest.mark.parametrize(
    ("listed", "taken"),
    [
        ("States.ALL", {"Mine", None, "States.Timeout", "States.HeartbeatTimeout"}),
        ("States.TaskFailed", {"Mine", None, "States.HeartbeatTimeout"}),
        ("States.Timeout", {"States.Timeout", "States.HeartbeatTimeout"}),
        ("States.HeartbeatTimeout", {"States.HeartbeatTimeout"}),
        ("States.DataLimitExceeded", {"States.DataLimitExceeded"}),
        ("States.Runtime", set()),
        ("Mine", {"Mine"}),
    ],
)
def test_a_name_takes_exactly_these_errors(listed, taken):
    assert {error for error in ("Mine", None, *SPECIAL) if matches([listed], error)} == taken


def test_only_the_first_retrier_that_matches_counts():
    retriers = (Retrier(("A",), max_attempts=1), Retrier(("States.ALL",), max_attempts=5))
    assert choose_retry(retriers, "A", [0, 0], "s") == (0, 1)
    assert choose_retry(retriers, "A", [1, 0], "s") is None
    assert choose_retry(retriers, "B", [1, 3], "s") == (1, 8)


def test_no_attempts_means_no_retry():
    assert choose_retry((Retrier(("A",), max_attempts=0),), "A", [0], "s") is None


def test_even_endless_retries_wait_a_year_at_most():
    retrier = Retrier(("A",), max_attempts=99_999_999, backoff_rate=10)
    assert choose_retry((retrier,), "A", [99_999], "s") == (0, 31_622_400)


@given(
    interval=st.integers(1, 1000),
    rate=st.floats(1, 10),
    cap=st.none() | st.integers(1, 5000),
    used=st.integers(0, 50),
    seed=st.text(),
)
def test_jitter_never_waits_longer_than_without_it(interval, rate, cap, used, seed):
    plain = Retrier(("A",), interval, 99, rate, cap)
    jittered = Retrier(("A",), interval, 99, rate, cap, full_jitter=True)
    _, longest = choose_retry((plain,), "A", [used], seed)
    _, drawn = choose_retry((jittered,), "A", [used], seed)
    assert 0 <= drawn <= longest
    assert choose_retry((jittered,), "A", [used], seed) == (0, drawn)
