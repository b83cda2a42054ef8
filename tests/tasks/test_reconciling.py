"""What Reconcile decides: every row of its table, and that one applies to each request."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atelier.contracts.errors import final_error_names, passing_error_names
from atelier.contracts.progress import Progress, TrainingState
from atelier.contracts.records import JobOutcome
from atelier.contracts.status import BOUND_TO_JOB, TERMINAL, Stamp, Status
from tasks.ports import Execution
from tasks.reconciling import (
    LONGEST_REDRIVE_SECONDS,
    TABLE,
    Mend,
    Seen,
    decide,
    is_quiet,
    job_is_silent,
    redrive_is_due,
)
from tests.contracts.people import JOB, NOON, at

SOON, LATE = NOON + timedelta(minutes=5), NOON + timedelta(days=2)


def seen(
    status: Status,
    execution: str | None = "RUNNING",
    *,
    error: str | None = None,
    now: datetime = SOON,
    batch_is_open: bool = True,
    token: str | None = "token",
) -> Seen:
    stamp = Stamp(1, status, JOB if status in BOUND_TO_JOB else None)
    runs = Execution("arn", "onboarding", "x", execution, error) if execution else None
    return Seen(at(stamp, token=token), runs, batch_is_open, now)


CASES: list[tuple[Seen, Mend]] = [
    (seen(Status.FAILED), Mend.TELL),
    (seen(Status.CANCELLED, None), Mend.TELL),
    (seen(Status.QUEUED, None), Mend.START),
    (seen(Status.QUEUED, None, now=LATE), Mend.EXPIRE),
    (seen(Status.TRAINING, None), Mend.START),
    (seen(Status.TRAINED, None, now=LATE), Mend.START),
    (seen(Status.TRAINING, "ABORTED"), Mend.SETTLE),
    (seen(Status.QUEUED, "TIMED_OUT"), Mend.SETTLE),
    (seen(Status.TRAINING, "FAILED", error="ServiceUnavailable"), Mend.REDRIVE),
    (seen(Status.PUBLISHING, "FAILED", error="States.Timeout"), Mend.REDRIVE),
    (seen(Status.QUEUED, "FAILED", error="Throttled", now=LATE), Mend.EXPIRE),
    (seen(Status.TRAINED, "FAILED", error="Throttled", now=LATE), Mend.REDRIVE),
    (seen(Status.QUEUED, "FAILED", error="PhotosRejected"), Mend.RECORD),
    (seen(Status.TRAINED, "FAILED", error="ObjectMissing"), Mend.ASK_OPERATOR),
    (seen(Status.TRAINED, "FAILED", error=None), Mend.ASK_OPERATOR),
    (seen(Status.TRAINED, "SUCCEEDED"), Mend.ASK_OPERATOR),
    (seen(Status.TRAINING, "FAILED", error="KeyError", now=LATE), Mend.EXPIRE),
    (seen(Status.QUEUED, now=LATE), Mend.EXPIRE),
    (seen(Status.CLAIMED, now=LATE), Mend.EXPIRE),
    (seen(Status.CLAIMED, batch_is_open=False), Mend.RESCUE),
    (seen(Status.CLAIMED), Mend.NOTHING),
    (seen(Status.QUEUED), Mend.NOTHING),
    (seen(Status.LAUNCHING), Mend.ANSWER),
    (seen(Status.TRAINING), Mend.ANSWER),
    (seen(Status.TRAINING, token=None), Mend.NOTHING),
    (seen(Status.TRAINING, now=LATE), Mend.ANSWER),
    (seen(Status.TRAINED), Mend.NOTHING),
    (seen(Status.PUBLISHING, now=LATE), Mend.NOTHING),
]


@pytest.mark.parametrize(("case", "mend"), CASES)
def test_what_is_seen_decides_what_is_done(case, mend):
    assert decide(case) is mend


def test_every_row_is_under_test():
    rows = {next((row.seen for row in TABLE if row.applies(case)), "") for case, _ in CASES}
    assert rows == {row.seen for row in TABLE} | {""}
    assert {mend for _, mend in CASES} == set(Mend)


@pytest.mark.parametrize("status", sorted(set(Status) - TERMINAL))
@pytest.mark.parametrize("now", [SOON, LATE])
def test_an_error_that_passes_needs_nobody(status, now):
    for error in passing_error_names():
        decided = decide(seen(status, "FAILED", error=error, now=now))
        assert decided in {Mend.REDRIVE, Mend.EXPIRE}


@pytest.mark.parametrize("status", sorted(set(Status) - TERMINAL))
def test_no_ended_execution_leaves_a_live_request_alone(status):
    for ended in ("FAILED", "SUCCEEDED", "ABORTED", "TIMED_OUT"):
        for error in (*final_error_names(), *passing_error_names(), "KeyError", None):
            assert decide(seen(status, ended, error=error)) is not Mend.NOTHING


def test_a_request_is_quiet_when_nothing_was_written_for_so_long():
    record = at(Stamp(1, Status.QUEUED))
    assert not is_quiet(record, now=NOON + timedelta(seconds=59), seconds=60)
    assert is_quiet(record, now=NOON + timedelta(seconds=60), seconds=60)


def test_a_job_is_silent_when_neither_its_events_nor_its_host_said_anything_for_so_long():
    entered = {"launching": NOON}
    record = at(Stamp(1, Status.LAUNCHING, JOB), entered=entered, host="algo-1")
    word = Progress(
        request=record.request,
        attempt=1,
        job=JOB,
        host="algo-1",
        state=TrainingState.TRAINING,
        step=1,
        steps=9,
        updated_at=NOON + timedelta(seconds=50),
    )
    then = NOON + timedelta(seconds=60)
    assert job_is_silent(record, None, now=then, seconds=60)
    assert not job_is_silent(record, word, now=then, seconds=60)
    assert job_is_silent(record, word, now=then + timedelta(minutes=1), seconds=60)
    known = replace(record, job_outcome=JobOutcome.FAILED)
    assert not job_is_silent(known, None, now=then, seconds=60)
    assert not job_is_silent(at(Stamp(1, Status.QUEUED)), None, now=LATE, seconds=60)


@given(st.integers(0, 2000))
def test_redrives_come_ever_more_rarely_up_to_a_limit(times):
    record = at(Stamp(1, Status.QUEUED), redrives=times, redriven_at=NOON if times else None)
    due = next(
        after
        for after in range(0, 4000, 10)
        if redrive_is_due(record, now=NOON + timedelta(seconds=after))
    )
    assert due <= LONGEST_REDRIVE_SECONDS
    assert due == (0 if not times else min(30 * 2 ** min(times - 1, 20), 1800))
