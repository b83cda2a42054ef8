"""The ledger beside a plain model of it: any sequence of calls gives the same answers.

The model is a dict of stamps and queue places that applies `judge`; it knows nothing of SQL.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from atelier.contracts.clock import ManualClock
from atelier.contracts.status import BOUND_TO_JOB, TERMINAL, Stamp, Status, Verdict, judge
from tests.contracts.people import JOB, NOON, OTHER_JOB, request_record
from tests.contracts.platforms import LEDGERS

PEOPLE = ["1", "2", "3"]
ALIVE = [status for status in Status if status not in TERMINAL]
REQUESTS = {user: request_record(user, given={"priority": int(user)}).request for user in PEOPLE}


@st.composite
def stamps(draw):
    status = draw(st.sampled_from(list(Status)))
    jobs = [JOB, OTHER_JOB] if status in BOUND_TO_JOB else [None, JOB, OTHER_JOB]
    if status in {Status.QUEUED, Status.CLAIMED}:
        jobs = [None]
    return Stamp(draw(st.integers(1, 3)), status, draw(st.sampled_from(jobs)))


@dataclass
class Life:
    """What the model knows of one request."""

    stamp: Stamp
    queued_at: datetime | None = None
    place: datetime | None = None
    batch: str | None = None
    step: int = 0
    told: int = 0

    def enter_queue(self, moment):
        self.queued_at = moment
        self.place = moment or self.place


class LedgerBesideModel(RuleBasedStateMachine):
    platform = "local"

    @initialize()
    def open(self):
        self.stack = ExitStack()
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.clock = ManualClock(start=NOON)
        self.ledger = self.stack.enter_context(LEDGERS[self.platform](folder, self.clock))
        self.model: dict[str, Life] = {}
        for user in PEOPLE:
            record = request_record(user, given={"priority": int(user)})
            assert self.ledger.create(record)[1]
            self.model[record.request] = Life(record.stamp)

    def teardown(self):
        self.stack.close()

    @rule(user=st.sampled_from(PEOPLE))
    def create_again(self, user):
        record = request_record(user, given={"priority": int(user)})
        assert not self.ledger.create(record)[1]

    @rule(
        user=st.sampled_from(PEOPLE),
        stamp=stamps(),
        queue=st.booleans(),
        batch=st.sampled_from(["b1", "b2"]),
    )
    def advance(self, user, stamp, queue, batch):
        self.move(user, stamp, queue=queue, batch=batch)

    @rule(user=st.sampled_from(PEOPLE), status=st.sampled_from(ALIVE))
    def go_on(self, user, status):
        attempt = self.model[REQUESTS[user]].stamp.attempt
        self.move(user, Stamp(attempt, status, JOB if status in BOUND_TO_JOB else None))

    @rule(user=st.sampled_from(PEOPLE))
    def begin_the_next_attempt(self, user):
        attempt = self.model[REQUESTS[user]].stamp.attempt
        self.move(user, Stamp(attempt + 1, Status.QUEUED), queue=True)

    @rule(user=st.sampled_from(PEOPLE))
    def claim_and_release(self, user):
        life = self.model[REQUESTS[user]]
        self.annotate(user, life.stamp.attempt, 1, queue=True)
        self.clock.advance(1)
        self.move(user, Stamp(life.stamp.attempt, Status.CLAIMED), batch="b2")
        self.release(user, life.stamp.attempt, "b2")

    def move(self, user, stamp, *, queue=False, batch="b1"):
        life = self.model[REQUESTS[user]]
        queued_at = self.clock.now() if queue else None
        changed = self.ledger.advance(REQUESTS[user], stamp, batch=batch, queued_at=queued_at)

        verdict = judge(life.stamp, stamp)
        assert changed.verdict is verdict
        if verdict is Verdict.APPLIES:
            same_attempt = stamp.attempt == life.stamp.attempt
            job = stamp.job or (life.stamp.job if same_attempt else None)
            if not same_attempt:
                life.step = 0
            life.stamp, life.batch = Stamp(stamp.attempt, stamp.status, job), batch
            life.enter_queue(queued_at if stamp.status is Status.QUEUED else None)

    @rule(
        user=st.sampled_from(PEOPLE),
        attempt=st.integers(1, 3),
        step=st.integers(0, 9),
        queue=st.booleans(),
    )
    def annotate(self, user, attempt, step, queue):
        life = self.model[REQUESTS[user]]
        changes = {"step": step} | ({"queued_at": self.clock.now()} if queue else {})
        changed = self.ledger.annotate(REQUESTS[user], attempt=attempt, **changes)

        alive = life.stamp.attempt == attempt and life.stamp.status not in TERMINAL
        assert changed.verdict is (Verdict.APPLIES if alive else Verdict.STALE)
        if alive:
            life.step = step
            if queue and life.stamp.status is Status.QUEUED:
                life.enter_queue(self.clock.now())

    @rule(
        user=st.sampled_from(PEOPLE),
        attempt=st.integers(1, 2),
        batch=st.sampled_from(["b1", "b2"]),
    )
    def release(self, user, attempt, batch):
        life = self.model[REQUESTS[user]]
        changed = self.ledger.release(REQUESTS[user], attempt=attempt, batch=batch)

        applies = life.stamp == Stamp(attempt, Status.CLAIMED) and life.batch == batch
        assert (changed.verdict is Verdict.APPLIES) is applies
        if applies:
            life.stamp, life.batch = Stamp(attempt, Status.QUEUED), None
            life.enter_queue(life.place or self.clock.now())

    @rule(user=st.sampled_from(PEOPLE))
    def retry(self, user):
        life = self.model[REQUESTS[user]]
        attempt = life.stamp.attempt + 1
        changed = self.ledger.retry(REQUESTS[user], execution=f"{user}-{attempt}")

        applies = life.stamp.status in {Status.FAILED, Status.CANCELLED}
        assert (changed.verdict is Verdict.APPLIES) is applies
        if applies:
            life.stamp, life.batch, life.step = Stamp(attempt, Status.QUEUED), None, 0
            life.enter_queue(None)

    @rule(seconds=st.floats(0, 100))
    def wait(self, seconds):
        self.clock.advance(seconds)

    @invariant()
    def every_request_stands_where_the_model_says(self):
        for request, life in self.model.items():
            record = self.ledger.read(request)
            assert (record.stamp, record.step) == (life.stamp, life.step)
            assert record.batch == life.batch
            assert (record.queued_at is None) is (life.queued_at is None)

    @invariant()
    def the_queue_is_the_models_queue(self):
        waiting = self.ledger.queued(limit=10)
        expected = {r for r, life in self.model.items() if life.queued_at is not None}
        assert [r.request for r in waiting] == [
            r.request
            for r in sorted(waiting, key=lambda r: (-r.given.priority, r.queued_at, r.request))
        ]
        assert {r.request for r in waiting} == expected
        for record in waiting:
            drift = record.queued_at - self.model[record.request].queued_at
            assert abs(drift) < timedelta(milliseconds=1)

    @invariant()
    def every_job_knows_its_requests(self):
        for job in (JOB, OTHER_JOB):
            expected = {r for r, life in self.model.items() if life.stamp.job == job}
            assert {r.request for r in self.ledger.requests_of_job(job)} == expected


@pytest.mark.parametrize("platform", sorted(LEDGERS))
def test_any_sequence_of_calls_answers_as_the_plain_model_does(platform):
    machine = type(platform, (LedgerBesideModel,), {"platform": platform})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=50 if platform == "local" else 5,
            stateful_step_count=25 if platform == "local" else 12,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
