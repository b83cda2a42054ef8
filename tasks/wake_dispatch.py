"""WakeDispatch: ring the doorbell and see to it that a dispatcher runs.

Called by the queue's stream, and every minute in case a wake was lost. StartExecution's own rule
about names keeps the dispatcher single: an epoch is one name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from atelier.contracts.errors import AlreadyExists, LedgerContention
from tasks.ports import Ports

MACHINE = "dispatch"
TRIES = 4


def run(given: Mapping[str, Any], *, ports: Ports) -> dict[str, Any]:
    """Wake the dispatcher: `{}` or, from the schedule, `{"scheduled": true}` → `{"epoch"}`.

    The schedule wakes nobody when there is nothing to do; `epoch` is then None.

    Raises:
        LedgerContention: epochs ended faster than one could be started.
    """
    ledger = ports.ledger
    if given.get("scheduled") is True and not (ledger.queued(limit=1) or ledger.open_batches()):
        return {"epoch": None}
    epoch = ledger.ring().epoch
    for _ in range(TRIES):
        if _runs(epoch, ports=ports):
            return {"epoch": epoch}
        # Its execution has ended without closing it: failed, aborted, or handed over.
        ledger.close_epoch(epoch=epoch, doorbell=None)
        epoch = ledger.dispatch_state().epoch
    raise LedgerContention(f"{TRIES} dispatch epochs ended while the next was being started")


def _runs(epoch: int, *, ports: Ports) -> bool:
    """Return whether the epoch's execution runs, started here if there was none."""
    name = f"{MACHINE}-{epoch}"
    try:
        ports.executions.start(MACHINE, name, {"epoch": epoch})
    except AlreadyExists:
        return ports.executions.describe(MACHINE, name).status == "RUNNING"
    return True
