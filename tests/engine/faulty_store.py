"""A store that fails on demand, as a disk does: before a commit, after it, or while reading."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from workflows.engine.engine import MemoryHistoryStore, StorageUnavailable
from workflows.engine.store import JournalEntry


class Fault(StrEnum):
    """What the next commits do."""

    NONE = "none"
    BEFORE = "before"
    AFTER = "after"
    """It is stored, and says that it is not: the confirmation was lost."""


class FaultyStore:
    """Wraps a store; `commits` and `reads_fail` say how it fails from now on.

    `fail` lets the next few commits fail, and heals then.
    """

    def __init__(self, store=None) -> None:
        self.sound = store or MemoryHistoryStore()
        self.commits = Fault.NONE
        self.reads_fail = False
        self.refused = 0
        self._left = 0

    def fail(self, fault: Fault, commits: int) -> None:
        self.commits, self._left = fault, commits

    def commit(self, entries: Sequence[JournalEntry]) -> None:
        if self.commits is not Fault.BEFORE:
            self.sound.commit(entries)
        if self.commits is not Fault.NONE:
            self.refused += 1
            self._left -= 1
            if not self._left:
                self.commits = Fault.NONE
            raise StorageUnavailable("the disk is full")

    def heal(self) -> None:
        self.commits, self.reads_fail = Fault.NONE, False

    def __getattr__(self, name: str):
        if self.reads_fail and name in {"find", "running", "journal", "events", "executions"}:
            raise StorageUnavailable("the disk does not answer")
        return getattr(self.sound, name)
