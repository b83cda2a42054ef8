"""Retry: try an onboarding once more that ended without a model. An operation of the API.

The ledger names the next attempt's execution before that is started: whoever dies in between is
finished by Reconcile, and of two who retry at once one begins the attempt and both name it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from atelier.contracts import ids
from atelier.contracts.errors import (
    AlreadyExists,
    Cancelled,
    ContractBroken,
    InvalidRequest,
    NotFound,
)
from atelier.contracts.records import RequestRecord
from atelier.contracts.status import Status, Verdict
from tasks.causes import cause_of, failure_of
from tasks.endings import tell_ended
from tasks.payload import text
from tasks.ports import Ports
from tasks.settle_execution import ONBOARDING

RETRIABLE = frozenset({Status.FAILED, Status.CANCELLED})
"""Ends after which a person may have the same onboarding tried again."""

INSTEAD: Mapping[Status, str] = {
    Status.READY: "Draw with its model; a new version of it is another onboarding, with "
    '"new_version": true.',
    Status.ERASED: "Onboard the person anew, with new photos.",
}
"""What to do with an onboarding that ended otherwise."""
UNDER_WAY = "Wait; it is under way. `atelier why` says where. Or cancel it first."


def run(given: Mapping[str, Any], *, ports: Ports) -> dict[str, Any]:
    """Retry a request: `{"request"}` → `{"request", "status", "attempt", "execution"}`.

    Raises:
        NotFound: there is no such request.
        InvalidRequest: it has not failed and was not cancelled; `do` says what to do instead.
    """
    record = ports.ledger.read(text(given, "request"))
    if record.status not in RETRIABLE:
        raise InvalidRequest(
            f"onboarding {record.request} cannot be retried: its status is {record.status}",
            do=INSTEAD.get(record.status, UNDER_WAY),
            where="onboarding",
            found=record.status.value,
            allowed=sorted(status.value for status in RETRIABLE),
        )
    record, _ = begin_next(record, ports=ports)
    return {
        "request": record.request,
        "status": record.status.value,
        "attempt": record.attempt,
        "execution": record.execution,
    }


def leave(record: RequestRecord, *, ports: Ports) -> None:
    """End what may still work on an attempt that has ended: the next one does not know of it."""
    if record.untold:
        tell_ended(record, ports=ports)
    again = Cancelled(f"request {record.request} was begun again", request=record.request)
    with suppress(NotFound):
        ports.executions.stop(
            ONBOARDING, record.execution, error=again.name(), cause=cause_of(failure_of(again))
        )


def begin_next(record: RequestRecord, *, ports: Ports) -> tuple[RequestRecord, bool]:
    """Begin the next attempt of a failed or cancelled request; return it, and whether it began.

    It did not when somebody else's next attempt has ended meanwhile: that one's word stands.

    Raises:
        ContractBroken: the record does not say what was asked for; facts: where.
    """
    if record.asked is None:
        raise ContractBroken(
            f"request {record.request} does not say what was asked for",
            do="Start it under a new idempotency key: --idempotency-key with a new word.",
            where="asked",
        )
    leave(record, ports=ports)
    following = ids.execution_name(record.request, record.attempt + 1)
    changed = ports.ledger.retry(record.request, execution=following)
    if changed.verdict is Verdict.STALE:
        return changed.record, False
    with suppress(AlreadyExists):
        # Somebody who retried at the same moment started it, and it has ended already.
        ports.executions.start(ONBOARDING, following, record.asked)
    return changed.record, True
