"""The control channel of a running training job: messages in, one acknowledgement each.

A message is an object under `control/<job>/<host>/messages/`, named by a deterministic id, so that
sending it twice sends it once; the host polls the folder and answers under `acks/` with the same
name. What a host does not know it acknowledges as `unknown`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from atelier.contracts import ids
from atelier.contracts.documents import Document
from atelier.contracts.manifest import TrainingTask


class Command(StrEnum):
    """What a host is asked to do."""

    ADMIT = "admit"
    CANCEL = "cancel"
    ERASE = "erase"


class Answer(StrEnum):
    """What became of a message."""

    DONE = "done"
    DECLINED = "declined"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ControlMessage(Document):
    """One message to one host.

    Attributes:
        command: what to do.
        request: the task it is about; for erase every task of the owner is meant.
        owner: whose.
        sent_at: UTC.
        task: the newcomer's task; exactly with admit.
    """

    SCHEMA = "atelier.control-message"

    command: Command
    request: str
    owner: str
    sent_at: datetime
    task: TrainingTask | None = None

    def __post_init__(self) -> None:
        """Check that a task comes exactly with admit."""
        if (self.command is Command.ADMIT) != (self.task is not None):
            raise ValueError(f"{self.command} and its task do not agree")

    @property
    def id(self) -> str:
        """The same command about the same request and attempt is the same message."""
        attempt = str(self.task.attempt) if self.task else "-"
        return ids.message_id("control", self.command, self.request, attempt)


@dataclass(frozen=True, slots=True)
class ControlAcknowledgement(Document):
    """A host's answer to one message.

    Attributes:
        message: the message's id.
        answer: what became of it.
        reason: one sentence for people.
        answered_at: UTC.
    """

    SCHEMA = "atelier.control-acknowledgement"

    message: str
    answer: Answer
    reason: str
    answered_at: datetime
