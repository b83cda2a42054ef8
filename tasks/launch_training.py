"""LaunchTraining: queue a request with the token of the state that waits for its training job.

The token handshake: this task writes the token, then reads the status; the launcher writes the
status, then reads the token. Both are consistent reads of one item, so that whoever comes second
sees both and completes the token. Completing twice does no harm.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from atelier.contracts.errors import LedgerContention
from atelier.contracts.records import RequestRecord
from atelier.contracts.status import BEFORE_ANY_JOB, TERMINAL, Status, Verdict
from tasks.attempts import begin_next, read_progress
from tasks.blame import loss_of
from tasks.endings import WRITES, ended, overdue
from tasks.handing_over import training_output
from tasks.payload import text
from tasks.ports import Ports


def run(given: Mapping[str, Any], *, ports: Ports) -> dict[str, Any]:
    """Queue a request: `{"request", "token"}` → `{}`; the state waits for the token.

    Raises:
        FinalError: the request has ended, its deadline has passed, or it is poisonous.
    """
    token = text(given, "token")
    record = _write_token(text(given, "request"), token, ports=ports)
    if record.status not in BEFORE_ANY_JOB:
        # This state was entered again while the job already ran: the launcher is long gone.
        ports.executions.succeed_task(token, training_output(record, ports=ports))
    return {}


def _write_token(request: str, token: str, *, ports: Ports) -> RequestRecord:
    for _ in range(WRITES):
        record = ports.ledger.read(request)
        if record.status is Status.READY:
            return record
        if record.status in TERMINAL:
            raise ended(record)
        now = ports.clock.now()
        if passed := overdue(record, now=now):
            raise passed
        if record.status in {Status.LAUNCHING, Status.TRAINING}:
            progress = read_progress(record, objects=ports.objects)
            if loss := loss_of(record, progress):
                begin_next(record, loss, ports=ports)
                continue
        changes: dict[str, Any] = {"token": token}
        if record.status is Status.QUEUED:
            changes["queued_at"] = record.queued_at or now
        changed = ports.ledger.annotate(request, attempt=record.attempt, **changes)
        if changed.verdict is Verdict.APPLIES:
            return changed.record
    raise LedgerContention(f"request {request} moved on {WRITES} times")
