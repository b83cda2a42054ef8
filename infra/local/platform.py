"""The local platform: its composition root. Binds every port, runs its threads, stops them.

One process: the engine's loop, the training and endpoint supervisors, the pump that plays what AWS
delivers between services (the queue's stream, the one-minute schedule, training-job events).
`train` and `serve` are subprocesses, started exactly as their images start them.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from atelier.contracts.clock import Clock
from atelier.contracts.container import (
    BASE_MODELS_VARIABLE,
    OBJECTS_VARIABLE,
    SERVE_COMMAND,
    TRAIN_COMMAND,
)
from atelier.contracts.errors import AtelierError, ContractBroken
from infra.local.endpoint import EndpointHost
from infra.local.executions import LocalExecutions, PlatformStopping, TaskThreads
from infra.local.faults import Channel, Event, Faults, NoFaults, Reader
from infra.local.home import REPOSITORY, lay_out_base_models, read_or_make_secret
from infra.local.ledger import SqliteLedger
from infra.local.notifications import LoggedNotifications
from infra.local.objects import FileObjects
from infra.local.programs import Program
from infra.local.time_mark import MARK_FILE, TimeMark, steady_clock
from infra.local.training import TrainingService, TrainingSettings
from infra.local.upload_events import UploadEvents
from infra.local.upload_forms import hmac_signer
from tasks.logged import run_logged
from tasks.ports import Ports, TaskSettings
from tasks.table import TASKS
from workflows.engine.engine import Engine, SqliteHistoryStore
from workflows.machines.asl import MACHINES, load

__all__ = ["REPOSITORY", "LocalPlatform", "LocalSettings", "StoppableClock"]

log = logging.getLogger(__name__)
SCHEDULE_SECONDS = 60.0
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds before a part that failed begins again."""
MARK_SECONDS = 5.0
STOP_SECONDS = 35.0
"""Longer than a model server's grace of 30 s."""


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """What a person may set of a local platform.

    Attributes:
        home: folder of all state.
        upload_url: where upload forms are POSTed: the API's own receiver.
        tasks: settings of the tasks; `bucket_url` and `base_models` are set from home.
        training: settings of the training service.
        threads: CPU threads of each program.
        serving: environment of the model server on top of its own, such as `ATELIER_SERVE_SLOTS`.
        reconcile_seconds: between two looks at everything that has not ended.
        schedule_seconds: between two wakes of the dispatcher that nobody asked for.
    """

    home: Path
    upload_url: str
    tasks: TaskSettings = field(
        default_factory=lambda: TaskSettings(most_wait_seconds=60, quiet_seconds=20)
    )
    training: TrainingSettings = field(default_factory=TrainingSettings)
    threads: int = field(default_factory=lambda: min(os.cpu_count() or 1, 4))
    serving: Mapping[str, str] = field(default_factory=dict)
    reconcile_seconds: float = 30.0
    schedule_seconds: float = SCHEDULE_SECONDS


@dataclass(frozen=True, slots=True)
class StoppableClock:
    """The platform's clock for tasks: a sleep ends when the platform stops, its task with it."""

    clock: Clock
    stopping: threading.Event

    def now(self) -> datetime:
        """Return the time in UTC."""
        return self.clock.now()

    def monotonic_seconds(self) -> float:
        """Return monotonic seconds."""
        return self.clock.monotonic_seconds()

    def sleep(self, seconds: float) -> None:
        """Sleep, at most until the platform stops.

        Raises:
            PlatformStopping: it stops. Going on would be working without the pauses that were
                asked for.
        """
        if self.stopping.wait(max(0.0, seconds)):
            raise PlatformStopping


class LocalPlatform:
    """Every port on SQLite, files and subprocesses; `start` and `stop` its threads."""

    def __init__(
        self,
        settings: LocalSettings,
        *,
        clock: Clock | None = None,
        faults: Faults | None = None,
        training_program: Program | None = None,
        serving_program: Program | None = None,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        """Bind the ports; nothing runs before `start`.

        Args:
            settings: where its state lies, and its limits.
            clock: unless given, the machine's, steadied: it goes on from the home's time mark.
            faults: what goes wrong on purpose.
            training_program: what a training job starts instead of the training image's program.
            serving_program: what the endpoint starts instead of the serving image's program.
            on_failure: called when the engine or a database cannot go on: end the process and
                start it again; nothing is lost.
        """
        home = settings.home
        home.mkdir(parents=True, exist_ok=True)
        self.settings = settings
        self._on_failure = on_failure
        faults = faults or NoFaults()
        self._time_mark = TimeMark(home / MARK_FILE)
        self.clock = clock or steady_clock(self._time_mark)
        self.secret = read_or_make_secret(home / "secret")
        self._uploads = UploadEvents(
            bucket=home / "objects",
            mark=home / "uploads-told",
            clock=self.clock,
            tell=lambda event: run_logged(
                "StartFromUpload", TASKS["StartFromUpload"], event, ports=self.ports
            ),
            channel=partial(faults.deliver, Channel.UPLOADS),
        )
        self.objects = FileObjects(
            home / "objects",
            clock=self.clock,
            sign=hmac_signer(self.secret),
            upload_url=settings.upload_url,
            on_put=self._uploads.written,
        )
        self._base_models = home.resolve() / "base-models"
        available = lay_out_base_models(self._base_models)
        self._stop = threading.Event()
        self._queue_changed = threading.Event()
        wake = faults.deliver(Channel.QUEUE, lambda _: self._queue_changed.set())
        self.ledger = SqliteLedger(
            home / "ledger.sqlite3", clock=self.clock, queue_listener=partial(wake, {})
        )
        self._bucket_url = (home / "objects").resolve().as_uri() + "/"
        self.training = self._open_training(training_program, faults)
        self.endpoint = self._open_endpoint(serving_program, faults)
        self._tasks = TaskThreads(self._bound_tasks())
        self._ended: SimpleQueue[Mapping[str, Any] | None] = SimpleQueue()
        self.engine = self._open_engine(faults)
        ports = Ports(
            ledger=self.ledger,
            objects=faults.objects(self.objects, reader=Reader.TASKS),
            training_jobs=self.training,
            endpoint=self.endpoint,
            notifications=LoggedNotifications(home / "logs" / "notifications.jsonl"),
            executions=LocalExecutions(self.engine),
            clock=StoppableClock(self.clock, self._stop),
            settings=replace(settings.tasks, bucket_url=self._bucket_url, base_models=available),
        )
        self.ports = faults.ports(ports)
        self._threads: list[threading.Thread] = []

    def _open_training(self, program: Program | None, faults: Faults) -> TrainingService:
        home, settings = self.settings.home, self.settings
        return TrainingService(
            folder=home / "training",
            logs=home / "logs" / "training",
            objects=faults.objects(self.objects, reader=Reader.TRAINING),
            bucket_urls=(settings.tasks.bucket_url, self._bucket_url),
            program=program or self._program("training_image.program", TRAIN_COMMAND),
            clock=self.clock,
            on_event=faults.deliver(Channel.TRAINING, self._on_training_event),
            settings=settings.training,
            faults=faults,
        )

    def _open_endpoint(self, program: Program | None, faults: Faults) -> EndpointHost:
        home = self.settings.home
        environment = {OBJECTS_VARIABLE: self._bucket_url, **self.settings.serving}
        return EndpointHost(
            folder=home / "endpoint",
            log=home / "logs" / "endpoint.log",
            objects=faults.objects(self.objects, reader=Reader.ENDPOINT),
            program=program or self._program("serving_image.program", SERVE_COMMAND, environment),
            clock=self.clock,
        )

    def _open_engine(self, faults: Faults) -> Engine:
        engine = Engine(
            store=SqliteHistoryStore(self.settings.home / "executions.sqlite3"),
            tasks=self._tasks,
            clock=self.clock,
        )
        for machine in MACHINES.values():
            engine.register(
                machine.name, load(machine.name), substitutions=dict(machine.placeholders)
            )
        engine.subscribe(faults.deliver(Channel.EXECUTIONS, self._on_execution_event))
        return engine

    def start(self) -> None:
        """Recover what a crash left, then run the platform's threads."""
        self.training.recover()
        self.engine.recover()
        loops: Mapping[str, Callable[[], None]] = {
            "engine": partial(self.engine.serve, self._stop),
            "training": partial(self.training.serve, self._stop),
            "endpoint": partial(self.endpoint.serve, self._stop),
            "pump": self._pump,
            "reconcile": self._reconcile,
            "executions": self._settle_executions,
            "uploads": partial(self._uploads.serve, self._stop),
            "time": self._keep_time,
        }
        for name, loop in loops.items():
            thread = threading.Thread(target=self._run, args=(name, loop), name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Stop every thread and program; state stays, and a later start goes on from it."""
        self._stop.set()
        self._queue_changed.set()
        self._ended.put(None)
        self._uploads.stop()
        self._tasks.close()
        for thread in self._threads:
            thread.join(STOP_SECONDS)
        self._time_mark.close()

    def _run(self, name: str, loop: Callable[[], None]) -> None:
        """Run a part until the platform stops; what fails in its loop begins again by itself.

        Two things end the platform, loudly. An engine that failed unexpectedly: what it holds in
        memory may no longer be what its journals say, and only a new process reads them all again.
        A database that is damaged or foreign (`ContractBroken`): waiting does not mend it.
        """
        for pause in chain(PAUSES, repeat(PAUSES[-1])):
            try:
                loop()
            except Exception as problem:
                if name == "engine" or isinstance(problem, ContractBroken):
                    log.critical("%s cannot go on; the platform ends", name, exc_info=True)
                    self._on_failure()
                    return
                log.exception("%s failed; it begins again in %g s", name, pause)
            else:
                return
            if self._stop.wait(pause):
                return

    def _bound_tasks(self) -> Mapping[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]]:
        def bind(name: str) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
            return lambda given: run_logged(name, TASKS[name], given, ports=self.ports)

        return {name: bind(name) for name in TASKS}

    def _pump(self) -> None:
        """Play the queue's stream and the one-minute schedule.

        A change of the queue wakes the dispatcher. Every minute it is woken in case that was lost,
        and notifications that nobody could deliver are tried again.
        """
        due = self.clock.monotonic_seconds()
        while not self._stop.is_set():
            # By the time, not by a wait that nothing ended: a busy queue must not put it off.
            scheduled = self.clock.monotonic_seconds() >= due
            self._run_task("WakeDispatch", {"scheduled": True} if scheduled else {})
            if scheduled:
                self._run_task("Announce", {})
                due = self.clock.monotonic_seconds() + self.settings.schedule_seconds
            self._queue_changed.wait(max(0.0, due - self.clock.monotonic_seconds()))
            self._queue_changed.clear()

    def _reconcile(self) -> None:
        """Look at all that has not ended, at the start and then every `reconcile_seconds`."""
        while not self._stop.is_set():
            seen = self._run_task("Reconcile", {})
            self._stop.wait(0 if seen.get("more") else self.settings.reconcile_seconds)

    def _run_task(self, name: str, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Run a task that is repeated anyway: whatever it raises ends this turn of it alone."""
        try:
            return run_logged(name, TASKS[name], given, ports=self.ports)
        except AtelierError as problem:
            log.warning("%s failed and is tried again within a minute: %s", name, problem)
        except PlatformStopping:
            log.info("%s ends with the platform", name)
        except Exception:
            log.exception("%s failed unexpectedly; it is tried again within a minute", name)
        return {}

    def _keep_time(self) -> None:
        """Bring the time mark to the disk now and then, for the machine's own end."""
        while not self._stop.wait(MARK_SECONDS):
            self._time_mark.flush()

    def _on_training_event(self, event: Event) -> None:
        """Play EventBridge: hand a training job's event to the settle task."""
        run_logged("Settle", TASKS["Settle"], event["detail"], ports=self.ports)

    def _on_execution_event(self, event: Event) -> None:
        """Take an onboarding's end down for `_settle_executions`: the engine cannot wait here."""
        detail = event["detail"]
        onboarding = detail["stateMachineArn"].rpartition(":")[2] == "onboarding"
        if onboarding and detail["status"] not in {"RUNNING", "SUCCEEDED"}:
            self._ended.put(detail)

    def _settle_executions(self) -> None:
        """Play EventBridge: hand ended executions to their settle task, best effort as on AWS."""
        while (detail := self._ended.get()) is not None:
            self._run_task("SettleExecution", detail)

    def _program(
        self, module: str, command: str, extra: Mapping[str, str] | None = None
    ) -> Program:
        threads = str(self.settings.threads)
        return Program(
            command=(sys.executable, "-m", module, command),
            working_directory=REPOSITORY,
            environment={
                "PATH": os.defpath,
                "HOME": str(self.settings.home.resolve()),
                BASE_MODELS_VARIABLE: str(self._base_models),
                "OMP_NUM_THREADS": threads,
                "OMP_WAIT_POLICY": "passive",
                "HF_HUB_OFFLINE": "1",
                "PYTHONUNBUFFERED": "1",
                **(extra or {}),
            },
        )
