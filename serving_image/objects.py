"""The second door's objects: reading by key below one address, from files or from S3."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from atelier.contracts import keys
from atelier.contracts.errors import ObjectMissing, ServiceUnavailable
from serving_image.refusals import BodyTooLarge


class ObjectReader(Protocol):
    """Reads whole objects by a key relative to its address."""

    def read(self, key: str, *, max_bytes: int) -> bytes:
        """Read an object.

        Raises:
            ObjectMissing: there is none.
            BodyTooLarge: it has more bytes than that.
            ServiceUnavailable: the storage does not answer now.
        """
        ...


class FileReader:
    """Objects as files below a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, key: str, *, max_bytes: int) -> bytes:
        """Read a file; a key that passes `check_key` is a path below the folder."""
        try:
            with (self._root / keys.check_key(key)).open("rb") as stream:
                return _bounded(stream.read(max_bytes + 1), key, max_bytes)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as problem:
            raise _missing(key) from problem


class S3Reader:
    """Objects in S3, with the container's role."""

    def __init__(self, bucket: str, prefix: str, *, client: Any) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._client = client

    def read(self, key: str, *, max_bytes: int) -> bytes:
        """Read an object with GetObject, at most one byte more than is allowed."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - with the client

        full_key = self._prefix + keys.check_key(key)
        try:
            found = self._client.get_object(Bucket=self._bucket, Key=full_key)
            return _bounded(found["Body"].read(max_bytes + 1), key, max_bytes)
        except ClientError as problem:
            code = problem.response.get("Error", {}).get("Code", "")
            # Without s3:ListBucket, S3 tells a missing key as AccessDenied.
            if code in {"NoSuchKey", "404", "AccessDenied"}:
                raise _missing(key) from problem
            raise _unavailable(key, code) from problem
        except BotoCoreError as problem:
            raise _unavailable(key, type(problem).__name__) from problem


def open_objects(address: str) -> ObjectReader:
    """Return the reader of `file:///<folder>/` or `s3://<bucket>/<prefix>/`.

    Raises:
        ValueError: another kind of address.
    """
    parts = urlsplit(address)
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
        return FileReader(Path(unquote(parts.path)))
    if parts.scheme == "s3" and parts.netloc:
        # Imported here: only a server with this door on S3 pays for it (75 to 165 ms).
        import boto3  # noqa: PLC0415

        prefix = parts.path.strip("/")
        return S3Reader(parts.netloc, f"{prefix}/" if prefix else "", client=boto3.client("s3"))
    raise ValueError(
        f"objects at {address[:200]!r}: file:///<folder>/ or s3://<bucket>/ is allowed"
    )


def _bounded(body: bytes, key: str, max_bytes: int) -> bytes:
    if len(body) > max_bytes:
        raise BodyTooLarge(f"object {key!r} has more than {max_bytes:,} bytes", key=key)
    return body


def _missing(key: str) -> ObjectMissing:
    return ObjectMissing(f"there is no object {key[:200]!r}", key=key[:200])


def _unavailable(key: str, code: str) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"object {key[:200]!r} cannot be read now: {code}", key=key[:200], retry_after_seconds=2
    )
