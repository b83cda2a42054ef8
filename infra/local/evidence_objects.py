"""From the bucket's files to evidence: each is looked at once, and only what is kept stays."""

from __future__ import annotations

import fcntl
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from atelier.contracts import ids, keys
from atelier.contracts.dataset import Dataset
from atelier.contracts.documents import MAX_DOCUMENT_BYTES, Document, DocumentError
from atelier.contracts.manifest import TrainingManifest
from infra.doctor import artifacts
from infra.doctor.documents import codec_of
from infra.doctor.evidence import (
    ArtifactSeen,
    Bucket,
    DatasetSeen,
    HiddenFile,
    ManifestSeen,
    Unreadable,
)
from infra.local.objects import WRITING

_MANIFESTS = "manifests/"


def bucket(root: Path) -> Bucket:
    """Return what the objects say, of those that are still there when their turn comes."""
    looked = _Looked(root)
    for key, path in sorted(_files(root)):
        with suppress(FileNotFoundError):
            looked.take(key, path)
    return looked.bucket(_hidden(root / WRITING))


@dataclass(slots=True)
class _Looked:
    """What is kept of the objects seen so far."""

    root: Path
    counts: Counter[str] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)
    artifacts: dict[str, ArtifactSeen] = field(default_factory=dict)
    manifests: dict[str, ManifestSeen] = field(default_factory=dict)
    datasets: dict[str, DatasetSeen] = field(default_factory=dict)
    unreadable: list[Unreadable] = field(default_factory=list)
    newest: tuple[str, datetime] | None = None

    def take(self, key: str, path: Path) -> None:
        found = path.stat()
        modified_at = datetime.fromtimestamp(found.st_mtime, UTC)
        top = key.partition("/")[0]
        self.counts[top] += 1
        self.sizes[top] += found.st_size
        if self.newest is None or modified_at > self.newest[1]:
            self.newest = key, modified_at
        if key.startswith(keys.ARTIFACT_PREFIX):
            seen = artifacts.look_at(key, path.read_bytes(), modified_at=modified_at)
            self.artifacts[key] = seen
        elif (codec := codec_of(key)) is not None:
            self._document(key, path.read_bytes(), codec)

    def _document(self, key: str, body: bytes, codec: type[Document]) -> None:
        document: Document | None = None
        try:
            document = codec.from_json(body, max_bytes=MAX_DOCUMENT_BYTES)
        except DocumentError as problem:
            self.unreadable.append(Unreadable(codec.SCHEMA, f"object {key}", str(problem)[:300]))
        if isinstance(document, Dataset):
            photos = {photo.key: photo.digest for photo in document.photos}
            wrong = dict(_wrong(self.root, photos))
            self.datasets[key] = DatasetSeen(key, document.owner, photos, wrong)
        elif key.startswith(_MANIFESTS):
            job = key.removeprefix(_MANIFESTS).removesuffix(".json")
            manifest = document if isinstance(document, TrainingManifest) else None
            self.manifests[job] = ManifestSeen(job, ids.digest_of(body), manifest)

    def bucket(self, hidden: Iterator[HiddenFile]) -> Bucket:
        return Bucket(
            counts=self.counts,
            bytes=self.sizes,
            artifacts=self.artifacts,
            manifests=self.manifests,
            datasets=self.datasets,
            unreadable=tuple(self.unreadable),
            hidden=tuple(hidden),
            newest=self.newest,
        )


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield every object: regular files whose path is a key of ours; links lead nowhere."""
    folders = [("", root)]
    while folders:
        above, folder = folders.pop()
        with suppress(FileNotFoundError), os.scandir(folder) as entries:
            for entry in entries:
                if not keys.is_segment(entry.name):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append((f"{above}{entry.name}/", Path(entry.path)))
                elif entry.is_file(follow_symlinks=False):
                    yield above + entry.name, Path(entry.path)


def _wrong(root: Path, photos: dict[str, str]) -> Iterator[tuple[str, str]]:
    for key, digest in photos.items():
        try:
            found = ids.digest_of((root / key).read_bytes())
        except FileNotFoundError:
            yield key, "is not there"
            continue
        if found != digest:
            yield key, f"has digest {found[:16]}…, not {digest[:16]}…"


def _hidden(writing: Path) -> Iterator[HiddenFile]:
    """Yield the files that are being written; whoever writes one holds its lock."""
    if not writing.is_dir():
        return
    for path in sorted(writing.iterdir()):
        with suppress(FileNotFoundError), path.open("rb") as file:
            modified_at = datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                held = True
            else:
                held = False
            yield HiddenFile(f"{WRITING}/{path.name}", modified_at, held)
