"""Redrive: let an onboarding go on where its execution failed in place. An operation of the API.

Errors that pass are redriven by Reconcile; this is a person's word that the cause of any other one
is gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from atelier.contracts.errors import InvalidRequest, LedgerContention, NotFound
from atelier.contracts.records import RequestRecord
from atelier.contracts.status import TERMINAL, Status, Verdict
from tasks.payload import text
from tasks.ports import Ports
from tasks.settle_execution import ONBOARDING

SAME_REDRIVE_SECONDS = 60.0
"""Whoever asks again so soon asks for what was done."""
TOOK_IT_AWAY = frozenset({Status.CANCELLED, Status.ERASED})
"""Ends that somebody else asked for while it was redriven."""
START_ANEW = "try it once more with `atelier retry ID`"
"""How to begin again what has ended."""
AFTER_THE_END: Mapping[Status, str] = {
    Status.READY: "Draw with its model; there is nothing to redrive.",
    Status.FAILED: f"Put right what it failed by, and {START_ANEW}.",
    Status.CANCELLED: f"If it is wanted after all, {START_ANEW}.",
    Status.ERASED: "Onboard the person anew, with new photos.",
}
"""What to do with an onboarding that has ended."""
ELSEWHERE: Mapping[str, str] = {
    "RUNNING": "Wait; it is under way. `atelier why` says what for.",
    "SUCCEEDED": f"Its execution ended without it: cancel it and {START_ANEW}.",
    "ABORTED": "Wait a moment: it is being cancelled, because its execution was stopped.",
    "TIMED_OUT": "Wait a moment: it is being ended, because its execution took too long.",
    "": "Wait a moment: its execution is about to be started.",
}
"""What to do with a live onboarding whose execution did not fail."""


def run(given: Mapping[str, Any], *, ports: Ports) -> dict[str, Any]:
    """Redrive a request's execution: `{"request"}` → `{"request", "status", "execution"}`.

    Raises:
        NotFound: there is no such request.
        InvalidRequest: its execution did not fail in place, and was not redriven a moment ago;
            `do` says what to do instead.
        LedgerContention: it ended, or began again, while this was asked.
    """
    record = ports.ledger.read(text(given, "request"))
    _refuse_if_ended(record)
    status = _execution_status(record, ports=ports)
    if status == "RUNNING" and _was_redriven_just_now(record, ports=ports):
        return _goes_on(record)
    if status != "FAILED":
        raise _refused(record, status.lower() or "not started", ELSEWHERE[status])
    # Noted first: an execution that another one has replaced meanwhile must not go on beside it.
    noted = ports.ledger.annotate(
        record.request,
        attempt=record.attempt,
        redrives=record.redrives + 1,
        redriven_at=ports.clock.now(),
        waiting_for="",
    )
    if noted.verdict is Verdict.STALE:
        _refuse_if_ended(ports.ledger.read(record.request))
        raise LedgerContention(f"onboarding {record.request} moved on; look at it again")
    try:
        ports.executions.redrive(ONBOARDING, record.execution)
    except InvalidRequest:
        # Somebody was faster: another redrive, which is what was asked, or the end.
        _refuse_if_ended(ports.ledger.read(record.request))
        status = _execution_status(record, ports=ports)
        if status == "FAILED":  # Too often, or too late, and the engine's words say which.
            raise
        if status != "RUNNING":
            raise _refused(record, status.lower() or "not started", ELSEWHERE[status]) from None
    now = ports.ledger.read(record.request)
    if now.status in TOOK_IT_AWAY:
        raise _refused(now, now.status.value, AFTER_THE_END[now.status])
    return _goes_on(now)


def _was_redriven_just_now(record: RequestRecord, *, ports: Ports) -> bool:
    if record.redriven_at is None:
        return False
    return (ports.clock.now() - record.redriven_at).total_seconds() < SAME_REDRIVE_SECONDS


def _refuse_if_ended(record: RequestRecord) -> None:
    if record.status in TERMINAL:
        raise _refused(record, record.status.value, AFTER_THE_END[record.status])


def _goes_on(record: RequestRecord) -> dict[str, Any]:
    return {
        "request": record.request,
        "status": record.status.value,
        "execution": record.execution,
    }


def _execution_status(record: RequestRecord, *, ports: Ports) -> str:
    try:
        return ports.executions.describe(ONBOARDING, record.execution).status
    except NotFound:
        return ""


def _refused(record: RequestRecord, found: str, do: str) -> InvalidRequest:
    return InvalidRequest(
        f"onboarding {record.request} cannot be redriven: it is {found}",
        do=do,
        where="onboarding",
        found=found,
        allowed="an onboarding whose execution failed in place",
    )
