"""What goes wrong on purpose: where stories and chaos reach into the local platform.

The platform behaves as if nothing were here (`NoFaults`). Every method stands at a seam that the
platform has anyway: the bucket, the ports of a task, a channel of events, CreateTrainingJob.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from tasks.ports import Objects, Ports

Event = Mapping[str, Any]
Deliver = Callable[[Event], None]


class Reader(StrEnum):
    """Who uses the bucket."""

    TASKS = "tasks"
    TRAINING = "training"
    ENDPOINT = "endpoint"


class Channel(StrEnum):
    """What AWS delivers between services: at least once, late, in any order, or never."""

    QUEUE = "queue-stream"
    TRAINING = "training-events"
    EXECUTIONS = "execution-events"
    UPLOADS = "upload-events"


class Faults(Protocol):
    """Where stories and chaos make a platform refuse, fail, lose and double."""

    def objects(self, objects: Objects, *, reader: Reader) -> Objects:
        """Return the bucket as `reader` shall see it."""
        ...

    def ports(self, ports: Ports) -> Ports:
        """Return the ports as tasks shall see them; their bucket has gone through `objects`."""
        ...

    def deliver(self, channel: Channel, deliver: Deliver) -> Deliver:
        """Return how events of a channel reach their receiver."""
        ...

    def on_create(self, name: str) -> None:
        """Raise what CreateTrainingJob shall answer, before it is looked at."""
        ...

    def on_start(self, name: str) -> None:
        """Raise CapacityMissing to end the job before its hosts start, as SageMaker does."""
        ...


@dataclass(frozen=True, slots=True)
class NoFaults:
    """Nothing goes wrong on purpose."""

    def objects(self, objects: Objects, *, reader: Reader) -> Objects:  # noqa: ARG002
        """Return the bucket itself."""
        return objects

    def ports(self, ports: Ports) -> Ports:
        """Return the ports themselves."""
        return ports

    def deliver(self, channel: Channel, deliver: Deliver) -> Deliver:  # noqa: ARG002
        """Deliver each event once, at once, in order."""
        return deliver

    def on_create(self, name: str) -> None:
        """Let it pass."""

    def on_start(self, name: str) -> None:
        """Let it pass."""
