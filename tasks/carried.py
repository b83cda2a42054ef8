"""Which request an execution carries: by its name, by what Register returned, or by its input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from atelier.contracts import ids
from atelier.contracts.errors import CallerError, NotFound
from atelier.contracts.records import RequestRecord
from atelier.contracts.request import normalise, read_input
from tasks.ports import Ports

FAILURE_FIELDS = frozenset({"error", "failure"})
"""What the way to RecordFailure adds to the execution's data; no part of the request's input."""


def request_of(data: Mapping[str, Any], execution: str, *, ports: Ports) -> RequestRecord | None:
    """Return the request that this execution carries, or None.

    A late repetition finds a request that a person retried meanwhile: another execution carries it.
    """
    onboarding = data.get("onboarding")
    if "resume_at" in data and isinstance(onboarding, Mapping):
        # An operator forked an execution and named the request that the fork carries on.
        return _read(str(onboarding.get("request")), ports=ports)
    for request in _candidates(data, execution, ports=ports):
        record = _read(request, ports=ports)
        if record is not None and record.execution == execution:
            return record
    return None


def _candidates(data: Mapping[str, Any], execution: str, *, ports: Ports) -> list[str]:
    named = ids.split_execution_name(execution)
    found = [named[0]] if named else []
    onboarding = data.get("onboarding")
    if isinstance(onboarding, Mapping):
        found.append(str(onboarding.get("request")))
    try:
        asked = read_input({k: v for k, v in data.items() if k not in FAILURE_FIELDS})
        found.append(normalise(asked, now=ports.clock.now()).request)
    except CallerError:
        # The input itself is what failed.
        return found
    return found


def _read(request: str, *, ports: Ports) -> RequestRecord | None:
    try:
        return ports.ledger.read(request)
    except NotFound:
        return None
