"""Reading a SQLite file that others write, without leaving anything behind.

A reader of a WAL database makes `-wal` and `-shm` files where there are none, even with mode=ro
(sqlite.org/wal.html, «Read-Only Databases»). Where there is no `-wal`, nobody has the file open, so
it is read as immutable; should somebody open it meanwhile, it is read once more.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

T = TypeVar("T")

LARGE_BYTES = 64 * 1024 * 1024
"""A larger file is looked at with quick_check, which leaves out the indexes."""
_TRIES = 3
_BUSY_SECONDS = 10.0


def read_only(path: Path, take: Callable[[sqlite3.Connection], T]) -> T:
    """Return what `take` makes of one moment of the file.

    Raises:
        sqlite3.Error: the file does not read.
    """
    wal = path.with_name(f"{path.name}-wal")
    for turn in range(1, _TRIES + 1):
        closed = not wal.exists()
        before = path.stat().st_mtime_ns
        taken = _read(path, "immutable=1" if closed else "mode=ro", take)
        untouched = not wal.exists() and path.stat().st_mtime_ns == before
        if not closed or untouched or turn == _TRIES:
            return taken
    raise AssertionError("the last turn returns")


def reading_connection(path: Path, busy_seconds: float) -> sqlite3.Connection:
    """Open a file to read what is in it now, and nothing that comes later.

    Raises:
        sqlite3.Error: it is not there, or cannot be read.
    """
    wal = path.with_name(f"{path.name}-wal")
    return _connect(path, "mode=ro" if wal.exists() else "immutable=1", busy_seconds)


def flaw_of(connection: sqlite3.Connection, *, size_bytes: int) -> str | None:
    """Return what SQLite itself finds wrong with a file, or None."""
    check = "quick_check" if size_bytes > LARGE_BYTES else "integrity_check"
    found = [str(row[0]) for row in connection.execute(f"PRAGMA {check}(3)")]
    if found != ["ok"]:
        return "; ".join(found)[:500]
    orphan = connection.execute("PRAGMA foreign_key_check").fetchone()
    return orphan and f"a row of {orphan[0]} names one of {orphan[2]} that is not there"


def _read(path: Path, how: str, take: Callable[[sqlite3.Connection], T]) -> T:
    connection = _connect(path, how, _BUSY_SECONDS)
    try:
        connection.row_factory = sqlite3.Row
        connection.execute("BEGIN")
        return take(connection)
    finally:
        connection.close()


def _connect(path: Path, how: str, busy_seconds: float) -> sqlite3.Connection:
    address = f"file:{quote(str(path.absolute()))}?{how}"
    return sqlite3.connect(
        address, uri=True, isolation_level=None, timeout=busy_seconds, check_same_thread=False
    )
