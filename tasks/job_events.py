"""What SageMaker's words for a training job's state mean to a request.

DescribeTrainingJob and the EventBridge event share the words (BC: sagemaker.TrainingJobStatus);
MaxRuntimeExceeded and MaxWaitTimeExceeded end as `Stopped`. What is not named here changes nothing.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from typing import Any

from atelier.contracts.records import JobOutcome

OUTCOMES: Mapping[str, JobOutcome] = {
    "Completed": JobOutcome.COMPLETED,
    "Failed": JobOutcome.FAILED,
    "Stopped": JobOutcome.STOPPED,
}
"""TrainingJobStatus → how the job ended."""

TRAINING = ("InProgress", "Training")
"""Status and secondary status of a job whose program runs."""


NO_ROOM = "There was no room on its training host's disk"
"""How the sentence begins that tells of a job that began again for want of room."""
_NO_ROOM_WORDS = ("the disk was full", os.strerror(errno.ENOSPC))


def began_again_without_room(given: Mapping[str, Any]) -> bool:
    """Return whether an event says that its job has just begun again because a disk was full."""
    transitions = given.get("SecondaryStatusTransitions")
    if given.get("SecondaryStatus") != "Starting" or not isinstance(transitions, list):
        return False
    last = transitions[-1] if transitions else None
    message = str(last.get("StatusMessage")) if isinstance(last, Mapping) else ""
    return any(words in message for words in _NO_ROOM_WORDS)


def reason_of(secondary: str, failure: str) -> str:
    """Return why a job ended, in one line: FailureReason, with the secondary status that it needs.

    A job that ran too long is `Stopped`; only its secondary status says why.
    """
    says_more = secondary not in OUTCOMES and secondary not in failure
    return (f"{secondary}: {failure}" if says_more and failure else failure or secondary)[:1024]
