"""The host's checkpoint folder: paths of the checkpoint tree as files, written whole."""

from __future__ import annotations

import shutil
from pathlib import Path

from atelier.contracts import keys
from atelier.objects import replace_file


class CheckpointTree:
    """Files below `/opt/ml/checkpoints`, which the platform syncs with the job's prefix."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def write(self, path: str, body: bytes) -> None:
        """Write a file whole: the sync sees the old one or the new one."""
        place = self._root / keys.check_key(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        replace_file(place, body)

    def read(self, path: str) -> bytes | None:
        """Return a file's bytes, or None when there is none."""
        try:
            return (self._root / keys.check_key(path)).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def files(self, folder: str) -> list[str]:
        """Return the paths of the files in a folder, sorted; hidden ones are unfinished."""
        place = self._root / keys.check_prefix(folder)
        if not place.is_dir():
            return []
        names = (entry.name for entry in place.iterdir() if entry.is_file())
        return [folder + name for name in sorted(names) if not name.startswith(".")]

    def folders(self, folder: str) -> list[str]:
        """Return the folders directly in a folder, each ending in `/`."""
        place = self._root / keys.check_prefix(folder)
        if not place.is_dir():
            return []
        return [f"{folder}{entry.name}/" for entry in sorted(place.iterdir()) if entry.is_dir()]

    def remove(self, path: str) -> None:
        """Remove a file; the sync removes it from the bucket."""
        (self._root / keys.check_key(path)).unlink(missing_ok=True)

    def remove_folder(self, folder: str) -> None:
        """Remove a folder with all that is in it."""
        shutil.rmtree(self._root / keys.check_prefix(folder), ignore_errors=True)
