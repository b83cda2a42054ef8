"""SettleExecution: what an execution's end means for its request, when no state could say it.

A final error is caught and recorded by the machine itself. What is left ends from outside: an
operator stops the execution, it times out, or something unexpected fails it in place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from atelier.contracts.errors import Cancelled, DeadlinePassed, passing_error_names
from atelier.contracts.records import RequestRecord
from atelier.contracts.status import TERMINAL, Verdict
from tasks.carried import request_of
from tasks.endings import end
from tasks.payload import text
from tasks.ports import Ports

ONBOARDING = "onboarding"
"""The state machine's short name."""
LONGEST_ERROR = 120
STOOD_STILL = "stopped it where it stood"
"""Part of the sentence that tells whoever waits that their execution failed in place."""


def run(given: Mapping[str, Any], *, ports: Ports) -> dict[str, Any]:
    """Settle a request by the `detail` of its execution's status event; return `{"settled"}`.

    Stopped by hand is cancelled, timed out is its deadline's passing. What failed in place stays
    alive, because a redrive goes on from there: Reconcile's if the error passes by itself, else an
    operator's, and whoever waits is told so. Late and doubled events, and those of executions that
    carry no live request, settle nothing.
    """
    execution, status = text(given, "name"), text(given, "status")
    record = request_of(_input(given), execution, ports=ports)
    if record is None or record.execution != execution or record.status in TERMINAL:
        return {"settled": False}
    return {"settled": settle(record, status, str(given.get("error") or ""), ports=ports)}


def settle(record: RequestRecord, status: str, error: str, *, ports: Ports) -> bool:
    """Settle a live request whose execution ended with `status`; return whether that meant it."""
    execution = record.execution
    if status == "ABORTED":
        reason = Cancelled(f"execution {execution} was stopped by hand", request=record.request)
        end(record, reason, ports=ports)
    elif status == "TIMED_OUT":
        end(record, DeadlinePassed(f"execution {execution} timed out"), ports=ports)
    elif status == "FAILED":
        return tell(record, stuck_sentence(record, error), ports=ports)
    else:
        return False
    return True


def tell(record: RequestRecord, sentence: str, *, ports: Ports) -> bool:
    """Tell whoever waits for a live request; return whether that was new."""
    if record.waiting_for == sentence:
        return False
    changed = ports.ledger.annotate(record.request, attempt=record.attempt, waiting_for=sentence)
    return changed.verdict is Verdict.APPLIES


def stuck_sentence(record: RequestRecord, error: str) -> str:
    """Return what whoever waits is told when an error stopped their execution in place."""
    name = (error or "an unexpected error")[:LONGEST_ERROR]
    if error in passing_error_names():
        return f"{name} {STOOD_STILL}; that passes, and it goes on by itself within minutes"
    return (
        f"{name} {STOOD_STILL}; an operator has to look at execution {record.execution} and then "
        f"run `atelier redrive {record.request}`, or cancel the onboarding"
    )


def _input(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the execution's input; EventBridge leaves a large one out."""
    try:
        read = json.loads(str(given.get("input") or "{}"))
    except (ValueError, RecursionError):
        return {}
    return read if isinstance(read, Mapping) else {}
