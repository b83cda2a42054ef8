"""One SQLite file, shared by threads and processes: connections, transactions, schema, errors.

WAL lets readers and one writer work at once; writers queue. `synchronous = FULL` makes a commit
outlive power loss (sqlite.org/pragma.html#pragma_synchronous). A connection that met an error is
closed, never used again.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from atelier.contracts.errors import (
    AtelierError,
    ContractBroken,
    LedgerContention,
    ServiceUnavailable,
)
from infra.local.sqlite_reading import reading_connection

BUSY_SECONDS = 20.0
_WAITS = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_BROKEN = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class Database:
    """A SQLite file with a schema that grows by scripts."""

    def __init__(
        self,
        path: Path,
        *,
        schema: Sequence[str],
        busy_seconds: float = BUSY_SECONDS,
        reading: bool = False,
    ) -> None:
        """Open the file, create it if need be, and bring its schema up to date.

        Args:
            path: the file; its folder is created. Only its owner may read it.
            schema: scripts; script n brings schema version n to n + 1. Old ones never change.
            busy_seconds: how long a writer waits for others before it gives up.
            reading: only `read` is used: nothing is created, brought up to date or written.

        Raises:
            ContractBroken: the file is no SQLite database, or a newer Atelier wrote it; or an
                older one, where it is only read.
            ServiceUnavailable: it cannot be opened.
            LedgerContention: another process held it for too long.
        """
        self._path = path
        self._busy_seconds = busy_seconds
        self._reading = reading
        self._idle: list[sqlite3.Connection] = []
        self._idle_lock = threading.Lock()
        # Threads queue here, fairly; SQLite's own busy handler only polls.
        self._writer = threading.Lock()
        if reading:
            self._check(schema)
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as problem:
            raise ServiceUnavailable(f"{path} cannot be opened: {problem.strerror}") from problem
        self._migrate(schema)

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Give a connection whose statements all see one moment."""
        with self._connection() as connection:
            connection.execute("BEGIN")
            yield connection
            connection.execute("COMMIT")

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Give a connection in a transaction: all of it at the end, or nothing on any error.

        Raises:
            LedgerContention: others wrote for too long.
            ServiceUnavailable: the disk is full or failing.
            ContractBroken: the file is damaged.
        """
        if not self._writer.acquire(timeout=self._busy_seconds):
            raise LedgerContention(f"{self._path.name}: others write for {self._busy_seconds} s")
        try:
            with self._connection() as connection:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
        finally:
            self._writer.release()

    def close(self) -> None:
        """Close every idle connection; the next use opens new ones."""
        with self._idle_lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._idle_lock:
                connection = self._idle.pop() if self._idle else None
            connection = connection or self._open()
            try:
                yield connection
            except BaseException as problem:
                # Closing rolls back, whatever state the connection is in.
                with suppress(sqlite3.Error):
                    connection.close()
                if isinstance(problem, sqlite3.Error):
                    raise self._translated(problem) from problem
                raise
            if self._reading:
                # It sees one moment only; the next look opens another.
                connection.close()
                return
            with self._idle_lock:
                self._idle.append(connection)
        except sqlite3.Error as problem:
            raise self._translated(problem) from problem

    def _open(self) -> sqlite3.Connection:
        if self._reading:
            connection = reading_connection(self._path, self._busy_seconds)
        else:
            connection = sqlite3.connect(
                self._path,
                timeout=self._busy_seconds,
                isolation_level=None,
                check_same_thread=False,
            )
        try:
            connection.row_factory = sqlite3.Row
            if not self._reading:
                connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            connection.close()
            raise
        return connection

    def _check(self, schema: Sequence[str]) -> None:
        with self.read() as connection:
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if version > len(schema):
            raise self._newer(version, schema)
        if version < len(schema):
            raise ContractBroken(
                f"{self._path} has schema version {version}; this Atelier reads {len(schema)}",
                do="`atelier up` brings it up to date.",
                where=self._path.name,
            )

    def _newer(self, version: int, schema: Sequence[str]) -> ContractBroken:
        return ContractBroken(
            f"{self._path.name} has schema version {version}; this Atelier knows up to "
            f"{len(schema)}",
            do="Run the newer Atelier that wrote it, or choose another home folder.",
            where=self._path.name,
        )

    def _migrate(self, schema: Sequence[str]) -> None:
        with self._connection() as connection:
            if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                connection.execute("PRAGMA journal_mode = WAL")
        with self.write() as connection:
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            if version > len(schema):
                raise self._newer(version, schema)
            for script in schema[version:]:
                for statement in script.split(";"):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {len(schema)}")

    def _translated(self, problem: sqlite3.Error) -> AtelierError:
        code = getattr(problem, "sqlite_errorcode", None)
        primary = code & 0xFF if isinstance(code, int) else None
        said = f"{self._path}: {problem}"
        if primary in _WAITS:
            return LedgerContention(said)
        if primary in _BROKEN:
            return ContractBroken(
                said,
                do="Put the home folder back from a backup, or go on with another home.",
                where=self._path.name,
            )
        if primary == sqlite3.SQLITE_FULL:
            return ServiceUnavailable(
                said, do="Free space on the disk; work goes on by itself.", errno=errno.ENOSPC
            )
        return ServiceUnavailable(said)
