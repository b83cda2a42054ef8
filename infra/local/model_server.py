"""The model server's life: started, asked for its health, restarted with backoff when it dies.

Sources: sagemaker/latest/dg `your-algorithms-inference-code`, `mms-container-apis`.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from atelier.contracts.clock import Clock
from atelier.contracts.container import (
    ML_ROOT_VARIABLE,
    MULTI_MODEL_VARIABLE,
    PING_SECONDS,
    PORT_VARIABLE,
    SERVING_GRACE_SECONDS,
)
from atelier.contracts.errors import ServiceUnavailable
from infra.local import programs
from infra.local.programs import Program, RunningProgram

logger = logging.getLogger(__name__)

STARTING_PING_SECONDS = 0.1
"""A server that is starting is asked so often, so that nobody waits for its next ping."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How a model server is watched.

    Attributes:
        startup_seconds: how long it may take until its first healthy answer.
        ping_seconds: within so much it must answer a ping.
        ping_every_seconds: pause between pings in service; at the start it is asked more often.
        unhealthy_pings: so many failed pings in a row, and it is restarted.
        least_pause_seconds, most_pause_seconds: between restarts, doubling from one to the other.
        settled_seconds: after so much service the next pause is the shortest again.
        grace_seconds: from SIGTERM to SIGKILL.
    """

    startup_seconds: float = 600.0
    ping_seconds: float = PING_SECONDS
    ping_every_seconds: float = 5.0
    unhealthy_pings: int = 3
    least_pause_seconds: float = 0.5
    most_pause_seconds: float = 30.0
    settled_seconds: float = 60.0
    grace_seconds: float = SERVING_GRACE_SECONDS


@dataclass(frozen=True, slots=True)
class Answer:
    """What the container answered, whatever its status."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def ok(self) -> bool:
        """A 2xx status."""
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        """The body as text, for people."""
        return self.body.decode("utf-8", errors="replace")


class ModelServer:
    """Keeps one `serve` program in service. `tick` and `close` belong to one thread.

    Every start is a new `generation`: what was loaded into an earlier one is gone.
    """

    def __init__(
        self,
        program: Program,
        *,
        ml_root: Path,
        log: Path,
        clock: Clock,
        settings: ServerSettings,
    ) -> None:
        """Prepare; the first `tick` starts it."""
        self._program = program
        self._ml_root = ml_root
        self._log = log
        # Loopback only, whatever proxies a shell has set; and a connection for every call, since
        # one that is kept may be closed by the server at the moment it is used again.
        self._http = httpx.Client(
            trust_env=False,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        )
        self._clock = clock
        self._settings = settings
        self._running: RunningProgram | None = None
        self._url = ""
        self._changed = threading.Condition()
        self._generation = 0
        self._in_service = False
        self._suspected = False
        self._problem = "it was not started yet"
        self._closed = False
        self._began_at = 0.0
        self._next_start = 0.0
        self._next_ping = 0.0
        self._failed_pings = 0
        self._failed_starts = 0

    @property
    def generation(self) -> int:
        """How many servers were started so far."""
        return self._generation

    @property
    def in_service(self) -> bool:
        """It answered its last ping."""
        return self._in_service

    @property
    def problem(self) -> str:
        """Why the server was not in service the last time that it was not."""
        return self._problem

    @property
    def pid(self) -> int | None:
        """Process id of the server that runs now, or None between two."""
        running = self._running
        return None if running is None else running.identity.pid

    def wait_in_service(self, seconds: float) -> int | None:
        """Wait until a server is in service; return its generation.

        One that broke off a call is in service again once it has answered a ping after that.
        Return None after `seconds`, or at once when the server was closed.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._serves() or self._closed, timeout=max(0.0, seconds)
            )
            return self._generation if self._serves() else None

    def call(self, method: str, path: str, *, seconds: float, **more: Any) -> Answer:
        """Ask the present server; its answer, whatever the status.

        Raises:
            ServiceUnavailable: none came within `seconds` (fact `timed_out`), or the server is gone
                or answered no HTTP (fact `broke_off`; `reached`: it may have begun with the call).
        """
        generation = self._generation
        try:
            answer = self._http.request(method, self._url + path, timeout=seconds, **more)
        except httpx.TimeoutException as problem:
            raise ServiceUnavailable(
                f"the model server did not answer {method} within {seconds:.0f} s", timed_out=True
            ) from problem
        except (httpx.HTTPError, RuntimeError) as problem:
            # RuntimeError: the client was closed meanwhile, the platform is going down.
            self._suspect(generation)
            raise ServiceUnavailable(
                f"the model server broke off: {problem}",
                broke_off=True,
                reached=not isinstance(problem, httpx.ConnectError),
            ) from problem
        return Answer(answer.status_code, answer.content, dict(answer.headers))

    def tick(self) -> None:
        """Start, ask or restart the server, whatever is due."""
        now = self._clock.monotonic_seconds()
        if self._running is None:
            if now >= self._next_start:
                self._start(now)
        elif (code := self._running.exit_code) is not None:
            self._died(f"exit code {code}")
        elif not self._in_service and now - self._began_at > self._settings.startup_seconds:
            self._died(f"not healthy within {self._settings.startup_seconds:g} s")
        elif now >= self._next_ping:
            self._ping()

    def close(self) -> None:
        """Stop the server: SIGTERM, grace, SIGKILL. Calls under way end with it."""
        self._closed = True
        self._set_in_service(value=False)
        running, self._running = self._running, None
        if running is not None:
            running.terminate()
            latest = self._clock.monotonic_seconds() + self._settings.grace_seconds
            while running.exit_code is None and self._clock.monotonic_seconds() < latest:
                self._clock.sleep(0.02)
            running.kill()
        self._http.close()

    def _start(self, now: float) -> None:
        port = _free_port()
        self._url = f"http://127.0.0.1:{port}"
        self._generation += 1
        self._began_at = self._next_ping = now
        self._failed_pings = 0
        try:
            self._running = programs.start(
                self._program, log=self._log, environment=self._environment(port)
            )
        except OSError as problem:
            self._died(str(problem))

    def _environment(self, port: int) -> Mapping[str, str]:
        return {
            MULTI_MODEL_VARIABLE: "true",
            PORT_VARIABLE: str(port),
            ML_ROOT_VARIABLE: str(self._ml_root),
        }

    def _ping(self) -> None:
        healthy = self._healthy()
        settings = self._settings
        if healthy:
            with self._changed:
                self._suspected = False
                self._changed.notify_all()
        self._failed_pings = 0 if healthy else self._failed_pings + 1
        if healthy and not self._in_service:
            self._set_in_service(value=True)
        elif self._in_service and self._failed_pings >= settings.unhealthy_pings:
            self._died(f"{self._failed_pings} pings without an answer of 200")
            return
        starting = not self._in_service
        pause = min(STARTING_PING_SECONDS, settings.ping_every_seconds)
        pause = pause if starting else settings.ping_every_seconds
        self._next_ping = self._clock.monotonic_seconds() + pause

    def _healthy(self) -> bool:
        try:
            answer = self._http.get(f"{self._url}/ping", timeout=self._settings.ping_seconds)
        except httpx.HTTPError:
            return False
        return answer.status_code == httpx.codes.OK

    def _died(self, why: str) -> None:
        now = self._clock.monotonic_seconds()
        if self._in_service and now - self._began_at > self._settings.settled_seconds:
            self._failed_starts = 0
        self._set_in_service(value=False)
        if self._running is not None:
            self._running.kill()
            self._running = None
        self._problem = f"{why}; its log is {self._log}"
        pause = self._settings.least_pause_seconds * 2.0 ** min(self._failed_starts, 30)
        pause = min(pause, self._settings.most_pause_seconds)
        self._failed_starts += 1
        self._next_start = now + pause
        logger.warning("model server: %s; started again in %.1f s; see %s", why, pause, self._log)

    def _suspect(self, generation: int) -> None:
        """Take a server that broke off a call for gone until it answers the next ping."""
        with self._changed:
            if generation == self._generation:
                self._suspected = True
                self._next_ping = 0.0

    def _serves(self) -> bool:
        return self._in_service and not self._suspected

    def _set_in_service(self, *, value: bool) -> None:
        with self._changed:
            self._in_service = value
            self._suspected = False
            self._changed.notify_all()


def _free_port() -> int:
    """Return a loopback port that is free now; who takes it first is decided when it is bound."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
