"""Onboardings under any order of rounds, events, cancels, doubles and deaths: one outcome each."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from atelier.contracts.errors import AtelierError, FinalError, QuotaExceeded, Throttled
from atelier.contracts.progress import TrainingState
from atelier.contracts.status import TERMINAL, Status
from tasks import (
    announce,
    cancel,
    launch_round,
    launch_training,
    publish_model,
    reconcile,
    record_failure,
    settle,
    sync_checkpoints,
    wake_dispatch,
)
from tasks.causes import cause_of, failure_of
from tests.fakes.crashing import Crash, dying
from tests.fakes.world import World, new_world

PEOPLE = 4
SOMEBODY = st.integers(0, PEOPLE - 1)
DEATH = st.one_of(st.none(), st.none(), st.integers(1, 24))
ENDS = (
    ("Completed", ""),
    ("Failed", "AlgorithmError: no memory, exit code: 1"),
    ("Failed", "AlgorithmError: killed, exit code: 137"),
    ("Failed", "InternalServerError: again"),
    ("Stopped", ""),
)


class Onboarding:
    """An execution as the state machine runs it: a state, and what each result leads to."""

    def __init__(self, world: World, number: int, *, deadline_seconds: int) -> None:
        self.world, self.number = world, number
        self.name = f"execution-{number}"
        self.given = {"deadline_seconds": deadline_seconds}
        self.request = world.registered(f"user-{number}", execution=self.name, **self.given)
        world.executions.start("onboarding", self.name, {})
        self.state, self.token, self.turn = "launch", "", 0

    @property
    def running(self) -> bool:
        return self.world.executions.describe("onboarding", self.name).status == "RUNNING"

    def step(self, death: int | None) -> None:
        """Run the state once; a death leaves it where it is, to be entered again."""
        if not self.running:
            return
        try:
            getattr(self, self.state)(death)
        except Crash:
            return
        except FinalError as error:
            self.fail(error.name(), cause_of(failure_of(error)), None)

    def stop(self, status: str, error: str | None = None) -> None:
        """End from outside, or fail in place; nobody hears of it."""
        if self.running and self.state not in {"ready", "failed"}:
            self.world.executions.finish("onboarding", self.name, status, error=error)

    def run(self, task: Any, given: dict[str, Any], death: int | None) -> dict[str, Any]:
        ports = self.world.ports
        if death is not None:
            ports, _ = dying(ports, after=death)
        return task.run(given, ports=ports)

    def launch(self, death: int | None) -> None:
        self.turn += 1
        self.token = f"token-{self.number}-{self.turn}"
        self.run(launch_training, {"request": self.request, "token": self.token}, death)
        self.state = "waiting"

    def waiting(self, death: int | None) -> None:
        executions = self.world.executions
        if self.token in executions.succeeded:
            self.state = "sync"
        elif self.token in executions.failed:
            self.fail(*executions.failed[self.token], death)

    def sync(self, death: int | None) -> None:
        result = self.run(sync_checkpoints, {"request": self.request, "turn": 0}, death)
        self.state = {"running": "sync", "trained": "publish", "requeue": "launch"}[result["state"]]

    def publish(self, death: int | None) -> None:
        self.run(publish_model, {"request": self.request}, death)
        self.state = "ready"

    def ready(self, death: int | None) -> None:
        self.run(announce, {"request": self.request, "outcome": "ready"}, death)

    def failed(self, death: int | None) -> None:
        self.run(announce, {"request": self.request, "outcome": "failed"}, death)

    def fail(self, error: str, cause: str, death: int | None) -> None:
        asked = self.world.asked(f"user-{self.number}", **self.given)
        data = {
            **asked,
            "onboarding": {"request": self.request},
            "error": {"Error": error, "Cause": cause},
        }
        given = {"execution": self.name, "given": data}
        self.run(record_failure, given, death)
        self.state = "failed"


class AnyOrder(RuleBasedStateMachine):
    """Everything that may happen, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.onboardings: list[Onboarding] = []
        self.furthest: dict[str, tuple[int, int]] = {}
        self.ended: dict[str, Status] = {}
        self.jobs_of: dict[tuple[str, int], str] = {}
        self.failures: Counter[str] = Counter()

    @initialize(
        tasks_per_job=st.integers(1, 4),
        deadlines=st.lists(st.sampled_from([600, 86_400]), min_size=PEOPLE, max_size=PEOPLE),
    )
    def begin(self, tasks_per_job: int, deadlines: list[int]) -> None:
        self.opened = new_world(round_seconds=10.0, tasks_per_job=tasks_per_job, quiet_seconds=60.0)
        self.world = self.opened.__enter__()
        self.onboardings = [
            Onboarding(self.world, number, deadline_seconds=seconds)
            for number, seconds in enumerate(deadlines)
        ]

    @rule(who=SOMEBODY, death=DEATH)
    def an_execution_goes_on(self, who: int, death: int | None) -> None:
        self.onboardings[who].step(death)

    @rule()
    def every_execution_goes_on(self) -> None:
        for one in self.onboardings:
            one.step(None)

    @rule(death=DEATH, refusals=st.lists(st.sampled_from(["quota", "rate", None]), max_size=4))
    def a_round_runs(self, death: int | None, refusals: list[str | None]) -> None:
        kinds = {
            "quota": QuotaExceeded("4 of 4 instances", quota="instances"),
            "rate": Throttled("slower"),
        }
        self.world.jobs.refusals = [kinds[r] if r else None for r in refusals]
        self.dispatch(death)
        self.world.jobs.refusals = []

    @rule(death=DEATH)
    def somebody_wakes_the_dispatcher(self, death: int | None) -> None:
        ports, _ = dying(self.world.ports, after=death or 10**9)
        try:
            wake_dispatch.run({}, ports=ports)
        except Crash:
            return

    @precondition(lambda self: self.onboardings and self.world.jobs.jobs)
    @rule(data=st.data(), death=DEATH)
    def an_event_arrives_late_or_twice(self, data: Any, death: int | None) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.jobs.jobs)))
        job = self.world.jobs.jobs[name]
        begun = ("InProgress", "Training")
        heard = [begun] if job.status == "InProgress" else [begun, (job.status, job.status)]
        status, secondary = data.draw(st.sampled_from(heard))
        detail = {
            "TrainingJobName": name,
            "TrainingJobStatus": status,
            "SecondaryStatus": secondary,
        }
        ports, _ = dying(self.world.ports, after=death or 10**9)
        try:
            settle.run(detail, ports=ports)
        except Crash:
            return

    @rule(who=SOMEBODY, step=st.integers(0, 6))
    def a_host_says_something(self, who: int, step: int) -> None:
        record = self.world.read(self.onboardings[who].request)
        if record.job is None or self.world.jobs.jobs[record.job].status != "InProgress":
            return
        if step == record.steps:
            self.world.train(record.request)
        else:
            self.world.progress(record.request, TrainingState.TRAINING, step=step, eta_seconds=9.0)

    @rule(who=SOMEBODY)
    def a_task_fails_on_its_host(self, who: int) -> None:
        record = self.world.read(self.onboardings[who].request)
        if record.status in {Status.LAUNCHING, Status.TRAINING}:
            self.failures[record.request] += 1
            self.world.progress(record.request, TrainingState.FAILED)

    @precondition(lambda self: self.onboardings and self.world.jobs.jobs)
    @rule(data=st.data())
    def a_job_ends(self, data: Any) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.jobs.jobs)))
        if self.world.jobs.jobs[name].status == "InProgress":
            status, reason = data.draw(st.sampled_from(ENDS))
            self.world.jobs.finish(name, status, reason)
            if "MaxRuntime" in reason or status == "Completed" or "code: 1" in reason:
                self.failures.update(r.request for r in self.world.ledger.requests_of_job(name))

    @rule(seconds=st.sampled_from([1, 61, 400]))
    def time_passes(self, seconds: int) -> None:
        self.world.clock.advance(seconds)

    @rule(death=DEATH, throttled=st.booleans())
    def a_reconciler_looks(self, death: int | None, *, throttled: bool) -> None:
        refusals: list[AtelierError] = [Throttled("slower")] if throttled else []
        self.world.jobs.describe_refusals = refusals
        ports, _ = dying(self.world.ports, after=death or 10**9)
        try:
            reconcile.run({}, ports=ports)
        except Crash:
            return
        finally:
            self.world.jobs.describe_refusals = []

    @rule(who=SOMEBODY, status=st.sampled_from(["ABORTED", "TIMED_OUT"]))
    def an_execution_is_ended_from_outside(self, who: int, status: str) -> None:
        self.onboardings[who].stop(status)

    @rule(who=SOMEBODY, error=st.sampled_from(["ServiceUnavailable", "States.Timeout"]))
    def an_execution_fails_in_place(self, who: int, error: str) -> None:
        self.onboardings[who].stop("FAILED", error)

    @precondition(lambda self: self.manifests())
    @rule(data=st.data(), rubbish=st.booleans())
    def a_manifest_is_lost_or_rubbish(self, data: Any, *, rubbish: bool) -> None:
        key = data.draw(st.sampled_from(self.manifests()))
        if rubbish:
            self.world.objects.put(key, b"{}")
        else:
            self.world.objects.delete(key)

    @rule(who=SOMEBODY, death=DEATH)
    def a_person_cancels(self, who: int, death: int | None) -> None:
        ports, _ = dying(self.world.ports, after=death or 10**9)
        try:
            cancel.run({"request": self.onboardings[who].request}, ports=ports)
        except Crash:
            return

    def dispatch(self, death: int | None = None) -> None:
        ports, _ = dying(self.world.ports, after=death or 10**9)
        epoch = self.world.ledger.dispatch_state().epoch
        try:
            launch_round.run({"epoch": epoch}, ports=ports)
        except Crash:
            return

    @invariant()
    def nothing_goes_back_and_what_has_ended_stays_so(self) -> None:
        for one in self.onboardings:
            record = self.world.read(one.request)
            order = record.stamp.order
            assert order >= self.furthest.get(one.request, (0, 0))
            self.furthest[one.request] = order
            if record.status in TERMINAL:
                assert self.ended.setdefault(one.request, record.status) is record.status

    @invariant()
    def an_attempt_has_at_most_one_job_and_one_notification(self) -> None:
        for one in self.onboardings:
            record = self.world.read(one.request)
            if record.job is not None:
                key = (record.request, record.attempt)
                assert self.jobs_of.setdefault(key, record.job) == record.job
                assert record.job in self.world.jobs.jobs
        if not self.onboardings:
            return
        rows = {n.id: n for n in self.world.ledger.undelivered(limit=100)}
        rows |= {n.id: n for n in self.world.notifications.delivered}
        told = Counter(n.data["onboarding"] for n in rows.values())
        assert all(count == 1 for count in told.values())

    @invariant()
    def nobody_is_poisonous_without_a_failure_of_their_own(self) -> None:
        for one in self.onboardings:
            record = self.world.read(one.request)
            if record.failure is not None and record.failure.error == "PoisonousTask":
                assert self.failures[one.request] >= 1

    def manifests(self) -> list[str]:
        if not self.onboardings:
            return []
        return [info.key for info in self.world.objects.list("manifests/")]

    def teardown(self) -> None:
        if not self.onboardings:
            return
        try:
            self.everybody_ends()
        finally:
            self.opened.__exit__(None, None, None)

    def everybody_ends(self) -> None:
        """Let nothing else go wrong: every onboarding must end by itself, each in one outcome."""
        for _ in range(80):
            self.dispatch()
            for one in self.onboardings:
                self.train(one.request)
                one.step(None)
            if self.finished():
                break
            self.world.clock.advance(61)
            reconcile.run({}, ports=self.world.ports)
        for one in self.onboardings:
            record = self.world.read(one.request)
            assert record.status in TERMINAL
            assert not record.untold
            assert (record.version is not None) == (record.status is Status.READY)
            if one.running:
                assert one.state == ("ready" if record.status is Status.READY else "failed")
        assert self.world.ledger.open_batches() == []
        assert self.world.ledger.queued(limit=9) == []
        assert self.world.ledger.scan_requests(unfinished=True) == ([], None)

    def finished(self) -> bool:
        ended = self.world.ledger.scan_requests(unfinished=True) == ([], None)
        told = all(not one.running or one.state in {"ready", "failed"} for one in self.onboardings)
        return ended and told and not self.world.ledger.open_batches()

    def train(self, request: str) -> None:
        """Train what still runs; nobody hears of what has ended, but a reconciler."""
        record = self.world.read(request)
        if record.job is None or record.status not in {Status.LAUNCHING, Status.TRAINING}:
            return
        if self.world.jobs.jobs[record.job].status == "InProgress":
            self.world.train(request)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(
    # 20 in every run, 2,000 with `--hypothesis-profile=long`.
    max_examples=settings.default.max_examples // 5,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
