"""History events, shaped as GetExecutionHistory shapes them.

Source: botocore's service model of Step Functions, shape HistoryEvent;
https://docs.aws.amazon.com/step-functions/latest/apireference/API_HistoryEvent.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

Details = Mapping[str, Any]
"""What an event tells beside its type; inputs and outputs are JSON texts."""

EVENT_LIMIT: Final = 25_000
"""How many events an execution's history may have (a hard quota of AWS)."""

NOT_TRUNCATED: Final[Details] = {"truncated": False}


@dataclass(frozen=True, slots=True)
class HistoryEvent:
    """One event.

    Attributes:
        id: Its number, from 1.
        previous_id: The event that led to it; 0 where AWS says 0.
        type: One of AWS's types, such as `TaskStateEntered`.
        timestamp: When.
        details: Its …EventDetails; None for types that have none.
    """

    id: int
    previous_id: int
    type: str
    timestamp: datetime
    details: Details | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return what botocore returns for this event."""
        shown: dict[str, Any] = {
            "timestamp": self.timestamp,
            "type": self.type,
            "id": self.id,
            "previousEventId": self.previous_id,
        }
        if self.details is not None:
            shown[details_key(self.type)] = dict(self.details)
        return shown


def details_key(event_type: str) -> str:
    """Return the name of the details of an event type."""
    if event_type.endswith("StateEntered"):
        return "stateEnteredEventDetails"
    if event_type.endswith("StateExited"):
        return "stateExitedEventDetails"
    return f"{event_type[0].lower()}{event_type[1:]}EventDetails"


def error_details(error: str | None, cause: str | None) -> dict[str, str]:
    """Return error and cause, leaving out what is not known or empty, as AWS does."""
    told = {"error": error, "cause": cause}
    return {key: value for key, value in told.items() if value}
