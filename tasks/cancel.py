"""Cancel: end a request at any moment. An operation of the API, not a state.

The ledger changes at once; the execution ends where it stands: a waiting token is failed here,
every other state finds out by itself, and the training job is told to drop the task.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from atelier.contracts.errors import Cancelled
from atelier.contracts.status import Status
from tasks.endings import end
from tasks.payload import text
from tasks.ports import Ports


def run(given: Mapping[str, Any], *, ports: Ports) -> dict[str, Any]:
    """Cancel a request: `{"request"}` → `{"request", "status", "cancelled"}`.

    What has ended otherwise stays as it is, and `cancelled` is false.

    Raises:
        NotFound: there is no such request.
    """
    record = ports.ledger.read(text(given, "request"))
    reason = Cancelled(f"request {record.request} was cancelled", request=record.request)
    record = end(record, reason, ports=ports)
    return {
        "request": record.request,
        "status": record.status.value,
        "cancelled": record.status is Status.CANCELLED,
    }
