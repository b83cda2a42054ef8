"""RecordFailure: write into the ledger why an onboarding ended, with what can be done about it.

It ends only the request that its execution carries: an input that named somebody else's running
request fails alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from atelier.contracts import ids
from atelier.contracts.errors import CallerError, NotFound
from atelier.contracts.records import Failure, RequestRecord
from atelier.contracts.request import normalise, read_input
from atelier.contracts.status import Status
from tasks.causes import read_error
from tasks.endings import end
from tasks.payload import fields, text
from tasks.ports import Ports

FAILURE_FIELDS = frozenset({"error", "failure"})
"""What the way to RecordFailure adds to the execution's data; no part of the request's input."""


def run(given: Mapping[str, Any], *, ports: Ports) -> dict[str, Any]:
    """Record a failure: `{"execution", "given"}` → `{request, error, message, do, facts}`.

    `request` is empty when the input was too broken to make one.
    """
    data = fields(given, "given")
    failure = read_error(data.get("error"))
    record = _request_of(data, text(given, "execution"), ports=ports)
    if record is None:
        return _output("", failure)
    record = end(record, failure, ports=ports)
    if record.status in {Status.FAILED, Status.CANCELLED} and record.failure is not None:
        # The first reason stands: what ended a request is told the same way to everybody.
        failure = record.failure
    return _output(record.request, failure)


def _output(request: str, failure: Failure) -> dict[str, Any]:
    return {
        "request": request,
        "error": failure.error,
        "message": failure.message,
        "do": failure.do,
        "facts": dict(failure.facts),
    }


def _request_of(data: Mapping[str, Any], execution: str, *, ports: Ports) -> RequestRecord | None:
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
