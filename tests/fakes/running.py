"""The committed machines on our engine, with the real tasks, in virtual time: no sleep, no thread.

Nothing is delivered but what the ledger and the machines do by themselves: no events, no stream.
A schedule wakes the dispatcher and looks at everybody.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from atelier.contracts.errors import AtelierError
from atelier.contracts.status import Status
from infra.local.executions import LocalExecutions
from tasks import announce, reconcile, wake_dispatch
from tasks.causes import cause_of, failure_of
from tasks.ports import Ports
from tasks.table import TASKS
from tests.fakes.world import World
from workflows.engine.engine import (
    Engine,
    MemoryHistoryStore,
    Report,
    TaskCall,
    TaskFailure,
    TaskSuccess,
)
from workflows.machines.asl import MACHINES, load

SCHEDULE_SECONDS = 300.0
NEVER = "never"
"""What a fault says for a function that does not answer at all."""

Fault = Callable[[TaskCall], str | None]
"""What happens to a call: an error's name, `NEVER`, or None to let it through."""


class RunningMachines:
    """A world whose machines run.

    Attributes:
        fault: asked before each call of a function.
        ports: what tasks are given; a test may put something in between.
    """

    def __init__(self, world: World, *, fault: Fault = lambda _: None) -> None:
        self.world, self.fault = world, fault
        self._calls: list[tuple[TaskCall, Report]] = []
        self.engine = Engine(store=MemoryHistoryStore(), tasks=self, clock=world.clock)
        for machine in MACHINES.values():
            self.engine.register(
                machine.name, load(machine.name), substitutions=dict(machine.placeholders)
            )
        world.ports = replace(world.ports, executions=LocalExecutions(self.engine))
        self.ports: Ports = world.ports

    # the engine's task runner

    def start(self, call: TaskCall, report: Report) -> None:
        self._calls.append((call, report))

    def cancel(self, call_id: str) -> None:
        """Nothing runs here that could be ended."""

    # time

    def go_on(self, seconds: float, *, until: Callable[[], bool] = lambda: False) -> None:
        """Let so much time pass, or less if `until` holds."""
        clock = self.world.clock
        end = clock.now() + timedelta(seconds=seconds)
        scheduled = clock.now()
        while clock.now() < end and not until():
            self._run()
            if clock.now() >= scheduled:
                self._schedule()
                scheduled = clock.now() + timedelta(seconds=SCHEDULE_SECONDS)
                continue
            due = self.engine._next_due()
            following = min(scheduled, due) if due else scheduled
            clock.sleep(max(0.001, (following - clock.now()).total_seconds()))

    def _run(self) -> None:
        self.engine.run_due()
        while self._calls:
            call, report = self._calls.pop(0)
            self._answer(call, report)
            self.engine.run_due()

    def _answer(self, call: TaskCall, report: Report) -> None:
        fault = self.fault(call)
        if fault == NEVER:
            return
        if fault is not None:
            report(TaskFailure(error=fault, cause="{}"))
            return
        try:
            outcome = TASKS[call.function](call.payload, ports=self.ports)
        except AtelierError as error:
            report(TaskFailure(error=error.name(), cause=cause_of(failure_of(error))))
        else:
            report(TaskSuccess(dict(outcome)))

    def _schedule(self) -> None:
        """Do what a platform's schedules do; train whoever is in a job."""
        for task, given in ((wake_dispatch, {"scheduled": True}), (announce, {})):
            self._try(task.run, given)
        while (self._try(reconcile.run, {}) or {}).get("more"):
            pass
        for record in self.world.ledger.scan_requests(unfinished=True, limit=100)[0]:
            if record.status in {Status.LAUNCHING, Status.TRAINING} and record.job_outcome is None:
                self.world.train(record.request)

    def _try(self, run: Callable[..., dict[str, object]], given: dict[str, object]) -> dict | None:
        try:
            return run(given, ports=self.ports)
        except AtelierError:
            return None
