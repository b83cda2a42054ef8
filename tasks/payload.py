"""Reading a task's payload: what a state sends is checked like any other input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from atelier.contracts.errors import InvalidRequest


def text(given: Mapping[str, Any], name: str) -> str:
    """Return a field that must be text.

    Raises:
        InvalidRequest: it is missing, empty or something else.
    """
    value = given.get(name)
    if not isinstance(value, str) or not value:
        raise _wrong(name, value, "text")
    return value


def whole_number(given: Mapping[str, Any], name: str) -> int:
    """Return a field that must be a whole number, zero or more.

    Raises:
        InvalidRequest: it is missing or something else.
    """
    value = given.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _wrong(name, value, "a whole number, zero or more")
    return value


def fields(given: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a field that must be an object.

    Raises:
        InvalidRequest: it is missing or something else.
    """
    value = given.get(name)
    if not isinstance(value, Mapping):
        raise _wrong(name, value, "an object")
    return value


def _wrong(name: str, value: object, allowed: str) -> InvalidRequest:
    found = "nothing" if value is None else repr(value)[:80]
    return InvalidRequest(
        f"{name}: expected {allowed}, found {found}", where=name, found=found, allowed=allowed
    )
