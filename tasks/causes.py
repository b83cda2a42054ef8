"""An error as a state machine carries it: its name, and a cause that is JSON text.

The cause is what Lambda makes of an exception (`errorType`, `errorMessage`), with our `do` and
`facts` beside it. Lambda's own runtime leaves no room for more fields, so `lambda_entry` raises
with our JSON as the message; both forms are read here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from atelier.contracts.documents import encode
from atelier.contracts.errors import AtelierError, DeadlinePassed, error_class
from atelier.contracts.records import Failure

MAX_CAUSE_CHARACTERS = 32_768
"""SendTaskFailure and a Fail state take no longer cause (BC: stepfunctions SensitiveCause)."""
UNSAID = "Look at the execution's history; nothing was lost."


def failure_of(error: AtelierError) -> Failure:
    """Return what the ledger keeps of an error."""
    return Failure(error.name(), error.message, error.do, _plain(error.facts))


def cause_of(failure: Failure) -> str:
    """Return the cause text of a failure, without its facts when they do not fit."""
    cause = {"errorType": failure.error, "errorMessage": failure.message, "do": failure.do}
    full = json.dumps({**cause, "facts": _plain(failure.facts)}, ensure_ascii=False)
    if len(full) <= MAX_CAUSE_CHARACTERS:
        return full
    short = {**cause, "errorMessage": failure.message[:8000], "facts": {}}
    return json.dumps(short, ensure_ascii=False)


def read_error(error: object) -> Failure:
    """Return the failure that a state's `$.error` tells of: `{"Error", "Cause"}`.

    A timeout of the one state that has the request's own deadline is that deadline's passing.
    """
    name, cause = "States.TaskFailed", ""
    if isinstance(error, Mapping):
        name = str(error.get("Error") or name)
        cause = str(error.get("Cause") or "")
    if name == "States.Timeout":
        return Failure(
            DeadlinePassed.name(), "the deadline passed before the job began", DeadlinePassed.do
        )
    return _read_cause(name, cause)


def as_error(failure: Failure) -> AtelierError | None:
    """Return the error that a failure was, or None when its name is not in the tree."""
    kind = error_class(failure.error)
    if kind is None:
        return None
    facts = {k: v for k, v in failure.facts.items() if k not in {"message", "do", "self"}}
    return kind(failure.message, do=failure.do, **facts)


def _read_cause(name: str, cause: str) -> Failure:
    said = _object(cause)
    inner = _object(said.get("errorMessage"))
    if "errorMessage" in inner:
        said = inner
    kind = error_class(name)
    facts = said.get("facts")
    return Failure(
        error=name,
        message=str(said.get("errorMessage") or cause or f"the state ended with {name}")[:8000],
        do=str(said.get("do") or (kind.do if kind else UNSAID)),
        facts=facts if isinstance(facts, dict) else {},
    )


def _object(text: object) -> dict[str, Any]:
    if not isinstance(text, str):
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts as JSON values; what has no JSON form of ours stands as its text."""
    plain = {}
    for name, value in facts.items():
        try:
            plain[name] = encode(value)
        except (TypeError, ValueError):
            plain[name] = str(value)
    return plain
