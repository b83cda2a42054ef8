"""The local composition: platform, HTTP API and SageMaker's wire in one process, in the foreground.

`python -m app.local --home DIR --port N` is what `atelier up` starts in the background.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from app.api.application import create_app
from app.api.keys import mint
from app.local_books import add_endpoint_books
from app.start_log import say_into
from atelier.contracts import logs
from atelier.contracts.clock import SystemClock, to_iso
from atelier.contracts.errors import AtelierError
from infra.local.chronicle import STARTED, STOPS
from infra.local.home import open_home, refusal, take_lock, write_whole
from infra.local.platform import LocalPlatform, LocalSettings
from infra.local.wire import build_wire
from workflows.engine.engine import StorageError

log = logging.getLogger(__name__)

DEFAULT_PORT = 8700
LOOPBACK = "127.0.0.1"
UPLOADS_PATH = "/local/uploads"
LOCK_LOOKS = 5
LOCK_LOOK_SECONDS = 0.05
MAX_FORM_BYTES = 24 * 1024 * 1024
"""A photo at its largest, and the form around it."""
MAX_FIELD_BYTES = 64 * 1024
PARTS = {
    "app.api": "api",
    "uvicorn": "api",
    "tasks": "tasks",
    "workflows.engine": "engine",
    "infra.local.executions": "engine",
    "infra.local.training": "training service",
    "infra.local.job_run": "training service",
    "infra.local.job_store": "training service",
    "infra.local.endpoint": "endpoint",
    "infra.local.loaded_models": "endpoint",
    "infra.local.model_server": "endpoint",
    "infra.local.model_disk": "endpoint",
}
"""Logger → the part whose line it is, in platform.log; all others are the platform's own."""


def add_upload_receiver(app: FastAPI, platform: LocalPlatform) -> None:
    """Add the route that plays S3's POST: a signed form needs no key."""

    async def receive(request: Request) -> Response:
        limits = {"max_files": 1, "max_fields": 20, "max_part_size": MAX_FIELD_BYTES}
        try:
            async with request.form(**limits) as form:
                fields = {k: v for k, v in form.items() if isinstance(v, str)}
                file = form.get("file")
                body = b"" if file is None or isinstance(file, str) else await file.read()
        except ClientDisconnect:
            # Whoever sent it has gone in the middle of it: nothing came, and nobody is answered.
            return Response(status_code=400)
        await run_in_threadpool(platform.objects.accept_upload, fields, body)
        return Response(status_code=204)

    app.state.larger_bodies[UPLOADS_PATH] = MAX_FORM_BYTES
    app.add_api_route(UPLOADS_PATH, receive, methods=["POST"], include_in_schema=False)


class Server:
    """A uvicorn server on a thread, on a socket that is bound before anybody is told its port."""

    def __init__(self, app: Any, listener: socket.socket, *, name: str) -> None:
        """Prepare the server; nothing listens before `start`."""
        config = uvicorn.Config(
            app,
            log_level="warning",
            # What it has to say goes where everything goes, to platform.log, which is bounded.
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=3,
        )
        self._server = uvicorn.Server(config)
        self._listener = listener
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Serve on a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Answer what is under way, then close."""
        self._server.should_exit = True
        self._thread.join(5)

    def _run(self) -> None:
        self._server.run(sockets=[self._listener])


def listen(port: int) -> socket.socket:
    """Return a socket bound on loopback; port 0 takes any free one.

    Raises:
        SystemExit: the port is taken, with what to do.
    """
    # asyncio sets TCP_NODELAY only where the protocol is named; without it each answer on a
    # connection that stays open waits 40 ms for an acknowledgement (Nagle: RFC 896).
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
    except (OSError, OverflowError) as problem:
        why = problem.strerror if isinstance(problem, OSError) else "ports are 0 to 65535"
        raise SystemExit(
            f"port {port} on {LOOPBACK} cannot be used ({why}); "
            "stop what uses it or choose another with --port"
        ) from problem
    listener.listen(128)
    return listener


def wire_access_key(secret: bytes) -> str:
    """Return the access key id that SageMaker clients of this platform must sign with."""
    digest = hmac.new(secret, b"sagemaker wire", hashlib.sha256).digest()
    return f"ATELIER{base64.b32encode(digest).decode()[:13]}"


def hold(home: Path) -> IO[bytes]:
    """Return a file whose lock says that a platform runs in this home; it goes with the process.

    What an earlier platform announced there and could not take back is removed.

    Raises:
        SystemExit: another platform runs there.
        OSError: the home cannot be used.
    """
    open_home(home)
    lock = take_lock(home)
    for _ in range(LOCK_LOOKS):
        # Whoever looks whether a platform runs here holds the lock for a moment, too.
        if lock is None:
            SystemClock().sleep(LOCK_LOOK_SECONDS)
            lock = take_lock(home)
    if lock is None:
        raise SystemExit(
            f"a platform runs in {home} already; `atelier down --home {home}` stops it, "
            "and --home names another folder"
        )
    (home / "platform.json").unlink(missing_ok=True)
    return lock


def main(
    arguments: list[str] | None = None, *, build: Callable[..., LocalPlatform] = LocalPlatform
) -> int:
    """Run the platform until SIGTERM or SIGINT.

    Args:
        arguments: the command line; the process's own unless given.
        build: makes the platform from its settings and `on_failure`; chaos makes a faulty one.
    """
    parser = argparse.ArgumentParser(prog="python -m app.local", description=__doc__)
    parser.add_argument("--home", type=Path, default=Path(".atelier"), help="folder of all state")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="port of the API; 0: any")
    parser.add_argument("--log", type=Path, help="where to say things once it runs; as it is")
    given = parser.parse_args(arguments)
    # Photos, adapters and what notifications say are people's: nobody else on this machine may
    # read what this process or a child of it writes.
    os.umask(0o077)
    try:
        return run(given.home, given.port, build=build, log_file=given.log)
    except (AtelierError, StorageError, OSError) as problem:
        raise SystemExit(refusal(problem, given.home)) from problem


def run(
    home: Path, port: int, *, build: Callable[..., LocalPlatform], log_file: Path | None
) -> int:
    """Run a platform in a home; return the process's exit code.

    Raises:
        SystemExit: another platform runs there, or the port is taken.
        AtelierError, StorageError, OSError: it cannot start there.
    """
    lock = hold(home)
    logs.log_to_file(home / "platform.log", "platform", PARTS)
    api_listener, wire_listener = listen(port), listen(0)
    api_url = f"http://{LOOPBACK}:{api_listener.getsockname()[1]}"
    wire_url = f"http://{LOOPBACK}:{wire_listener.getsockname()[1]}"
    stop, failed = threading.Event(), threading.Event()

    def on_failure() -> None:
        failed.set()
        stop.set()

    platform = build(
        LocalSettings(home=home, upload_url=api_url + UPLOADS_PATH), on_failure=on_failure
    )
    access_key = wire_access_key(platform.secret)
    wire = build_wire(training=platform.training, endpoint=platform.endpoint, access_key=access_key)
    servers = [
        Server(api_of(platform), api_listener, name="api"),
        Server(wire, wire_listener, name="wire"),
    ]
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    platform.start()
    for server in servers:
        server.start()
    announce(
        home,
        api_url=api_url,
        sagemaker_url=wire_url,
        sagemaker_access_key_id=access_key,
        key=mint(platform.secret, "default"),
        started_at=to_iso(platform.clock.now()),
    )
    if log_file is not None:
        say_into(log_file)
    log.info(STARTED)
    stop.wait()
    log.info(STOPS)
    for server in servers:
        server.stop()
    platform.stop()
    if not failed.is_set():
        # Else what it announced stays, as after a crash: who asks learns that nobody stopped it.
        (home / "platform.json").unlink(missing_ok=True)
    lock.close()
    if failed.is_set():
        sys.stderr.write(
            f"a part of the platform could not go on, and it ended: {home / 'platform.log'} says "
            "why. Start it again: it goes on, or says what has to be done first\n"
        )
        return 1
    return 0


def api_of(platform: LocalPlatform) -> FastAPI:
    """Return the HTTP API of a platform, with what only a local one answers."""
    app = create_app(
        ports=platform.ports, secret=platform.secret, allowed_hosts=(LOOPBACK, "localhost")
    )
    add_upload_receiver(app, platform)
    add_endpoint_books(app, platform.endpoint)
    return app


def announce(home: Path, **facts: str) -> None:
    """Write platform.json whole: who reads it finds a platform that answers. It holds a key."""
    document = {
        "pid": os.getpid(),
        "home": str(home.resolve()),
        "version": version("atelier-personal-models"),
        **facts,
    }
    write_whole(home / "platform.json", json.dumps(document, indent=2).encode())


if __name__ == "__main__":
    sys.exit(main())
