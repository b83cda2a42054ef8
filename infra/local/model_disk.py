"""The endpoint's disk: artifacts downloaded and unpacked, the least recently used dropped first.

    <folder>/<model id>/model/{adapter.json, adapter.safetensors, adapter.slots}

A model id is opaque, as SageMaker's are. An artifact is never overwritten in the bucket, so what
was unpacked once stays right. A new platform begins with an empty disk, as a new instance does.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from atelier.contracts import archive, keys
from atelier.contracts.errors import ContractBroken, NotFound, ObjectMissing, ServiceUnavailable
from tasks.ports import Objects


def model_id(target_model: str) -> str:
    """Return the opaque name under which the container knows a target model."""
    return hashlib.sha256(target_model.encode()).hexdigest()[:32]


def unpack(body: bytes, into: Path) -> int:
    """Write an archive's members into an empty folder; return how many bytes they are.

    Raises:
        AdapterRejected: it is no such archive. The folder may hold some of its members then.
        OSError: the disk is full or failing.
    """
    written = 0
    for member in archive.read(body):
        with (into / member.name).open("xb") as file:
            for chunk in member.chunks:
                file.write(chunk)
        written += member.size
    return written


class ModelDisk:
    """Unpacked artifacts within `max_bytes`, as far as what is in use allows."""

    def __init__(self, folder: Path, *, objects: Objects, max_bytes: int) -> None:
        """Begin with an empty folder."""
        self._folder = folder.absolute()
        self._objects = objects
        self._max_bytes = max_bytes
        self._bytes: dict[str, int] = {}
        self._lock = threading.Lock()
        if self._folder.exists():
            shutil.rmtree(self._folder)
        self._folder.mkdir(parents=True)

    @property
    def used_bytes(self) -> int:
        """Bytes of all unpacked artifacts."""
        with self._lock:
            return sum(self._bytes.values())

    def fetch(self, target_model: str, *, in_use: Callable[[str], bool]) -> Path:
        """Return the folder of a target model's files, downloaded if need be.

        Models that are not `in_use` (by id) may be dropped for it, least recently used first.

        Raises:
            NotFound: there is no such artifact.
            AdapterRejected: it is no archive of ours.
            ServiceUnavailable: the bucket does not answer, or the disk is full or failing.
        """
        name = model_id(target_model)
        place = self._folder / name / "model"
        with self._lock:
            if name in self._bytes:
                self._bytes[name] = self._bytes.pop(name)  # last in order: used last
                return place
        body = self._download(target_model)
        unpacking = self._folder / f"{name}.unpacking"
        try:
            _remove(unpacking)
            (unpacking / "model").mkdir(parents=True)
            size = unpack(body, unpacking / "model")
            self._make_room(size, in_use)
            _remove(self._folder / name)
            unpacking.rename(self._folder / name)
        except OSError as problem:
            raise ServiceUnavailable(
                f"{target_model} cannot be unpacked: {problem.strerror}",
                do="Free space on the disk or repair it, and ask again.",
                errno=problem.errno,
            ) from problem
        finally:
            shutil.rmtree(unpacking, ignore_errors=True)
        with self._lock:
            self._bytes[name] = size
        return place

    def holds(self, target_model: str) -> bool:
        """Tell whether a target model's files are here."""
        with self._lock:
            return model_id(target_model) in self._bytes

    def drop(self, target_model: str) -> None:
        """Forget a target model's files; the next `fetch` downloads them again."""
        name = model_id(target_model)
        with self._lock:
            self._bytes.pop(name, None)
            shutil.rmtree(self._folder / name, ignore_errors=True)

    def _download(self, target_model: str) -> bytes:
        missing = NotFound(
            f"there is no model {target_model[:200]} below {keys.ARTIFACT_PREFIX}",
            kind="target model",
            name=target_model[:200],
        )
        try:
            key = keys.check_key(keys.ARTIFACT_PREFIX + target_model)
            return self._objects.read(key, max_bytes=archive.MAX_ARCHIVE_BYTES)
        except (ValueError, ObjectMissing) as problem:
            raise missing from problem
        except ContractBroken as problem:
            raise archive.rejected(
                "the archive",
                f"{problem.facts.get('found', 'more')} bytes",
                f"at most {archive.MAX_ARCHIVE_BYTES:,}",
            ) from problem

    def _make_room(self, size: int, in_use: Callable[[str], bool]) -> None:
        with self._lock:
            for name in list(self._bytes):
                if sum(self._bytes.values()) + size <= self._max_bytes:
                    return
                if not in_use(name):
                    shutil.rmtree(self._folder / name, ignore_errors=True)
                    del self._bytes[name]


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
