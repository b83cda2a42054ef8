"""Cancel: end a request at any moment. An operation of the API, not a state.

The ledger changes at once and the training job is told to drop the task. An execution that waits
for its launch learns it through its token and ends through RecordFailure; any other is stopped
where it stands, so that nobody watches a cancelled request wait for its next look at the training.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from atelier.contracts.errors import Cancelled, NotFound, ServiceUnavailable
from atelier.contracts.records import RequestRecord
from atelier.contracts.status import Status
from tasks import announce
from tasks.causes import cause_of, failure_of
from tasks.endings import end
from tasks.payload import text
from tasks.ports import Ports
from tasks.settle_execution import ONBOARDING


def run(given: Mapping[str, Any], *, ports: Ports) -> dict[str, Any]:
    """Cancel a request: `{"request"}` → `{"request", "status", "cancelled"}`.

    What has ended otherwise stays as it is, and `cancelled` is false.

    Raises:
        NotFound: there is no such request.
    """
    record = ports.ledger.read(text(given, "request"))
    reason = Cancelled(f"request {record.request} was cancelled", request=record.request)
    record = end(record, reason, ports=ports)
    if record.status is Status.CANCELLED:
        _stop_execution(record, reason, ports=ports)
        with suppress(ServiceUnavailable):
            # The outbox keeps it otherwise.
            announce.run({"request": record.request, "outcome": "cancelled"}, ports=ports)
    return {
        "request": record.request,
        "status": record.status.value,
        "cancelled": record.status is Status.CANCELLED,
    }


def _stop_execution(record: RequestRecord, reason: Cancelled, *, ports: Ports) -> None:
    if record.job is None and record.token is not None:
        return
    with suppress(NotFound):
        ports.executions.stop(
            ONBOARDING, record.execution, error=reason.name(), cause=cause_of(failure_of(reason))
        )
