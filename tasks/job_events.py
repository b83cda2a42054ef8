"""What SageMaker's words for a training job's state mean to a request.

DescribeTrainingJob and the EventBridge event share the words (BC: sagemaker.TrainingJobStatus);
MaxRuntimeExceeded and MaxWaitTimeExceeded end as `Stopped`. What is not named here changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from atelier.contracts.records import JobOutcome

OUTCOMES: Mapping[str, JobOutcome] = {
    "Completed": JobOutcome.COMPLETED,
    "Failed": JobOutcome.FAILED,
    "Stopped": JobOutcome.STOPPED,
}
"""TrainingJobStatus → how the job ended."""

TRAINING = ("InProgress", "Training")
"""Status and secondary status of a job whose program runs."""


def reason_of(secondary: str, failure: str) -> str:
    """Return why a job ended, in one line: FailureReason, with the secondary status that it needs.

    A job that ran too long is `Stopped`; only its secondary status says why.
    """
    says_more = secondary not in OUTCOMES and secondary not in failure
    return (f"{secondary}: {failure}" if says_more and failure else failure or secondary)[:1024]
