"""The containers' object door: the bucket by key, as files or in S3; nobody else there knows which.

boto3 is imported when an address is in S3, and not before.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from atelier.contracts import keys
from atelier.contracts.errors import ContractBroken, ObjectMissing, ServiceUnavailable


class ObjectReader(Protocol):
    """Reads whole objects."""

    def read(self, key: str, *, max_bytes: int) -> bytes:
        """Read an object whole.

        Raises:
            ObjectMissing: there is none.
            ContractBroken: it is larger than `max_bytes`.
            ServiceUnavailable: the bucket does not answer.
        """
        ...


class Objects(ObjectReader, Protocol):
    """Reads, writes and lists objects."""

    def put(self, key: str, body: bytes) -> None:
        """Write an object whole; readers see the old one or the new one.

        Raises:
            ServiceUnavailable: the bucket does not answer.
        """
        ...

    def list(self, prefix: str) -> list[str]:
        """Return all keys below a folder, sorted.

        Raises:
            ServiceUnavailable: the bucket does not answer.
        """
        ...


class FileObjects:
    """Objects as files: a key is a path below the root."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, key: str, *, max_bytes: int) -> bytes:
        """Read a file whole."""
        try:
            with (self._root / keys.check_key(key)).open("rb") as stream:
                return _bounded(stream.read(max_bytes + 1), key, max_bytes)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as problem:
            raise ObjectMissing(f"object {key} is not there", key=key) from problem
        except OSError as problem:
            raise _unavailable(key, problem) from problem

    def put(self, key: str, body: bytes) -> None:
        """Write a hidden file beside the place, then rename it."""
        path = self._root / keys.check_key(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, body)
        except OSError as problem:
            raise _unavailable(key, problem) from problem

    def list(self, prefix: str) -> list[str]:
        """Return the files directly in the folder; what is hidden is being written."""
        folder = self._root / keys.check_prefix(prefix)
        try:
            names = sorted(entry.name for entry in os.scandir(folder) if entry.is_file())
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as problem:
            raise _unavailable(prefix, problem) from problem
        return [prefix + name for name in names if not name.startswith(".")]


class S3Objects:
    """Objects in S3, with the container's role."""

    def __init__(self, bucket: str, prefix: str, *, client: Any) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._client = client

    def read(self, key: str, *, max_bytes: int) -> bytes:
        """Read an object with GetObject, at most one byte more than is allowed."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - with the client

        name = self._prefix + keys.check_key(key)
        try:
            found = self._client.get_object(Bucket=self._bucket, Key=name)
            return _bounded(found["Body"].read(max_bytes + 1), key, max_bytes)
        except ClientError as problem:
            code = problem.response.get("Error", {}).get("Code", "")
            # Without s3:ListBucket, S3 tells a missing key as AccessDenied.
            if code in {"NoSuchKey", "404", "AccessDenied"}:
                raise ObjectMissing(f"object {key} is not there ({code})", key=key) from problem
            raise _unavailable(key, problem) from problem
        except BotoCoreError as problem:
            raise _unavailable(key, problem) from problem

    def put(self, key: str, body: bytes) -> None:
        """Write an object with PutObject."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - with the client

        name = self._prefix + keys.check_key(key)
        try:
            self._client.put_object(Bucket=self._bucket, Key=name, Body=body)
        except (BotoCoreError, ClientError) as problem:
            raise _unavailable(key, problem) from problem

    def list(self, prefix: str) -> list[str]:
        """Return every page of ListObjectsV2, of up to 1,000 keys each."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - with the client

        name = self._prefix + keys.check_prefix(prefix)
        try:
            pages = self._client.get_paginator("list_objects_v2")
            found = [
                item["Key"].removeprefix(self._prefix)
                for page in pages.paginate(Bucket=self._bucket, Prefix=name)
                for item in page.get("Contents", [])
            ]
        except (BotoCoreError, ClientError) as problem:
            raise _unavailable(prefix, problem) from problem
        return sorted(found)


def check_address(address: str) -> str:
    """Return `address` if a bucket may be there.

    Raises:
        ValueError: it is neither `file:///<folder>/` nor `s3://<bucket>/<prefix>/`.
    """
    try:
        parts = urlsplit(address)
    except ValueError:
        parts = urlsplit("")
    is_folder = parts.scheme == "file" and not parts.netloc and parts.path.startswith("/")
    if not (is_folder or (parts.scheme == "s3" and parts.netloc)) or not address.isprintable():
        raise ValueError(
            f"objects at {address[:200]!r}: file:///<folder>/ or s3://<bucket>/ is allowed"
        )
    return address


def open_objects(address: str) -> Objects:
    """Return the bucket at `file:///<folder>/` or `s3://<bucket>/<prefix>/`.

    Raises:
        ValueError: another kind of address.
    """
    parts = urlsplit(check_address(address))
    if parts.scheme == "s3":
        # Imported here: whose objects are files need not wait for it (75 to 165 ms).
        import boto3  # noqa: PLC0415

        prefix = parts.path.strip("/")
        return S3Objects(parts.netloc, f"{prefix}/" if prefix else "", client=boto3.client("s3"))
    return FileObjects(Path(unquote(parts.path)))


def replace_file(path: Path, body: bytes) -> None:
    """Write a file whole and durable: whoever reads sees the old one or the new one.

    Raises:
        OSError: the disk is full or failing; the old file is as it was.
    """
    # Hidden: the checkpoint sync and our listings pass over such names.
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as stream:
            stream.write(body)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _bounded(body: bytes, key: str, max_bytes: int) -> bytes:
    if len(body) > max_bytes:
        raise ContractBroken(f"object {key} has more than {max_bytes:,} bytes", where=key)
    return body


def _unavailable(key: str, problem: Exception) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"object {key}: {type(problem).__name__}: {problem}"[:300], key=key, retry_after_seconds=2
    )
