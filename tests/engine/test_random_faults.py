"""Anything in any order: answers, timers, stops, redrives, crashes, storage that fails.

Whatever happened, once storage works again each execution's history is one that an undisturbed
engine could have written, nothing that was reported is lost, and nothing was done twice.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.engine.faulty_store import Fault, FaultyStore
from tests.engine.world import World, callback, task
from workflows.engine.engine import EngineError, StorageError, TaskFailure, TaskSuccess

NAMES = st.sampled_from(["one", "two", "three"])
RETRY = [{"ErrorEquals": ["Busy"], "IntervalSeconds": 5, "MaxAttempts": 2}]
STATES = {
    "Work": task(TimeoutSeconds=100, Retry=RETRY, Next="Ask"),
    "Ask": callback(TimeoutSeconds=200, HeartbeatSeconds=50, ResultPath=None, Next="Both"),
    "Both": {
        "Type": "Parallel",
        "ResultPath": None,
        "Branches": [
            {
                "StartAt": "Map",
                "States": {
                    "Map": {
                        "Type": "Map",
                        "ItemsPath": "$.items",
                        "MaxConcurrency": 2,
                        "ItemProcessor": {
                            "StartAt": "Each",
                            "States": {"Each": task("each", ResultPath=None, Retry=RETRY)},
                        },
                        "End": True,
                    }
                },
            },
            {"StartAt": "Side", "States": {"Side": task("side")}},
        ],
        "Next": "Nap",
    },
    "Nap": {"Type": "Wait", "Seconds": 10, "End": True},
}
DEFINITION = {"StartAt": "Work", "States": STATES, "TimeoutSeconds": 1000}
BUSY, DOWN = TaskFailure("Busy"), TaskFailure("Down")
CHOICES = st.randoms(use_true_random=False)
LAST_EVENT = {
    "SUCCEEDED": "ExecutionSucceeded",
    "FAILED": "ExecutionFailed",
    "TIMED_OUT": "ExecutionTimedOut",
    "ABORTED": "ExecutionAborted",
}
ENDS_OF_ATTEMPTS = {"TaskSucceeded", "TaskFailed", "TaskTimedOut"}


class Executions(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World(FaultyStore(), batch=4)
        self.tokens: list[str] = []
        self.answered: set[str] = set()
        self.boot()

    def boot(self) -> None:
        self.world.functions.code = dict.fromkeys(("work", "ask", "each", "side"), silent)
        self.world.engine.register("machine", DEFINITION)

    # what callers do

    @initialize()
    def begin(self) -> None:
        self.start("one")

    @rule(name=NAMES)
    def start(self, name: str) -> None:
        with suppress(EngineError):
            self.world.engine.start_execution("machine", name=name, input={"items": [1, 2, 3]})

    @rule(which=CHOICES)
    def do_the_work(self, which) -> None:
        """Answer an open call well, and let the engine go on: the way through the machine."""
        open_calls = sorted(set(self.world.functions.reports) - self.answered)
        if open_calls:
            call = which.choice(open_calls)
            self.world.functions.reports[call](TaskSuccess({"n": 1}))
            self.answered.add(call)
            self.run_due()
            self.answer_by_token(which, self.fresh_tokens()[-1:], fine=True)

    @rule(which=CHOICES, outcome=st.sampled_from([TaskSuccess({}), BUSY, BUSY, DOWN]))
    def report_anything(self, which, outcome: TaskSuccess | TaskFailure) -> None:
        """Report for any call of this life, also for one that was answered, cancelled or lapsed."""
        reports = self.world.functions.reports
        if reports:
            call = which.choice(sorted(reports))
            reports[call](outcome)
            self.answered.add(call)

    @rule(which=CHOICES, fine=st.booleans())
    def answer_by_any_token(self, *, which, fine: bool) -> None:
        self.fresh_tokens()
        self.answer_by_token(which, self.tokens, fine=fine)

    @rule(which=CHOICES)
    def beat(self, which) -> None:
        if self.tokens:
            with suppress(EngineError):
                self.world.engine.send_task_heartbeat(which.choice(self.tokens))

    @rule(name=NAMES)
    def stop_and_redrive(self, name: str) -> None:
        with suppress(EngineError):
            arn = self.world.engine.execution_arn("machine", name)
            self.world.engine.stop_execution(arn)
        self.redrive(name)

    @rule(name=NAMES)
    def redrive(self, name: str) -> None:
        with suppress(EngineError):
            self.world.engine.redrive_execution(self.world.engine.execution_arn("machine", name))

    def fresh_tokens(self) -> list[str]:
        tokens = [call.token for call in self.world.functions.calls if call.token]
        self.tokens += [token for token in tokens if token not in self.tokens]
        return tokens

    def answer_by_token(self, which, tokens: list[str], *, fine: bool) -> None:
        if tokens:
            token = which.choice(tokens)
            with suppress(EngineError):
                if fine:
                    self.world.engine.send_task_success(token, {})
                else:
                    self.world.engine.send_task_failure(token, error="Down")

    # what happens to the process

    @rule()
    def run_due(self) -> None:
        with suppress(StorageError):
            self.world.engine.run_due()

    @rule(seconds=st.sampled_from([1, 5, 10, 49, 50, 100, 1000]))
    def pass_time(self, seconds: int) -> None:
        self.world.clock.advance(seconds)
        self.run_due()

    @rule(fault=st.sampled_from([Fault.BEFORE, Fault.AFTER]), commits=st.integers(1, 3))
    def let_commits_fail(self, fault: Fault, commits: int) -> None:
        self.world.store.fail(fault, commits)

    @rule()
    def let_reads_fail(self) -> None:
        self.world.store.reads_fail = True
        self.run_due()
        self.world.store.reads_fail = False

    @rule(times=st.integers(0, 2))
    def die(self, times: int) -> None:
        self.world.crash()
        self.boot()
        self.answered.clear()
        for _ in range(times):
            with suppress(StorageError):
                self.world.engine.recover()

    # what must hold

    @invariant()
    def each_call_is_issued_once_in_a_life(self) -> None:
        issued = Counter(call.id for call in self.world.functions.calls)
        assert set(issued.values()) <= {1}

    @invariant()
    def histories_are_whole(self) -> None:
        for record in self.world.store.sound.executions(None, status=None, skip=0, limit=9):
            events = self.world.store.sound.events(
                record.arn, beyond=0, limit=99_999, reverse=False
            )
            assert [event.id for event in events] == list(range(1, len(events) + 1))
            ended = events[-1].type if record.status != "RUNNING" else None
            assert ended == LAST_EVENT.get(record.status)
            redriven = [event for event in events if event.type == "ExecutionRedriven"]
            assert len(redriven) == record.redrive_count
            attempts: Counter = Counter()
            by_id = {event.id: event for event in events}
            for event in events:
                if event.type in ENDS_OF_ATTEMPTS:
                    while event.type != "TaskScheduled":
                        event = by_id[event.previous_id]  # noqa: PLW2901 - walking back
                    attempts[event.id] += 1
            assert set(attempts.values()) <= {1}

    @rule()
    def nothing_is_lost_once_storage_works(self) -> None:
        self.world.store.heal()
        self.world.engine.recover()
        self.world.engine.run_due()
        due = self.world.engine._next_due()
        assert due is None or due > self.world.clock.now()
        pending = self.pending()
        assert not pending & self.answered, "a reported outcome was lost"
        assert pending <= set(self.world.functions.reports), "a task was not issued"

    def pending(self) -> set[str]:
        """Return the calls without answer, according to a process that knows the store alone."""
        other = World(self.world.store.sound, clock=self.world.clock)
        other.functions.code = dict.fromkeys(("work", "ask", "each", "side"), silent)
        recovery = other.engine.recover()
        assert recovery.abandoned == {}
        return {call.id for call in other.functions.calls}

    def teardown(self) -> None:
        """Every execution ends when whoever is asked answers."""
        self.world.store.heal()
        self.world.engine.recover()
        for _ in range(40):
            self.world.engine.run_due()
            for call in list(self.world.functions.calls):
                self.world.functions.reports[call.id](TaskSuccess({"n": 1}))
                if call.token:
                    self.world.engine.run_due()
                    with suppress(EngineError):
                        self.world.engine.send_task_success(call.token, {})
            self.world.engine.run_for(10)
        assert self.world.engine.list_executions(status="RUNNING").items == ()
        self.histories_are_whole()


def silent(_payload: object) -> None:
    """Take a call and say nothing."""


Executions.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestExecutions = Executions.TestCase
