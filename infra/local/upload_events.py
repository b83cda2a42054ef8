"""The local bucket's events: every upload set that was closed is told at least once.

S3 delivers `Object Created` to EventBridge whatever becomes of the writer. So does this: what was
closed shortly before the platform was killed, or while it was away, is told again at its next
start. A mark says until when everything was told; the clock may have jumped, so a little more than
that is told again, which changes nothing.

Source: AmazonS3/latest/userguide `ev-events`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from atelier.contracts import keys
from atelier.contracts.clock import Clock, from_iso, to_iso
from atelier.contracts.errors import AtelierError

log = logging.getLogger(__name__)

AGAIN = timedelta(hours=1)
RETRY_SECONDS = 5.0
_CLOSING = f"{keys.UPLOAD_PREFIX}*/*/_complete.json"

Tell = Callable[[Mapping[str, Any]], object]
"""Takes an EventBridge event; raises an AtelierError to have it told again later."""


class UploadEvents:
    """Tells of closed upload sets, from a thread of its own."""

    def __init__(
        self,
        *,
        bucket: Path,
        mark: Path,
        clock: Clock,
        tell: Tell,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        """Tell nothing yet.

        Args:
            bucket: the folder of objects.
            mark: file that remembers until when everything was told.
            clock: the time.
            tell: where events go.
            retry_seconds: after how long a refused one is told again.
        """
        self._bucket = bucket
        self._mark = mark
        self._clock = clock
        self._tell = tell
        self._retry_seconds = retry_seconds
        self._written: SimpleQueue[str | None] = SimpleQueue()

    def written(self, key: str) -> None:
        """Take down that an object was written; called by the bucket, at once."""
        if key.startswith(keys.UPLOAD_PREFIX) and key.endswith("/_complete.json"):
            self._written.put(key)

    def stop(self) -> None:
        """Let `serve` return."""
        self._written.put(None)

    def serve(self, stop: threading.Event) -> None:
        """Tell what was missed, then what is written, until `stop` is set."""
        waiting = list(self._missed())
        while not stop.is_set():
            began = self._clock.now()
            waiting = [key for key in waiting if not self._told(key)]
            if not waiting:
                self._mark.write_text(to_iso(began))
            try:
                key = self._written.get(timeout=self._retry_seconds if waiting else None)
            except Empty:
                continue
            waiting += [key] if key is not None else []

    def _told(self, key: str) -> bool:
        try:
            self._tell(object_created(key))
        except AtelierError as problem:
            log.warning("the event of %s is told again later: %s", key, problem)
            return False
        return True

    def _missed(self) -> Iterator[str]:
        since = self._since()
        for path in sorted(self._bucket.glob(_CLOSING)):
            if datetime.fromtimestamp(path.stat().st_mtime, UTC) >= since:
                yield path.relative_to(self._bucket).as_posix()

    def _since(self) -> datetime:
        try:
            return from_iso(self._mark.read_text()) - AGAIN
        except (FileNotFoundError, ValueError, OverflowError):
            return datetime(1970, 1, 1, tzinfo=UTC)  # No mark, or half of one: tell everything.


def object_created(key: str) -> dict[str, Any]:
    """Return the EventBridge event of an object that was written, as far as anybody reads it."""
    return {
        "version": "0",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "detail": {"bucket": {"name": "atelier"}, "object": {"key": key}, "reason": "PutObject"},
    }
