"""The platform's seams under a plan: ports, buckets, channels and machines that fail when told.

Implements `infra.local.faults.Faults` for one life of a plan.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol, cast

from atelier.contracts.clock import Clock
from atelier.contracts.errors import AtelierError, CapacityMissing, QuotaExceeded, Throttled
from infra.chaos.plan import Fault, Kind
from infra.chaos.points import Points
from infra.local.faults import Channel, Deliver, Event, Reader
from tasks.ports import (
    Endpoint,
    Executions,
    Ledger,
    Notifications,
    ObjectInfo,
    Objects,
    Ports,
    TrainingJobs,
)

log = logging.getLogger(__name__)

CREATE, START = "CreateTrainingJob", "StartTrainingJob"
PROGRESS, CHECKPOINT = "progress", "checkpoint"
HELD_SECONDS = 3.0
"""An event that waits for its successor waits no longer."""


class Machines(Protocol):
    """What stands behind the platform and can be switched off."""

    def running(self) -> Sequence[tuple[str, str, int]]:
        """Return (job, host, process id) of every training program that runs."""
        ...

    def interrupt(self, job: str) -> None:
        """Take a job's instances away."""
        ...

    def server(self) -> int | None:
        """Return the model server's process id."""
        ...


@dataclass(slots=True)
class JumpingClock:
    """The machine's wall clock, which somebody sets; a platform's `SteadyClock` stands on it."""

    clock: Clock
    ahead: timedelta = timedelta()

    def now(self) -> datetime:
        """Return the time as the wall clock shows it."""
        return self.clock.now() + self.ahead

    def jump(self, seconds: float) -> None:
        """Set the clock forward, or back."""
        self.ahead += timedelta(seconds=seconds)


class FaultyPort:
    """A port whose every method is a point, `<name>.<method>`."""

    def __init__(
        self, port: object, name: str, points: Points, *, act: Callable[[Fault], None]
    ) -> None:
        """Stand in front of `port`."""
        self._port = port
        self._name = name
        self._points = points
        self._act = act

    def __getattr__(self, name: str) -> Any:
        """Return the port's method with its faults."""
        method = getattr(self._port, name)
        if not callable(method):
            return method
        point = f"{self._name}.{name}"

        def call(*given: Any, **more: Any) -> Any:
            return self._points.around(point, partial(method, *given, **more), act=self._act)

        self.__dict__[name] = call
        return call


class FaultyBucket(FaultyPort):
    """A bucket that also damages what is written into it: a training's words, states and photos."""

    def __init__(
        self,
        port: Objects,
        reader: Reader,
        points: Points,
        *,
        act: Callable[[Fault], None],
        on_training: Callable[[Fault, str], None],
        poisoned: Collection[str],
    ) -> None:
        """Stand in front of a bucket.

        Args:
            port: the bucket.
            reader: who uses it.
            points: counts calls.
            act: does what a point of the bucket itself shall do.
            on_training: does to the training job of that name what shall happen to it.
            poisoned: owners whose photos are damaged.
        """
        super().__init__(port, f"objects[{reader}]", points, act=act)
        self._bucket = port
        self._reader = reader
        self._on_training = on_training
        self._poisoned = poisoned

    def put(self, key: str, body: bytes, **more: Any) -> ObjectInfo:
        """Write an object, perhaps damaged."""
        body = self._damaged(key, body)
        return self._points.around(
            f"{self._name}.put", partial(self._bucket.put, key, body, **more), act=self._act
        )

    def _damaged(self, key: str, body: bytes) -> bytes:
        parts = key.split("/")
        if self._reader is Reader.TASKS:
            photo = parts[0] == "datasets" and key.endswith(".png")
            return body[:-1] + b"?" if photo and parts[1] in self._poisoned else body
        if self._reader is not Reader.TRAINING or parts[0] != "checkpoints":
            return body
        point = PROGRESS if parts[-1] == "progress.json" else CHECKPOINT
        if point == CHECKPOINT and "state" not in parts:
            return body
        for fault in self._points.hit(point, key):
            if fault.kind in {Kind.CORRUPT_CHECKPOINT, Kind.CORRUPT_PROGRESS}:
                # Half of it is cut off, or its middle is another's.
                half = len(body) // 2
                body = body[:half] if fault.nth % 2 else body[:half] + b"\0" * (len(body) - half)
            else:
                self._on_training(fault, parts[1])
        return body


@dataclass(slots=True)
class _FaultyChannel:
    """A channel of events that loses, doubles, delays and reorders."""

    name: str
    receive: Deliver
    points: Points
    held: list[Event] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def deliver(self, event: Event) -> None:
        kinds = {fault.kind: fault for fault in self.points.hit(f"event:{self.name}")}
        if Kind.EVENT_LOST in kinds:
            return
        if fault := kinds.get(Kind.EVENT_DELAYED):
            self._later(fault.seconds, partial(self._late, event))
            return
        if Kind.EVENT_REORDERED in kinds:
            with self.lock:
                self.held.append(event)
            self._later(HELD_SECONDS, self._release)
            return
        self.receive(event)
        if Kind.EVENT_DOUBLED in kinds:
            self.receive(event)
        self._release()

    def _release(self) -> None:
        with self.lock:
            held, self.held = self.held, []
        for event in held:
            self._late(event)

    def _late(self, event: Event) -> None:
        try:
            self.receive(event)
        except AtelierError as problem:
            # Nobody repeats an event that was taken: that, too, is an event lost.
            log.warning("chaos: a late event of %s failed: %s", self.name, problem)

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        timer = threading.Timer(seconds, call)
        timer.daemon = True
        timer.start()


class ChaosFaults:
    """Everything that goes wrong in one life; see `infra.local.faults.Faults`."""

    def __init__(self, points: Points, *, poisoned: Collection[str], clock: JumpingClock) -> None:
        """Prepare the faults.

        Args:
            points: of this life.
            poisoned: owners whose photos are damaged on their way to the training.
            clock: the platform's wall clock.
        """
        self._points = points
        self._poisoned = poisoned
        self._clock = clock
        self._machines: Machines | None = None

    def reach(self, machines: Machines) -> None:
        """Say what can be switched off; before that, nothing is."""
        self._machines = machines

    def objects(self, objects: Objects, *, reader: Reader) -> Objects:
        """Return the bucket as `reader` shall see it."""
        bucket = FaultyBucket(
            objects,
            reader,
            self._points,
            act=self._act,
            on_training=self._on_training,
            poisoned=self._poisoned,
        )
        return cast("Objects", bucket)

    def ports(self, ports: Ports) -> Ports:
        """Return the ports as tasks shall see them."""

        def faulty(port: object, name: str) -> FaultyPort:
            return FaultyPort(port, name, self._points, act=self._act)

        return replace(
            ports,
            ledger=cast("Ledger", faulty(ports.ledger, "ledger")),
            training_jobs=cast("TrainingJobs", faulty(ports.training_jobs, "training_jobs")),
            endpoint=cast("Endpoint", faulty(ports.endpoint, "endpoint")),
            notifications=cast("Notifications", faulty(ports.notifications, "notifications")),
            executions=cast("Executions", faulty(ports.executions, "executions")),
        )

    def deliver(self, channel: Channel, deliver: Deliver) -> Deliver:
        """Return how events of a channel reach their receiver."""
        return _FaultyChannel(channel, deliver, self._points).deliver

    def on_create(self, name: str) -> None:
        """Refuse as SageMaker does when it has no room or too many requests."""
        for fault in self._points.hit(CREATE, name):
            if fault.kind is Kind.THROTTLE:
                raise Throttled("Rate exceeded", operation=CREATE)
            if fault.kind is Kind.QUOTA:
                raise QuotaExceeded("chaos: the account's quota is used up", quota="chaos")
            if fault.kind is Kind.CAPACITY:
                raise CapacityMissing("chaos: no instance is free", instance_type="chaos")

    def on_start(self, name: str) -> None:
        """Take the capacity away that CreateTrainingJob had promised."""
        if self._points.hit(START, name):
            raise CapacityMissing("chaos: the capacity is gone", instance_type="chaos")

    def _act(self, fault: Fault) -> None:
        if fault.kind is Kind.CLOCK_JUMP:
            self._clock.jump(fault.seconds)
        elif fault.kind is Kind.KILL_SERVER and self._machines is not None:
            kill(self._machines.server())

    def _on_training(self, fault: Fault, job: str) -> None:
        if self._machines is None:
            return
        if fault.kind is Kind.INTERRUPT:
            with suppress(AtelierError):
                self._machines.interrupt(job)
        elif fault.kind is Kind.KILL_TRAINING:
            for name, _, pid in self._machines.running():
                if name == job:
                    kill(pid)


def kill(pid: int | None) -> None:
    """End a process at once; one that is gone already is what was wanted."""
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
