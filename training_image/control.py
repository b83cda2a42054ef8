"""The control channel's host side: messages in, one acknowledgement each.

A thread looks at the folder about once a second, so that the training loop never waits for the
bucket; the loop takes messages between two steps and answers them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from queue import Empty, SimpleQueue

from atelier.contracts import keys
from atelier.contracts.clock import Clock
from atelier.contracts.control import Answer, ControlAcknowledgement, ControlMessage
from atelier.contracts.documents import DocumentError
from atelier.contracts.errors import AtelierError, ContractBroken, ObjectMissing
from atelier.objects import Objects

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Reply:
    """What the host answers."""

    answer: Answer
    reason: str


class ControlChannel:
    """One host's folder of messages and acknowledgements."""

    def __init__(self, *, objects: Objects, job: str, host: str, clock: Clock) -> None:
        self._objects = objects
        self._job = job
        self._host = host
        self._clock = clock
        self._answered: set[str] | None = None
        self._arrived: SimpleQueue[tuple[str, ControlMessage | None]] = SimpleQueue()

    def poll(self) -> None:
        """Fetch the messages that nobody has fetched yet.

        Raises:
            ServiceUnavailable: the bucket does not answer.
        """
        folder = keys.control_prefix(self._job, self._host)
        if self._answered is None:
            # What an earlier run of this host has answered is done.
            self._answered = {_id(key) for key in self._objects.list(f"{folder}acks/")}
        for key in self._objects.list(f"{folder}messages/"):
            if _id(key) not in self._answered and _is_message(key):
                try:
                    message = self._read(key)
                except ObjectMissing:
                    continue
                self._answered.add(_id(key))
                self._arrived.put((_id(key), message))

    def attend(self, obey: Callable[[ControlMessage], Reply]) -> None:
        """Obey every message that has arrived and acknowledge it; called between two steps."""
        while True:
            try:
                message_id, message = self._arrived.get_nowait()
            except Empty:
                return
            reply = (
                Reply(Answer.UNKNOWN, "this host does not know such a message")
                if message is None
                else obey(message)
            )
            self._acknowledge(message_id, reply)

    def serve(self, stop: threading.Event, *, every_seconds: float) -> None:
        """Poll until `stop` is set; a bucket that does not answer is asked again."""
        while not stop.is_set():
            try:
                self.poll()
            except AtelierError as problem:
                log.warning("the control channel cannot be read now: %s", problem)
            stop.wait(every_seconds)

    def _read(self, key: str) -> ControlMessage | None:
        """Return a message; None for one that does not read, which is answered like the others."""
        try:
            body = self._objects.read(key, max_bytes=MAX_MESSAGE_BYTES)
            return ControlMessage.from_json(body)
        except (ContractBroken, DocumentError) as problem:
            log.warning("control message %s does not read: %s", key, problem)
            return None

    def _acknowledge(self, message_id: str, reply: Reply) -> None:
        log.info("control message %s: %s (%s)", message_id, reply.answer, reply.reason)
        acknowledgement = ControlAcknowledgement(
            message=message_id,
            answer=reply.answer,
            reason=reply.reason,
            answered_at=self._clock.now(),
        )
        key = keys.control_acknowledgement(self._job, self._host, message_id)
        try:
            self._objects.put(key, acknowledgement.to_json())
        except AtelierError as problem:
            # The sender asks again or reads progress.json, which says the same.
            log.warning("acknowledgement %s cannot be written: %s", key, problem)


def _is_message(key: str) -> bool:
    """Return whether a key may be a message's: others could not even be acknowledged."""
    return key.endswith(".json") and keys.is_segment(_id(key))


def _id(key: str) -> str:
    return PurePosixPath(key).stem
