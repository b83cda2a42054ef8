"""One SQLite file that outlives its errors: connections, transactions, schema.

WAL lets readers and one writer work at once. `synchronous = FULL` makes a commit outlive the loss
of power (https://www.sqlite.org/pragma.html#pragma_synchronous). A connection that met an error is
closed, which rolls back whatever state it is in, and the next use opens another.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeAlias

from workflows.engine.errors import (
    StorageBroken,
    StorageContended,
    StorageError,
    StorageUnavailable,
)

BUSY_SECONDS: Final = 5.0

Connect: TypeAlias = Callable[[Path, float], sqlite3.Connection]
"""Opens a file; a call waits for other processes for so many seconds."""


def connect(path: Path, busy_seconds: float) -> sqlite3.Connection:
    """Open a file for any thread, without implicit transactions."""
    return sqlite3.connect(
        path, timeout=busy_seconds, isolation_level=None, check_same_thread=False
    )


class SqliteFile:
    """A SQLite file: one connection writes, one reads.

    Args:
        path: The file; its folder must exist. Only its owner may read it.
        schema: Scripts; script n brings schema version n to n + 1. Old ones never change.
        busy_seconds: How long to wait for another process that writes.
        connect: Opens connections.
        reading: Nothing is created, brought up to date or written; `connect` opens what only reads.

    Raises:
        StorageError: it cannot be opened or brought up to date.
    """

    def __init__(
        self,
        path: Path,
        *,
        schema: Sequence[str],
        busy_seconds: float = BUSY_SECONDS,
        connect: Connect = connect,
        reading: bool = False,
    ) -> None:
        self._path = path
        try:
            if not reading:
                os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as problem:
            raise StorageUnavailable(f"{path} cannot be opened: {problem.strerror}") from problem
        self._writer = _Connection(path, busy_seconds, connect)
        self._reader = _Connection(path, busy_seconds, connect)
        if not reading:
            self._migrate(schema)

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Give a connection in a transaction: all of it at the end, or nothing on any error.

        Raises:
            StorageError: it is not stored; only when the commit itself failed, it may be.
        """
        with self._writer.use() as sql:
            sql.execute("BEGIN IMMEDIATE")
            yield sql
            sql.execute("COMMIT")

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return what a query finds of everything that was committed.

        Raises:
            StorageError: the file cannot be read.
        """
        with self._reader.use() as sql:
            return sql.execute(query, values).fetchall()

    def close(self) -> None:
        """Close the file; nothing can be stored or read from now on."""
        self._reader.close()
        self._writer.close()

    def _migrate(self, schema: Sequence[str]) -> None:
        # A file that is up to date is not written to: whoever only reads disturbs nobody.
        with self._writer.use() as sql:
            sql.execute("PRAGMA journal_mode = WAL")
            if _version(sql) == len(schema):
                return
        with self.write() as sql:
            version = _version(sql)
            if version > len(schema):
                raise StorageBroken(
                    f"{self._path} has schema version {version}, and this version knows up to "
                    f"{len(schema)}: run the newer version that wrote it"
                )
            for script in schema[version:]:
                for statement in script.split(";"):
                    sql.execute(statement)
            sql.execute(f"PRAGMA user_version = {len(schema)}")


def _version(sql: sqlite3.Connection) -> int:
    version: int = sql.execute("PRAGMA user_version").fetchone()[0]
    return version


class _Connection:
    """A connection that one thread at a time uses; closed by errors, opened when needed."""

    def __init__(self, path: Path, busy_seconds: float, connect: Connect) -> None:
        self._path = path
        self._busy_seconds = busy_seconds
        self._connect = connect
        self._lock = threading.Lock()
        self._open: sqlite3.Connection | None = None
        self._closed = False

    @contextmanager
    def use(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._closed:
                raise StorageUnavailable(f"{self._path} was closed")
            try:
                if self._open is None:
                    self._open = self._connect(self._path, self._busy_seconds)
                    self._open.execute("PRAGMA synchronous = FULL")
                yield self._open
            except BaseException as problem:
                self._drop()
                code = getattr(problem, "sqlite_errorcode", None)
                if code is None:
                    raise
                raise _told(self._path, problem, code & 0xFF) from problem

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._drop()

    def _drop(self) -> None:
        connection, self._open = self._open, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()


_BY_CODE: Final = {
    sqlite3.SQLITE_BUSY: (StorageContended, "another process holds it; end that one or wait"),
    sqlite3.SQLITE_LOCKED: (StorageContended, "another process holds it; end that one or wait"),
    sqlite3.SQLITE_CONSTRAINT: (StorageContended, "another process wrote to the same executions"),
    sqlite3.SQLITE_FULL: (StorageUnavailable, "the disk is full; make room"),
    sqlite3.SQLITE_READONLY: (StorageUnavailable, "it may not be written; allow it"),
    sqlite3.SQLITE_CANTOPEN: (StorageUnavailable, "it cannot be opened; check its folder"),
    sqlite3.SQLITE_IOERR: (StorageUnavailable, "the disk fails; check it"),
}
"""What SQLite's primary result codes mean (https://www.sqlite.org/rescode.html)."""

_BROKEN_CODES: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}
_WHAT_TO_DO: Final = (
    "it is damaged or no file of ours. Stop the process, copy the file and its -wal and -shm "
    "neighbours, then put back a backup or salvage it with `sqlite3 FILE .recover`"
)


def _told(path: Path, problem: BaseException, code: int) -> StorageError:
    if code in _BROKEN_CODES:
        return StorageBroken(f"{path}: {problem}: {_WHAT_TO_DO}")
    kind, meaning = _BY_CODE.get(code, (StorageUnavailable, "look at the disk"))
    return kind(f"{path}: {problem}: {meaning}")
