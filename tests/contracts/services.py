"""The services under contract, by name: each opens a port and the strings that a test pulls.

A stage is a port on one platform and what makes it do on purpose what its docstring speaks of.
A platform joins with one more stage per table; the scripted ones are `tests/fakes/`, which the
tests of tasks and API trust.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from atelier.contracts.clock import ManualClock, SystemClock
from atelier.contracts.errors import (
    AtelierError,
    CapacityMissing,
    InvalidRequest,
    ModelNotReady,
    NotFound,
    QuotaExceeded,
    ServiceUnavailable,
    Throttled,
    WaitError,
)
from atelier.contracts.records import Notification
from infra.local.endpoint import EndpointHost
from infra.local.executions import LocalExecutions
from infra.local.notifications import LoggedNotifications
from infra.local.objects import FileObjects
from infra.local.training import TrainingService, TrainingSettings
from infra.local.upload_forms import hmac_signer
from tasks.ports import Endpoint, Executions, Notifications, TrainingJobs
from tests.engine.world import CALLBACK, Functions
from tests.fakes.services import (
    HeardNotifications,
    ScriptedEndpoint,
    ScriptedExecutions,
    ScriptedTrainingJobs,
)
from tests.local.bench import QUICK, TrainingBench, definition, turns_until, until
from tests.local.endpoint_bench import EndpointBench
from workflows.engine.engine import Engine, SqliteHistoryStore

# executions: each asks for an answer, waits, and ends as it is answered


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


# training jobs: each works until it is told how to end


Operation = Literal["describe", "stop"]


class JobsStage(Protocol):
    """A training service without limits, until `refuse` and `throttle`."""

    port: TrainingJobs

    def end(self, name: str, status: str, reason: str = "the loss is not finite") -> None:
        """Let a job end so; `reason` is what a failing program says."""

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Let the service work until something holds."""

    def refuse(self, kind: type[AtelierError]) -> None:
        """Bring about that the next job is refused so."""

    def throttle(self, operation: Operation) -> None:
        """Bring about that the next such request for the job `the-last-one` is one too many."""


WORKING = """
verdict = pathlib.Path(__file__).with_name("verdict")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
while not verdict.exists():
    time.sleep(0.01)
if reason := verdict.read_text():
    (ML / "output/failure").write_text(reason)
    sys.exit(1)
"""
LIMITS: Mapping[type[AtelierError], TrainingSettings] = {
    Throttled: replace(QUICK, creates_per_second=0.0001),
    QuotaExceeded: replace(QUICK, instance_quota=1),
    CapacityMissing: replace(QUICK, capacity={"ml.g5.xlarge": 1}),
}


class LocalJobsStage:
    def __init__(self, folder: Path) -> None:
        self._verdict = folder / "verdict"
        self._bench = TrainingBench(folder, local_bucket(folder))
        self.port: TrainingService = self._bench.service(WORKING)

    def end(self, name: str, status: str, reason: str = "the loss is not finite") -> None:
        if status == "Stopped":
            self.port.stop(name)
        else:
            written = self._verdict.with_suffix(".new")
            written.write_text(reason if status == "Failed" else "")
            written.replace(self._verdict)
        self.wait_until(lambda: self.port.describe(name).ended_at is not None)
        self._verdict.unlink(missing_ok=True)

    def wait_until(self, holds: Callable[[], bool]) -> None:
        until(self.port, holds)

    def refuse(self, kind: type[AtelierError]) -> None:
        self._limit(LIMITS[kind])
        self.port.create(definition("the-last-one"))

    def throttle(self, operation: Operation) -> None:
        self.port.create(definition("the-last-one"))
        self._limit(replace(QUICK, **{f"{operation}s_per_second": 0.0001}))
        getattr(self.port, operation)("the-last-one")

    def _limit(self, settings: TrainingSettings) -> None:
        self.port.close()
        self.port = self._bench.service(WORKING, settings=settings)

    def close(self) -> None:
        for service in self._bench.services:
            service.close()


class ScriptedJobsStage:
    def __init__(self, _folder: Path) -> None:
        self.port = ScriptedTrainingJobs(ManualClock())

    def end(self, name: str, status: str, reason: str = "the loss is not finite") -> None:
        self.port.finish(name, status, reason if status == "Failed" else "")

    def wait_until(self, holds: Callable[[], bool]) -> None:
        assert holds()

    def refuse(self, kind: type[AtelierError]) -> None:
        self.port.refusals.append(kind("as the test wants it"))

    def throttle(self, operation: Operation) -> None:
        refusals = {
            "describe": self.port.describe_refusals,
            "stop": self.port.stop_refusals,
        }
        refusals[operation].append(Throttled("as the test wants it"))

    def close(self) -> None:
        pass


@contextmanager
def local_jobs(folder: Path) -> Iterator[JobsStage]:
    with closing(LocalJobsStage(folder)) as stage:
        yield stage


@contextmanager
def scripted_jobs(folder: Path) -> Iterator[JobsStage]:
    yield ScriptedJobsStage(folder)


JOBS: Mapping[str, Callable[[Path], AbstractContextManager[JobsStage]]] = {
    "local": local_jobs,
    "scripted": scripted_jobs,
}


# the endpoint: target models are published, and answer as the body bids them


class EndpointStage(Protocol):
    """An endpoint in service."""

    port: Endpoint

    def published(self) -> str:
        """Return a target model that has an artifact."""

    def absent(self) -> str:
        """Return a target model that has none."""

    def answering(self, document: object) -> bytes:
        """Return the body of an invocation that is answered with this document."""

    def refusing(self, kind: type[AtelierError], words: str) -> bytes:
        """Return the body of an invocation that the container refuses in these words."""


STATUSES: Mapping[type[AtelierError], int] = {
    InvalidRequest: 400,
    Throttled: 429,
    ServiceUnavailable: 500,
}
RETRY_AFTER_SECONDS = 7


@dataclass
class LocalEndpointStage:
    bench: EndpointBench
    port: EndpointHost
    invocations: int = 0

    def published(self) -> str:
        self.bench.publish("person.tar.gz")
        return "person.tar.gz"

    def absent(self) -> str:
        return "nobody.tar.gz"

    def answering(self, document: object) -> bytes:
        return json.dumps({"act": "answer", "status": 200, "document": document}).encode()

    def refusing(self, kind: type[AtelierError], words: str) -> bytes:
        answer = {
            "act": "answer",
            "status": STATUSES[kind],
            "document": {"message": words},
            "headers": {"Retry-After": str(RETRY_AFTER_SECONDS)} if kind is Throttled else {},
        }
        return json.dumps(answer).encode()


@dataclass
class ScriptedEndpointStage:
    port: ScriptedEndpoint = field(default_factory=ScriptedEndpoint)

    def published(self) -> str:
        return "person.tar.gz"

    def absent(self) -> str:
        self.port.refusals.append(NotFound("no artifact", kind="artifact", name="nobody.tar.gz"))
        return "nobody.tar.gz"

    def answering(self, document: object) -> bytes:
        self.port.answer = json.dumps(document).encode()
        return b"{}"

    def refusing(self, kind: type[AtelierError], words: str) -> bytes:
        facts = {"retry_after_seconds": RETRY_AFTER_SECONDS} if kind is Throttled else {}
        self.port.refusals.append(kind(words, **facts))
        return b"{}"


@contextmanager
def local_endpoint(folder: Path) -> Iterator[EndpointStage]:
    with closing(EndpointBench(folder, local_bucket(folder))) as bench:
        yield LocalEndpointStage(bench, bench.host())


@contextmanager
def scripted_endpoint(_folder: Path) -> Iterator[EndpointStage]:
    yield ScriptedEndpointStage()


@contextmanager
def loading_local(folder: Path) -> Iterator[EndpointStage]:
    with closing(EndpointBench(folder, local_bucket(folder))) as bench:
        bench.publish("person.tar.gz", "a slow model")
        # Its model takes a second to load; an invocation may take less.
        yield LocalEndpointStage(bench, bench.host(invoke_seconds=0.3))


@contextmanager
def loading_scripted(_folder: Path) -> Iterator[EndpointStage]:
    stage = ScriptedEndpointStage()
    stage.port.refusals.append(ModelNotReady("still loading"))
    yield stage


@contextmanager
def local_endpoint_down(folder: Path) -> Iterator[EndpointStage]:
    bench = EndpointBench(folder, local_bucket(folder))
    with closing(bench.idle_host(start_wait_seconds=0.01)) as host:
        yield LocalEndpointStage(bench, host)


@contextmanager
def scripted_endpoint_down(_folder: Path) -> Iterator[EndpointStage]:
    stage = ScriptedEndpointStage()
    stage.port.refusals.append(ServiceUnavailable("not in service"))
    yield stage


def invoked_in_the_end(stage: EndpointStage, target: str, body: bytes) -> bytes:
    """Invoke until the endpoint answers."""
    answers: list[bytes] = []

    def once() -> None:
        with suppress(WaitError):
            answers.append(stage.port.invoke(target, body))

    turns_until(once, lambda: bool(answers))
    return answers[0]


OpenEndpoint = Callable[[Path], AbstractContextManager[EndpointStage]]
ENDPOINTS: Mapping[str, OpenEndpoint] = {
    "local": local_endpoint,
    "scripted": scripted_endpoint,
}
LOADING_ENDPOINTS: Mapping[str, OpenEndpoint] = {
    "local": loading_local,
    "scripted": loading_scripted,
}
ENDPOINTS_DOWN: Mapping[str, OpenEndpoint] = {
    "local": local_endpoint_down,
    "scripted": scripted_endpoint_down,
}


# notifications


class NotificationsStage(Protocol):
    """A way to tell the tenant `acme` that a test can cut."""

    port: Notifications

    def heard(self) -> list[Notification]:
        """Return what arrived, in order."""

    def cut(self) -> None:
        """Let nothing through."""

    def mend(self) -> None:
        """Let everything through again."""


class LocalNotificationsStage:
    def __init__(self, folder: Path) -> None:
        self._logs = folder / "logs"
        self._path = self._logs / "notifications.jsonl"
        self.port = LoggedNotifications(self._path)

    def heard(self) -> list[Notification]:
        lines = self._path.read_bytes().splitlines() if self._path.is_file() else []
        return [Notification.from_dict(json.loads(line)) for line in lines]

    def cut(self) -> None:
        # Root may write anywhere, except into a folder that is a file.
        self._logs.write_text("")

    def mend(self) -> None:
        self._logs.unlink()


class ScriptedNotificationsStage:
    def __init__(self, _folder: Path) -> None:
        self.port = HeardNotifications()

    def heard(self) -> list[Notification]:
        return self.port.delivered

    def cut(self) -> None:
        self.port.down.add("acme")

    def mend(self) -> None:
        self.port.down.clear()


NOTIFICATIONS: Mapping[str, Callable[[Path], NotificationsStage]] = {
    "local": LocalNotificationsStage,
    "scripted": ScriptedNotificationsStage,
}


def local_bucket(folder: Path) -> FileObjects:
    return FileObjects(
        folder / "objects",
        clock=SystemClock(),
        sign=hmac_signer(b"a secret of the tests, 32 bytes."),
        upload_url="http://127.0.0.1/",
    )
