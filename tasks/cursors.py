"""Cursors of lists: an opaque text that names a place in the order, never a count.

A list goes on behind its cursor whatever came or moved meanwhile: nothing is seen twice.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from contextlib import contextmanager

from atelier.contracts.clock import from_iso, to_iso
from atelier.contracts.documents import DocumentError, canonical_json, parse_json
from atelier.contracts.errors import InvalidRequest
from atelier.contracts.records import RequestRecord


def write_cursor(last: RequestRecord) -> str:
    """Return the cursor of the page after `last`."""
    return write_place(to_iso(last.created_at), last.request)


def read_cursor(cursor: str) -> tuple[str, str]:
    """Return the place that a cursor names: when it was created, and the request's id.

    Raises:
        InvalidRequest: we did not write it.
    """
    created_at, request = read_place(cursor, parts=2)
    with _checked(cursor):
        created_at = to_iso(from_iso(created_at))
    return created_at, request


def write_place(*parts: str) -> str:
    """Return the cursor of the place that these parts name."""
    return base64.urlsafe_b64encode(canonical_json(list(parts))).decode().rstrip("=")


def read_place(cursor: str, *, parts: int) -> tuple[str, ...]:
    """Return the parts of the place that a cursor names.

    Raises:
        InvalidRequest: we did not write it.
    """
    with _checked(cursor):
        found = _parts(cursor)
        if len(found) != parts or not all(isinstance(part, str) for part in found):
            raise ValueError(f"{parts} texts are expected")
    return tuple(found)


def _parts(cursor: str) -> list[str]:
    found = parse_json(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    if not isinstance(found, list):
        raise TypeError("a list is expected")
    return found


@contextmanager
def _checked(cursor: str) -> Iterator[None]:
    try:
        yield
    except (DocumentError, binascii.Error, ValueError, TypeError, AttributeError) as problem:
        raise InvalidRequest(
            f"cursor {cursor[:80]!r} is none of ours",
            do="Start without a cursor, or pass back the one that came with the last page.",
            where="cursor",
            found=cursor[:80],
        ) from problem


def check_limit(limit: int) -> int:
    """Return `limit` if a page may have it.

    Raises:
        InvalidRequest: it is below 1.
    """
    if limit < 1:
        raise InvalidRequest(f"limit {limit}; 1 or more is allowed", where="limit", found=limit)
    return limit
