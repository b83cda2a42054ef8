"""Function name → task: what the state machines' placeholders name, on every platform."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from tasks import (
    announce,
    cancel,
    launch_round,
    launch_training,
    publish_model,
    reconcile,
    record_failure,
    redrive,
    register,
    settle,
    settle_execution,
    start_from_upload,
    sync_checkpoints,
    wake_dispatch,
)
from tasks.ports import Ports


class Task(Protocol):
    """A task: pure but for its ports, and safe to repeat."""

    def __call__(self, given: Mapping[str, Any], *, ports: Ports) -> dict[str, Any]:
        """Take a state's payload and return its result."""
        ...


TASKS: Mapping[str, Task] = {
    "Register": register.run,
    "LaunchTraining": launch_training.run,
    "LaunchRound": launch_round.run,
    "WakeDispatch": wake_dispatch.run,
    "SyncCheckpoints": sync_checkpoints.run,
    "PublishModel": publish_model.run,
    "Announce": announce.run,
    "RecordFailure": record_failure.run,
    "Settle": settle.run,
    "SettleExecution": settle_execution.run,
    "Cancel": cancel.run,
    "Redrive": redrive.run,
    "Reconcile": reconcile.run,
    "StartFromUpload": start_from_upload.run,
}
