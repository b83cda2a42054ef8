"""The platform's home folder: what has to lie there, and one sentence when it cannot be used.

Whatever the platform writes here itself is written whole: a crash or a full disk in mid-write
leaves what was there before.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from pathlib import Path
from typing import IO

from atelier.contracts.base_models import BASE_MODELS
from atelier.contracts.errors import AtelierError, ContractBroken

REPOSITORY = Path(__file__).resolve().parents[2]
SECRET_BYTES = 32
LOCK = "lock"
UNKNOWN_PROCESS = 0
_PROCESS_ID_BYTES = 20
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM})


def open_home(home: Path) -> None:
    """Make a home folder, or take one that was made before, for its owner alone.

    A folder that holds other things than a platform's keeps its rights: it is not ours alone.

    Raises:
        OSError: it cannot be made.
    """
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    if (home / LOCK).exists() and home.stat().st_uid == os.geteuid():
        home.chmod(0o700)


def take_lock(home: Path) -> IO[bytes] | None:
    """Return a file whose lock says that this process runs a platform here, None if one runs.

    The lock goes with the process, however that ends; the file tells the process's id.

    Raises:
        OSError: the home cannot be used.
    """
    lock = (home / LOCK).open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lock.truncate(0)
        lock.write(b"%d\n" % os.getpid())
        lock.flush()
    except BlockingIOError:
        lock.close()
        return None
    except OSError:
        lock.close()
        raise
    return lock


def lock_holder(home: Path) -> int | None:
    """Return the id of the process that runs a platform here, or None when none does.

    Whether the lock is held decides, not what a file says: files are copied and outlive processes.
    UNKNOWN_PROCESS: one runs and did not say which it is. Nothing is made or written.

    Raises:
        OSError: the lock is there and cannot be looked at.
    """
    try:
        lock = os.open(home / LOCK, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        told = os.read(lock, _PROCESS_ID_BYTES).strip()
        return int(told) if told.isdigit() else UNKNOWN_PROCESS
    finally:
        os.close(lock)
    return None


def write_whole(path: Path, body: bytes) -> None:
    """Write a file that its owner alone may read: whole and synced, or not at all.

    Raises:
        OSError: the disk is full or failing; what was there before is there still.
    """
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_or_make_secret(path: Path) -> bytes:
    """Return the platform's secret, made at the first start and readable by its owner alone.

    Raises:
        ContractBroken: the file is not as it was made.
        OSError: it cannot be read or made.
    """
    try:
        secret = path.read_bytes()
    except FileNotFoundError:
        secret = secrets.token_bytes(SECRET_BYTES)
        write_whole(path, secret)
    if len(secret) != SECRET_BYTES:
        raise ContractBroken(
            f"{path} has {len(secret)} bytes and must have {SECRET_BYTES}",
            do="Put it back from a backup, or remove it: a new one is made, and keys and upload "
            "forms that were given out before are refused then.",
            where=str(path),
        )
    return secret


def lay_out_base_models(folder: Path) -> tuple[str, ...]:
    """Make `<folder>/<base id>` for every base model that lies in the repository.

    Returns the ids of those that are there then: the operator may have put others beside them. A
    link that leads nowhere, as a repository that moved leaves it, is made again.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for base in BASE_MODELS.values():
        source = REPOSITORY / base.source
        link = folder / base.id
        if source.is_dir() and not link.exists():
            fresh = folder / f".{base.id}.new"
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(source, target_is_directory=True)
            fresh.replace(link)
    return tuple(base for base in BASE_MODELS if (folder / base).is_dir())


def refusal(problem: Exception, home: Path) -> str:
    """Return why no platform can start in a home, and what to do, as one or two sentences."""
    if isinstance(problem, AtelierError):
        why, do = problem.message, problem.do
        if problem.facts.get("errno") in _FULL:
            do = "Free space and start again; nothing is lost."
    elif isinstance(problem, OSError):
        place = problem.filename if isinstance(problem.filename, str) else home
        why = f"{place}: {problem.strerror or problem}"
        if problem.errno in _FULL:
            do = "Free space and start again; nothing is lost."
        elif problem.errno in _FORBIDDEN or problem.errno == errno.EROFS:
            do = "Let this user read and write there, or choose another folder with --home."
        else:
            do = "Mend that, or choose another folder with --home."
    else:
        why, do = str(problem), "Mend that, or choose another folder with --home."
    return f"no platform can start in {home}: {why.rstrip('.')}. {do}"
