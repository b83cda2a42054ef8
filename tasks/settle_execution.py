"""SettleExecution: what an execution's end means for its request, when no state could say it.

A final error is caught and recorded by the machine itself. What is left ends from outside: an
operator stops the execution, it times out, or something unexpected fails it in place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from atelier.contracts.errors import Cancelled, DeadlinePassed
from atelier.contracts.records import RequestRecord
from atelier.contracts.status import TERMINAL
from tasks.carried import request_of
from tasks.endings import end
from tasks.payload import text
from tasks.ports import Ports

LONGEST_ERROR = 120


def run(given: Mapping[str, Any], *, ports: Ports) -> dict[str, Any]:
    """Settle a request by the `detail` of its execution's status event; return `{"settled"}`.

    Stopped by hand is cancelled, timed out is its deadline's passing. What failed in place stays
    alive, because a redrive goes on from there; whoever waits is told that an operator is needed.
    Late and doubled events, and those of executions that carry no live request, settle nothing.
    """
    execution, status = text(given, "name"), text(given, "status")
    record = request_of(_input(given), execution, ports=ports)
    if record is None or record.execution != execution or record.status in TERMINAL:
        return {"settled": False}
    if status == "ABORTED":
        reason = Cancelled(f"execution {execution} was stopped by hand", request=record.request)
        end(record, reason, ports=ports)
    elif status == "TIMED_OUT":
        end(record, DeadlinePassed(f"execution {execution} timed out"), ports=ports)
    elif status == "FAILED":
        _tell_stuck(record, given.get("error"), ports=ports)
    else:
        return {"settled": False}
    return {"settled": True}


def _tell_stuck(record: RequestRecord, error: object, *, ports: Ports) -> None:
    name = str(error or "an unexpected error")[:LONGEST_ERROR]
    ports.ledger.annotate(
        record.request,
        attempt=record.attempt,
        waiting_for=f"{name} stopped it where it stood; an operator has to look at execution "
        f"{record.execution} and redrive it, or cancel the onboarding",
    )


def _input(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the execution's input; EventBridge leaves a large one out."""
    try:
        read = json.loads(given.get("input") or "{}")
    except ValueError:
        return {}
    return read if isinstance(read, Mapping) else {}
