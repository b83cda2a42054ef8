"""RecordFailure: write into the ledger why an onboarding ended, with what can be done about it.

It ends only the request that its execution carries: an input that named somebody else's running
request fails alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from atelier.contracts.records import Failure
from atelier.contracts.status import Status
from tasks.carried import request_of
from tasks.causes import read_error
from tasks.endings import end
from tasks.payload import fields, text
from tasks.ports import Ports


def run(given: Mapping[str, Any], *, ports: Ports) -> dict[str, Any]:
    """Record a failure: `{"execution", "given"}` → `{request, error, message, do, facts}`.

    `request` is empty when the input was too broken to make one.
    """
    data = fields(given, "given")
    failure = read_error(data.get("error"))
    record = request_of(data, text(given, "execution"), ports=ports)
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
