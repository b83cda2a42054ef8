"""Executions by platform: each asks for an answer, waits, and ends as it is answered."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from atelier.contracts.clock import ManualClock
from infra.local.executions import LocalExecutions
from tasks.ports import Executions
from tests.engine.world import CALLBACK, Functions
from tests.fakes.services import ScriptedExecutions
from workflows.engine.engine import Engine, SqliteHistoryStore


class ExecutionsStage(Protocol):
    """Executions of the machines `onboarding` and `dispatch`."""

    port: Executions

    def token(self, name: str) -> str:
        """Start an execution of `onboarding`; return the token that it waits with."""

    def end(self, name: str, status: str) -> None:
        """Let the execution of a token end so; nobody waits with its token then."""

    def heard(self, token: str) -> Mapping[str, Any] | tuple[str, str] | None:
        """Return the output, or error and cause, that came back to who waits with a token."""


ASKING = {
    "StartAt": "Ask",
    "TimeoutSeconds": 3600,
    "States": {
        "Ask": {
            "Type": "Task",
            "Resource": CALLBACK,
            "Parameters": {"FunctionName": "Ask", "Payload": {"token.$": "$$.Task.Token"}},
            "End": True,
        }
    },
}


class LocalExecutionsStage:
    def __init__(self, folder: Path) -> None:
        self._functions = Functions()
        self._engine = Engine(
            store=SqliteHistoryStore(folder / "executions.sqlite3"),
            tasks=self._functions,
            clock=ManualClock(),
        )
        for machine in ("onboarding", "dispatch"):
            self._engine.register(machine, ASKING)
        self._names: dict[str, str] = {}
        self.port = LocalExecutions(self._engine)

    def token(self, name: str) -> str:
        self.port.start("onboarding", name, {})
        self._engine.run_due()
        payload = self._functions.calls[-1].payload
        assert isinstance(payload, dict)
        self._names[payload["token"]] = name
        return payload["token"]

    def end(self, name: str, status: str) -> None:
        [token] = [token for token, of in self._names.items() if of == name]
        if status == "SUCCEEDED":
            self._engine.send_task_success(token, {})
        elif status == "FAILED":
            self._engine.send_task_failure(token, error="E", cause="C")
        elif status == "TIMED_OUT":
            self._engine.run_for(3600)
        else:
            self._engine.stop_execution(self._engine.execution_arn("onboarding", name))
        self._engine.run_due()

    def heard(self, token: str) -> Mapping[str, Any] | tuple[str, str] | None:
        self._engine.run_due()
        arn = self._engine.execution_arn("onboarding", self._names[token])
        record = self._engine.describe_execution(arn)
        if record.error is not None:
            return record.error, record.cause or ""
        return None if record.output is None else json.loads(record.output)


class ScriptedExecutionsStage:
    def __init__(self, _folder: Path) -> None:
        self.port = ScriptedExecutions()

    def token(self, name: str) -> str:
        self.port.start("onboarding", name, {})
        return f"token of {name}"

    def end(self, name: str, status: str) -> None:
        self.port.finish("onboarding", name, status)
        self.port.overdue.add(f"token of {name}")

    def heard(self, token: str) -> Mapping[str, Any] | tuple[str, str] | None:
        return self.port.succeeded.get(token) or self.port.failed.get(token)


EXECUTIONS: Mapping[str, Callable[[Path], ExecutionsStage]] = {
    "local": LocalExecutionsStage,
    "scripted": ScriptedExecutionsStage,
}
