"""How the attempts of a Task state are told in the history.

An integrated service writes Task* events; a bare Lambda ARN writes LambdaFunction* events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workflows.engine.definition import Resource
from workflows.engine.history import NOT_TRUNCATED, Details
from workflows.engine.visit import TaskRequest


@dataclass(frozen=True, slots=True)
class TaskEvent:
    """An event's type and details."""

    type: str
    details: Details | None


def scheduled_event(
    resource: Resource, request: TaskRequest, parameters: str, region: str
) -> TaskEvent:
    """Return the event that begins an attempt; `parameters` is a JSON text."""
    told: dict[str, Any]
    if resource.direct:
        told = {"resource": resource.arn, "input": parameters, "inputDetails": NOT_TRUNCATED}
    else:
        told = {
            "resourceType": resource.service,
            "resource": resource.action,
            "region": region,
            "parameters": parameters,
        }
    if request.timeout_seconds is not None:
        told["timeoutInSeconds"] = request.timeout_seconds
    if request.heartbeat_seconds is not None and not resource.direct:
        told["heartbeatInSeconds"] = request.heartbeat_seconds
    if request.role_arn is not None:
        told["taskCredentials"] = {"roleArn": request.role_arn}
    return TaskEvent(_type(resource, "Scheduled"), told)


def task_event(resource: Resource, what: str, told: Mapping[str, Any]) -> TaskEvent:
    """Return the event for Started, Submitted, Succeeded, Failed or TimedOut."""
    if resource.direct:
        return TaskEvent(_type(resource, what), None if what == "Started" else told)
    named = {"resourceType": resource.service, "resource": resource.action, **told}
    return TaskEvent(_type(resource, what), named)


def _type(resource: Resource, what: str) -> str:
    return f"LambdaFunction{what}" if resource.direct else f"Task{what}"
