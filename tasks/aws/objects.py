"""The bucket on S3: `tasks.ports.Objects` on boto3."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from botocore.config import Config
from botocore.exceptions import ClientError

from atelier.contracts import keys
from atelier.contracts.clock import Clock
from atelier.contracts.errors import (
    ContractBroken,
    InvalidRequest,
    ObjectExists,
    ObjectMissing,
    ServiceUnavailable,
)
from tasks.aws.calls import code_of, translated
from tasks.ports import ObjectInfo, UploadForm

PAGE = 1000
"""ListObjectsV2 returns at most so many keys."""
_MISSING = frozenset({"NoSuchKey", "NotFound", "404"})


def s3_client(session: Any) -> Any:
    """Return an S3 client of a `boto3.Session` that signs upload forms with Signature Version 4.

    boto3 signs presigned requests with version 2 unless told, which newer Regions and KMS refuse.
    """
    return session.client("s3", config=Config(signature_version="s3v4"))


class S3Objects:
    """One bucket. S3 itself gives whole objects, atomic writes and strong reads."""

    def __init__(self, s3: Any, *, bucket: str, clock: Clock) -> None:
        """Bind a boto3 client to a bucket.

        Args:
            s3: from `s3_client`.
            bucket: its name.
            clock: says for how long an upload form is signed.
        """
        self._s3 = s3
        self._bucket = bucket
        self._clock = clock

    def put(
        self,
        key: str,
        body: bytes,
        *,
        content_type: str = "application/octet-stream",
        if_absent: bool = False,
    ) -> ObjectInfo:
        """Write an object whole.

        Raises:
            ObjectExists: `if_absent` and the key has an object.
            ServiceUnavailable: another write-once of the same key is under way.
        """
        with _checked(key):
            keys.check_key(key)
        condition = {"IfNoneMatch": "*"} if if_absent else {}
        with translated("S3"):
            try:
                self._s3.put_object(
                    Bucket=self._bucket, Key=key, Body=body, ContentType=content_type, **condition
                )
            except ClientError as problem:
                if code_of(problem) in {"PreconditionFailed", "412"}:
                    raise ObjectExists(f"object {key} is there already", key=key) from problem
                if code_of(problem) in {"ConditionalRequestConflict", "409"}:
                    raise ServiceUnavailable(f"object {key}: {problem}") from problem
                raise
        # The answer to a PUT names no time of change.
        found = self.info(key)
        if found is None:
            raise ObjectMissing(f"object {key} was removed while it was written", key=key)
        return found

    def read(self, key: str, *, max_bytes: int | None = None) -> bytes:
        """Read an object whole.

        Raises:
            ObjectMissing: there is none.
            ContractBroken: it is larger than `max_bytes`.
        """
        with _checked(key):
            keys.check_key(key)
        with translated("S3"):
            try:
                answer = self._s3.get_object(Bucket=self._bucket, Key=key)
            except ClientError as problem:
                if code_of(problem) in _MISSING:
                    raise ObjectMissing(f"object {key} is not there", key=key) from problem
                raise
            with answer["Body"] as stream:
                size = int(answer["ContentLength"])
                if max_bytes is not None and size > max_bytes:
                    raise ContractBroken(
                        f"object {key} has {size:,} bytes; at most {max_bytes:,} are read",
                        where=key,
                        found=size,
                        allowed=max_bytes,
                    )
                return bytes(stream.read())

    def info(self, key: str) -> ObjectInfo | None:
        """Return what is known of an object, or None when there is none."""
        with _checked(key):
            keys.check_key(key)
        with translated("S3"):
            try:
                answer = self._s3.head_object(Bucket=self._bucket, Key=key)
            except ClientError as problem:
                if code_of(problem) in _MISSING:
                    return None
                raise
        return _info(key, answer["ContentLength"], answer)

    def list(self, prefix: str, *, after: str = "", limit: int = 1000) -> Sequence[ObjectInfo]:
        """Return up to `limit` objects below a prefix with keys after `after`, sorted by key."""
        with _checked(prefix):
            keys.check_beginning(prefix)
        found: list[ObjectInfo] = []
        while len(found) < limit:
            with translated("S3"):
                answer = self._s3.list_objects_v2(
                    Bucket=self._bucket,
                    Prefix=prefix,
                    StartAfter=after,
                    MaxKeys=min(PAGE, limit - len(found)),
                )
            page = answer.get("Contents", [])
            found += [_info(item["Key"], item["Size"], item) for item in page]
            if not page or not answer["IsTruncated"]:
                break
            after = page[-1]["Key"]
        return found

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens when there is none."""
        with _checked(key):
            keys.check_key(key)
        with translated("S3"):
            self._s3.delete_object(Bucket=self._bucket, Key=key)

    def upload_form(
        self, key: str, *, content_type: str, max_bytes: int, expires_at: datetime
    ) -> UploadForm:
        """Return a presigned POST: unlike a presigned PUT it bounds the size.

        It ends early when the credentials that signed it do (a role's session).
        """
        with _checked(key):
            keys.check_key(key)
        seconds = int((expires_at - self._clock.now()).total_seconds())
        with translated("S3"):
            form = self._s3.generate_presigned_post(
                self._bucket,
                key,
                Fields={"Content-Type": content_type},
                Conditions=[
                    {"Content-Type": content_type},
                    ["content-length-range", 1, max_bytes],
                ],
                ExpiresIn=seconds,
            )
        return UploadForm(url=form["url"], fields=form["fields"], expires_at=expires_at)


def _info(key: str, size: int, answer: Mapping[str, Any]) -> ObjectInfo:
    # HEAD tells whole seconds, a list may tell more: the same object has one time.
    modified_at = answer["LastModified"].astimezone(UTC).replace(microsecond=0)
    return ObjectInfo(key=key, bytes=int(size), etag=answer["ETag"], modified_at=modified_at)


@contextmanager
def _checked(key: str) -> Iterator[None]:
    try:
        yield
    except ValueError as problem:
        raise InvalidRequest(str(problem), where="key", found=key[:120]) from problem
