"""The local bucket's events: every upload set that was closed is told until it was heard.

S3 delivers `Object Created` to EventBridge at least once, and EventBridge goes on until its target
has taken it. So does this: whatever the channel loses, and what the receiver cannot take now, is
told again after a pause; what was closed before the platform was killed, or while it was away, is
told at its next start. A file marks since when everything was heard. Hearing twice changes nothing.

Source: AmazonS3/latest/userguide `ev-events`, eventbridge/latest/userguide `eb-rule-dlq`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from atelier.contracts import keys
from atelier.contracts.clock import Clock
from atelier.contracts.errors import AtelierError
from infra.local.faults import Deliver, Event

log = logging.getLogger(__name__)

AGAIN_SECONDS = 86_400.0
"""So much before the mark is told again at a start: somebody may have set the clock back."""
RETRY_SECONDS = 5.0
LONGEST_RETRY_SECONDS = 300.0
_CLOSING = f"{keys.UPLOAD_PREFIX}*/*/_complete.json"

Tell = Callable[[Event], object]
"""Takes an EventBridge event; raises to have it told again later."""


def straight(deliver: Deliver) -> Deliver:
    """Return a channel's receiver itself: every event arrives once, at once, in order."""
    return deliver


@dataclass(slots=True)
class _Turn:
    """When a set is told, in the clock's monotonic seconds, and the pause after that."""

    at: float
    pause_seconds: float


class UploadEvents:
    """Tells of closed upload sets, from a thread of its own."""

    def __init__(
        self,
        *,
        bucket: Path,
        mark: Path,
        clock: Clock,
        tell: Tell,
        channel: Callable[[Deliver], Deliver] = straight,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        """Tell nothing yet.

        Args:
            bucket: the folder of objects.
            mark: file that was touched when everything was heard.
            clock: the time.
            tell: where events go.
            channel: how they get there; it may lose, double, delay and reorder them.
            retry_seconds: after how long one that nobody heard is told again, at first.
        """
        self._bucket = bucket
        self._mark = mark
        self._clock = clock
        self._tell = tell
        self._deliver = channel(self._hear)
        self._retry_seconds = retry_seconds
        self._written: SimpleQueue[str | None] = SimpleQueue()
        # Told and not heard yet. A late event is heard in a thread of its own: single operations
        # of a dict are whole.
        self._unheard: dict[str, _Turn] = {}

    def written(self, key: str) -> None:
        """Take down that an object was written; called by the bucket, at once."""
        if key.startswith(keys.UPLOAD_PREFIX) and key.endswith("/_complete.json"):
            self._written.put(key)

    def stop(self) -> None:
        """Let `serve` return."""
        self._written.put(None)

    def serve(self, stop: threading.Event) -> None:
        """Tell what was missed, then what is written, until `stop` is set."""
        for key in self._missed():
            self._expect(key)
        while not stop.is_set():
            self._tell_due()
            if not self._unheard:
                self._mark.touch()
            try:
                written = self._written.get(timeout=self._pause())
            except Empty:
                continue
            if written is not None:
                self._expect(written)

    def _expect(self, key: str) -> None:
        self._unheard[key] = _Turn(self._clock.monotonic_seconds(), self._retry_seconds)

    def _tell_due(self) -> None:
        for key, turn in list(self._unheard.items()):
            now = self._clock.monotonic_seconds()
            if turn.at <= now:
                turn.at = now + turn.pause_seconds
                turn.pause_seconds = min(2 * turn.pause_seconds, LONGEST_RETRY_SECONDS)
                self._deliver(object_created(key))

    def _pause(self) -> float | None:
        """Return the seconds until somebody's turn, or None when everything was heard."""
        turns = [turn.at for turn in list(self._unheard.values())]
        return max(0.0, min(turns) - self._clock.monotonic_seconds()) if turns else None

    def _hear(self, event: Event) -> None:
        key = event["detail"]["object"]["key"]
        try:
            self._tell(event)
        except AtelierError as problem:
            log.warning("the event of %s is told again later: %s", key, problem)
        except Exception:
            # One set that meets a defect of ours keeps nobody else waiting.
            log.exception("the event of %s is told again later", key)
        else:
            self._unheard.pop(key, None)

    def _missed(self) -> Iterator[str]:
        """Yield the sets that were closed since the mark, by the same clock: the file system's."""
        try:
            since = self._mark.stat().st_mtime - AGAIN_SECONDS
        except FileNotFoundError:
            since = 0.0  # No mark: tell everything.
        for path in sorted(self._bucket.glob(_CLOSING)):
            if path.stat().st_mtime >= since:
                yield path.relative_to(self._bucket).as_posix()


def object_created(key: str) -> Mapping[str, Any]:
    """Return the EventBridge event of an object that was written, as far as anybody reads it."""
    return {
        "version": "0",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "detail": {"bucket": {"name": "atelier"}, "object": {"key": key}, "reason": "PutObject"},
    }
