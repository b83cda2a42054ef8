"""Onboardings under any order of rounds, events, cancels, doubles and deaths: one outcome each."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from atelier.contracts.errors import FinalError, QuotaExceeded, Throttled
from atelier.contracts.manifest import TrainingManifest
from atelier.contracts.progress import TrainingState
from atelier.contracts.status import TERMINAL, Status
from tasks import (
    announce,
    cancel,
    launch_round,
    launch_training,
    publish_model,
    record_failure,
    settle,
    sync_checkpoints,
    wake_dispatch,
)
from tasks.causes import cause_of, failure_of
from tests.fakes.crashing import Crash, dying
from tests.fakes.world import World, new_world

SOMEBODY = st.integers(0, 2)
DEATH = st.one_of(st.none(), st.none(), st.integers(1, 24))
ENDS = ("Completed", "Failed", "Stopped")


class Onboarding:
    """An execution as the state machine runs it: a state, and what each result leads to."""

    def __init__(self, world: World, number: int) -> None:
        self.world, self.number = world, number
        self.request = world.registered(f"user-{number}", execution=f"execution-{number}")
        self.state, self.token, self.turn = "launch", "", 0

    def step(self, death: int | None) -> None:
        """Run the state once; a death leaves it where it is, to be entered again."""
        try:
            getattr(self, self.state)(death)
        except Crash:
            return
        except FinalError as error:
            self.fail(error.name(), cause_of(failure_of(error)), None)

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
        asked = self.world.asked(f"user-{self.number}")
        data = {
            **asked,
            "onboarding": {"request": self.request},
            "error": {"Error": error, "Cause": cause},
        }
        given = {"execution": f"execution-{self.number}", "given": data}
        self.run(record_failure, given, death)
        self.state = "failed"


class AnyOrder(RuleBasedStateMachine):
    """Everything that may happen, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = new_world(round_seconds=10.0)
        self.world = self.opened.__enter__()
        self.onboardings: list[Onboarding] = []
        self.furthest: dict[str, tuple[int, int]] = {}
        self.ended: dict[str, Status] = {}

    @initialize()
    def begin(self) -> None:
        self.onboardings = [Onboarding(self.world, number) for number in range(3)]

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

    @precondition(lambda self: self.world.jobs.jobs)
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
            self.world.progress(record.request, TrainingState.FAILED)

    @precondition(lambda self: self.world.jobs.jobs)
    @rule(data=st.data())
    def a_job_ends(self, data: Any) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.jobs.jobs)))
        if self.world.jobs.jobs[name].status == "InProgress":
            self.world.jobs.finish(name, data.draw(st.sampled_from(ENDS)))

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
        tasks = Counter()
        for definition in self.world.jobs.definitions.values():
            body = self.world.objects.read(definition["HyperParameters"]["manifest_key"])
            manifest = TrainingManifest.from_json(body)
            tasks.update((task.request, task.attempt) for task in manifest.tasks)
        assert all(count == 1 for count in tasks.values())
        rows = {n.id: n for n in self.world.ledger.undelivered(limit=100)}
        rows |= {n.id: n for n in self.world.notifications.delivered}
        told = Counter(n.data["onboarding"] for n in rows.values())
        assert all(count == 1 for count in told.values())

    def teardown(self) -> None:
        try:
            if self.onboardings:
                self.everybody_ends()
        finally:
            self.opened.__exit__(None, None, None)

    def everybody_ends(self) -> None:
        """Let nothing else go wrong: every onboarding must end, each in one outcome."""
        for _ in range(60):
            self.dispatch()
            for one in self.onboardings:
                self.settle_missed(one.request)
                one.step(None)
            if all(one.state in {"ready", "failed"} for one in self.onboardings):
                break
        for one in self.onboardings:
            record = self.world.read(one.request)
            assert one.state == ("ready" if record.status is Status.READY else "failed")
            assert record.status in TERMINAL
            assert (record.version is not None) == (record.status is Status.READY)
        assert self.world.ledger.open_batches() == []
        assert self.world.ledger.queued(limit=9) == []

    def settle_missed(self, request: str) -> None:
        """Train what still runs; repeat the event of what has ended, as a reconciler would."""
        record = self.world.read(request)
        if record.job is None or record.status in TERMINAL:
            return
        job = self.world.jobs.jobs[record.job]
        if job.status != "InProgress":
            self.world.event(job.name, job.status)
        elif record.status in {Status.LAUNCHING, Status.TRAINING}:
            self.world.train(request)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
