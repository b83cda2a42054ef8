"""Checkpoint sync of one host: pulled once at the start, pushed continuously, deletes included.

Source: sagemaker/latest/dg `model-checkpoints`. Beyond what SageMaker promises:

- Only whole files are pushed: a file must look the same (inode, size, times of change) in two scans
  and after it was read; one that changes meanwhile is left for the next scan.
- In the order in which they were written: a file that is still changing holds back every file that
  was written after it, so whoever reads a document in the bucket finds what it speaks of.
- Deletes come last, when no file waits, so that a file's successor is there before it goes; after
  `PATIENT_SCANS` they no longer wait for a file that never rests.

Names that are no keys of ours (hidden and temporary files) and links are not synced.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from atelier.contracts import keys
from atelier.contracts.errors import ObjectMissing
from infra.local.ml_folder import keys_below
from tasks.ports import Objects

PATIENT_SCANS = 20


@dataclass(frozen=True, slots=True)
class _Look:
    """How a file looked: what changes when it is written or replaced."""

    inode: int
    size: int
    modified_ns: int
    changed_ns: int


@dataclass(slots=True)
class CheckpointSync:
    """Syncs `folder` with the objects below `prefix`, which ends in `/`.

    Several hosts of a job share the prefix: each pushes what it wrote and deletes what it removed,
    and leaves alone what it only pulled.
    """

    objects: Objects
    prefix: str
    folder: Path
    _synced: dict[str, _Look] = field(default_factory=dict)
    _seen: dict[str, _Look] = field(default_factory=dict)
    _gone_scans: dict[str, int] = field(default_factory=dict)

    def pull(self) -> int:
        """Copy every object below the prefix into the folder; return how many there were."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for key in keys_below(self.objects, self.prefix):
            inside = keys.check_key(key[len(self.prefix) :])
            path = self.folder / inside
            try:
                body = self.objects.read(key)
            except ObjectMissing:
                continue  # Deleted since it was listed: another host's, or an erased owner's.
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
            self._synced[inside] = _look(path.stat())
        self._seen = dict(self._synced)
        return len(self._synced)

    def push(self, *, final: bool = False) -> int:
        """Bring the objects up to date; return how many were written or deleted.

        `final` is for after the program has ended: nothing changes any more, so nothing waits for
        a second look.
        """
        if not self.folder.is_dir():
            return 0
        before, self._seen = self._seen, dict(_scan(self.folder, ""))
        changed = [name for name, look in self._seen.items() if self._synced.get(name) != look]
        # Files of one instant: the deeper first, as a folder's summary is written after its parts.
        changed.sort(key=lambda name: (self._seen[name].modified_ns, -name.count("/"), name))
        pushed = 0
        for name in changed:
            if not final and before.get(name) != self._seen[name]:
                break
            if not self._push_file(name):
                break
            pushed += 1
        return pushed + self._delete_gone(patient=pushed < len(changed))

    def _delete_gone(self, *, patient: bool) -> int:
        """Delete objects whose file is gone; return how many."""
        gone = set(self._synced) - set(self._seen)
        self._gone_scans = {name: self._gone_scans.get(name, 0) + 1 for name in gone}
        due = [name for name in gone if not patient or self._gone_scans[name] > PATIENT_SCANS]
        for name in sorted(due):
            self.objects.delete(self.prefix + name)
            del self._synced[name]
        return len(due)

    def _push_file(self, name: str) -> bool:
        """Write one file's object; False when it changed or went while it was read."""
        path = self.folder / name
        try:
            with path.open("rb") as file:
                body = file.read()
                whole = _look(os.fstat(file.fileno()))
            now = _look(path.stat(follow_symlinks=False))
        except FileNotFoundError:
            return False
        if not whole == now == self._seen[name] or len(body) != now.size:
            return False
        self.objects.put(self.prefix + name, body)
        self._synced[name] = now
        return True


def _scan(folder: Path, within: str) -> Iterator[tuple[str, _Look]]:
    """Yield regular files below `folder` whose path may be a key, with how they look."""
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        name = within + entry.name
        try:
            keys.check_key(name)
            if entry.is_dir(follow_symlinks=False):
                yield from _scan(folder / entry.name, name + "/")
            elif entry.is_file(follow_symlinks=False):
                yield name, _look(entry.stat(follow_symlinks=False))
        except (ValueError, FileNotFoundError):
            continue


def _look(status: os.stat_result) -> _Look:
    return _Look(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
