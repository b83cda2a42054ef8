"""The local platform's bucket: `tasks.ports.Objects` on files.

An object's key is its path below the root, so that containers read the same tree through
`file://`. A write goes to a hidden file first, is synced and takes its name in one step: a reader
sees the old object or the new one, also after a crash. Folders are opened one by one without
following links, so that no link leads out of the root. S3 alone would allow both `a` and `a/b`;
our keys never ask for it, and here it is refused.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import itertools
import os
import stat
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from atelier.contracts import keys
from atelier.contracts.clock import Clock
from atelier.contracts.errors import (
    ContractBroken,
    InvalidRequest,
    ObjectExists,
    ObjectMissing,
    ServiceUnavailable,
)
from infra.local.upload_forms import Sign, UploadPolicy, check_upload
from tasks.ports import ObjectInfo, UploadForm

WRITING = ".writing"
"""Folder of files that are being written; no key begins with a dot."""
MAX_KNOWN_ETAGS = 50_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: to open a pipe that somebody left there must not wait.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO})
_IN_THE_WAY = frozenset({errno.ENOTDIR, errno.ELOOP, errno.EISDIR})
_PUT_TURNS = 100


class FileObjects:
    """The bucket as a folder, shared by threads and processes of one machine."""

    def __init__(
        self,
        root: Path,
        *,
        clock: Clock,
        sign: Sign,
        upload_url: str,
        on_put: Callable[[str], None] = lambda _key: None,
        reading: bool = False,
    ) -> None:
        """Open the bucket, create it if need be, and clear what crashed writers left.

        Args:
            root: the folder; only its owner may read what is put into it.
            clock: gives objects their time of change.
            sign: signs upload forms (`infra.local.upload_forms.hmac_signer`).
            upload_url: where upload forms are sent; the platform's API calls `accept_upload`.
            on_put: told the key of each object that was written.
            reading: objects are only read: nothing is created or cleared.

        Raises:
            ServiceUnavailable: the folder cannot be used.
        """
        self._root = root
        self._clock = clock
        self._sign = sign
        self._upload_url = upload_url
        self._on_put = on_put
        self._numbers = itertools.count()
        self._etags: dict[str, tuple[tuple[int, ...], str]] = {}
        self._etags_lock = threading.Lock()
        if reading:
            return
        with _disk(str(root)):
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self._folder([WRITING], create=True) as writing:
                _sweep(writing)

    def put(
        self,
        key: str,
        body: bytes,
        *,
        content_type: str = "application/octet-stream",  # noqa: ARG002 - S3 keeps it; nobody reads it
        if_absent: bool = False,
    ) -> ObjectInfo:
        """Write an object whole.

        Raises:
            ObjectExists: `if_absent` and the key has an object.
            InvalidRequest: the key is none of ours.
            ContractBroken: a part of the key is an object, or the key is a folder of others.
            ServiceUnavailable: the disk is full or failing.
        """
        *folders, name = _parts(key)
        etag = _etag_of(body)
        with (
            _disk(key),
            self._folder([WRITING], create=True) as writing,
            self._written(writing, body) as (file, temporary),
        ):
            self._name_it(writing, temporary, folders, name, key=key, if_absent=if_absent)
            found = os.fstat(file)
        self._remember(key, found, etag)
        self._on_put(key)
        return _info(key, found, etag)

    def read(self, key: str, *, max_bytes: int | None = None) -> bytes:
        """Read an object whole.

        Raises:
            ObjectMissing: there is none.
            ContractBroken: it is larger than `max_bytes`.
        """
        with _disk(key), self._file(key) as file:
            if file is None:
                raise ObjectMissing(f"object {key} is not there", key=key)
            size = os.fstat(file).st_size
            if max_bytes is not None and size > max_bytes:
                raise ContractBroken(
                    f"object {key} has {size:,} bytes; at most {max_bytes:,} are read",
                    where=key,
                    found=size,
                    allowed=max_bytes,
                )
            with open(file, "rb", closefd=False) as stream:
                return stream.read()

    def info(self, key: str) -> ObjectInfo | None:
        """Return what is known of an object, or None when there is none."""
        with _disk(key), self._file(key) as file:
            return None if file is None else self._described(key, file)

    def list(self, prefix: str, *, after: str = "", limit: int = 1000) -> Sequence[ObjectInfo]:
        """Return up to `limit` objects below a prefix with keys after `after`, sorted by key.

        Only folders that can hold such keys are looked into.

        Raises:
            InvalidRequest: no key of ours begins with `prefix`.
        """
        with _refusing(prefix):
            above, _, _ = keys.check_beginning(prefix).rpartition("/")
        folders = above.split("/") if above else []
        with _disk(prefix), suppress(FileNotFoundError), self._folder(folders) as folder:
            found = self._walk(folder, f"{above}/" if above else "", prefix, after)
            return list(itertools.islice(found, limit))
        return []

    def delete(self, key: str) -> None:
        """Remove an object, and folders that are empty then; nothing happens without one."""
        *folders, name = _parts(key)
        with _disk(key), suppress(FileNotFoundError):
            with self._folder(folders) as folder:
                if stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                    os.unlink(name, dir_fd=folder)
                    os.fsync(folder)
            while folders:
                *folders, last = folders
                with self._folder(folders) as folder:
                    try:
                        os.rmdir(last, dir_fd=folder)
                    except OSError:  # It holds other objects.
                        return

    def upload_form(
        self, key: str, *, content_type: str, max_bytes: int, expires_at: datetime
    ) -> UploadForm:
        """Return a form that lets anyone who holds it write this one object until it expires."""
        _parts(key)
        policy = UploadPolicy(key, content_type, max_bytes, expires_at)
        return UploadForm(
            url=self._upload_url, fields=policy.fields(self._sign), expires_at=expires_at
        )

    def accept_upload(self, fields: Mapping[str, str], body: bytes) -> ObjectInfo:
        """Store a form's file: what S3 does with a POST, called by the platform's upload route.

        Raises:
            InvalidRequest: the form is not ours, was changed, has expired, or the file is empty
                or too large.
        """
        policy = check_upload(fields, body_bytes=len(body), sign=self._sign, now=self._clock.now())
        return self.put(policy.key, body, content_type=policy.content_type)

    def _name_it(
        self,
        writing: int,
        temporary: str,
        folders: Sequence[str],
        name: str,
        *,
        key: str,
        if_absent: bool,
    ) -> None:
        for turn in itertools.count(1):
            try:
                with self._folder(folders, create=True) as folder:
                    if if_absent:
                        # A link is made only where no name is: one of many writers wins.
                        os.link(temporary, name, src_dir_fd=writing, dst_dir_fd=folder)
                        os.unlink(temporary, dir_fd=writing)
                    else:
                        os.replace(temporary, name, src_dir_fd=writing, dst_dir_fd=folder)
                    os.fsync(folder)
                    return
            except FileExistsError as problem:
                raise ObjectExists(f"object {key} is there already", key=key) from problem
            except FileNotFoundError:
                # A delete took the folder away between our opening it and our writing to it.
                if turn == _PUT_TURNS:
                    raise

    @contextmanager
    def _written(self, writing: int, body: bytes) -> Iterator[tuple[int, str]]:
        """Give a synced hidden file with this body; it is gone at the end unless it was renamed."""
        moment = self._clock.now()
        file, temporary = self._hidden_file(writing)
        try:
            with open(file, "wb", closefd=False) as stream:
                stream.write(body)
            nanoseconds = (moment - _EPOCH) // timedelta(microseconds=1) * 1000
            os.utime(file, ns=(nanoseconds, nanoseconds))
            os.fsync(file)
            yield file, temporary
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=writing)
            os.close(file)

    def _hidden_file(self, writing: int) -> tuple[int, str]:
        while True:
            name = f"{os.getpid()}-{threading.get_ident()}-{next(self._numbers)}"
            try:
                file = os.open(
                    name, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=writing
                )
            except FileExistsError:
                continue
            # Who holds the lock is alive: `_sweep` of another process leaves the file alone.
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file).st_nlink:
                return file, name
            os.close(file)  # Swept in the moment before the lock.

    @contextmanager
    def _folder(self, names: Sequence[str], *, create: bool = False) -> Iterator[int]:
        """Open a folder below the root name by name; FileNotFoundError when there is none."""
        folder = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in names:
                if create:
                    with suppress(FileExistsError):
                        os.mkdir(name, 0o700, dir_fd=folder)
                        os.fsync(folder)
                try:
                    inner = os.open(name, _FOLDER, dir_fd=folder)
                except OSError as problem:
                    if not create and problem.errno in _NOT_THERE:
                        raise FileNotFoundError(errno.ENOENT, name) from problem
                    raise
                os.close(folder)
                folder = inner
            yield folder
        finally:
            os.close(folder)

    @contextmanager
    def _file(self, key: str) -> Iterator[int | None]:
        """Open an object's file; None when there is no such object."""
        *folders, name = _parts(key)
        try:
            with self._folder(folders) as folder:
                file = os.open(name, _FILE, dir_fd=folder)
        except OSError as problem:
            if problem.errno not in _NOT_THERE:
                raise
            yield None
            return
        try:
            yield file if stat.S_ISREG(os.fstat(file).st_mode) else None
        finally:
            os.close(file)

    def _walk(self, folder: int, above: str, prefix: str, after: str) -> Iterator[ObjectInfo]:
        with os.scandir(folder) as entries:
            found = sorted(
                f"{above}{entry.name}" + ("/" if entry.is_dir(follow_symlinks=False) else "")
                for entry in entries
                if keys.is_segment(entry.name)
            )
        for key in found:
            name = key[len(above) :].rstrip("/")
            if key.endswith("/"):
                # Keys of a folder begin with its own; they lie before or after `after` together.
                if key.startswith(prefix) and (key > after or after.startswith(key)):
                    with suppress(FileNotFoundError, NotADirectoryError):
                        yield from self._inside(folder, name, key, prefix, after)
            elif key.startswith(prefix) and key > after:
                with self._file(key) as file:
                    if file is not None:
                        yield self._described(key, file)

    def _inside(
        self, folder: int, name: str, key: str, prefix: str, after: str
    ) -> Iterator[ObjectInfo]:
        inner = os.open(name, _FOLDER, dir_fd=folder)
        try:
            yield from self._walk(inner, key, prefix, after)
        finally:
            os.close(inner)

    def _described(self, key: str, file: int) -> ObjectInfo:
        found = os.fstat(file)
        with self._etags_lock:
            known = self._etags.get(key)
        if known is not None and known[0] == _identity(found):
            return _info(key, found, known[1])
        with open(file, "rb", closefd=False) as stream:
            etag = f'"{hashlib.file_digest(stream, _md5).hexdigest()}"'
        self._remember(key, found, etag)
        return _info(key, found, etag)

    def _remember(self, key: str, found: os.stat_result, etag: str) -> None:
        with self._etags_lock:
            self._etags[key] = (_identity(found), etag)
            if len(self._etags) > MAX_KNOWN_ETAGS:
                del self._etags[next(iter(self._etags))]


def _parts(key: str) -> list[str]:
    with _refusing(key):
        return keys.check_key(key).split("/")


@contextmanager
def _refusing(key: str) -> Iterator[None]:
    try:
        yield
    except ValueError as problem:
        raise InvalidRequest(str(problem), where="key", found=key[:120]) from problem


def _md5() -> hashlib._Hash:
    return hashlib.md5(usedforsecurity=False)


def _etag_of(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return found.st_ino, found.st_ctime_ns, found.st_mtime_ns, found.st_size


def _info(key: str, found: os.stat_result, etag: str) -> ObjectInfo:
    modified_at = _EPOCH + timedelta(microseconds=found.st_mtime_ns // 1000)
    return ObjectInfo(key=key, bytes=found.st_size, etag=etag, modified_at=modified_at)


def _sweep(writing: int) -> None:
    """Remove the hidden files of writers that are no more."""
    with os.scandir(writing) as entries:
        names = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
    for name in names:
        with suppress(FileNotFoundError, BlockingIOError):
            file = os.open(name, _FILE, dir_fd=writing)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(name, dir_fd=writing)
            finally:
                os.close(file)


@contextmanager
def _disk(key: str) -> Iterator[None]:
    """Turn the system's errors into the tree's."""
    try:
        yield
    except OSError as problem:
        if problem.errno in _IN_THE_WAY:
            raise ContractBroken(
                f"object {key}: a part of its key is an object or a link, or it is a folder",
                where=key,
            ) from problem
        raise ServiceUnavailable(
            f"object {key}: {problem.strerror}",
            do="Free space on the disk or repair it; the work goes on by itself then.",
            errno=problem.errno,
        ) from problem
