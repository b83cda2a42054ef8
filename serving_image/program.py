"""The container's program: `python -m serving_image.program serve`.

The composition root of the model server: reads the environment, opens the doors at once, loads the
base model behind them, and on SIGTERM finishes what it began within SageMaker's 30 seconds.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from types import FrameType

# Before torch is imported: waiting threads of a small CPU must not burn it.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # noqa: TID251 - composition root

import uvicorn

from atelier.contracts import logs
from atelier.contracts.clock import SystemClock
from atelier.contracts.container import SERVE_COMMAND
from atelier.contracts.errors import AtelierError
from atelier.objects import open_objects
from serving_image.app import Doors, create_app
from serving_image.drawer import Drawer
from serving_image.engine import Engine, EngineState
from serving_image.loading import Loading
from serving_image.residency import Residency
from serving_image.settings import ServeSettings, from_environment

log = logging.getLogger("atelier.serving")

USAGE_EXIT_CODE = 2
FAILURE_EXIT_CODE = 1
STOP_SECONDS = 3.0
"""What the engine gets after the doors are closed: its rows' clients are gone by then."""


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run the program; return its exit code."""
    if list(arguments) != [SERVE_COMMAND]:
        sys.stderr.write(f"usage: python -m serving_image.program {SERVE_COMMAND}\n")
        return USAGE_EXIT_CODE
    logs.log_to_stream("model server", sys.stdout)
    try:
        settings = from_environment(environment)
    except (ValueError, AtelierError) as problem:
        sys.stderr.write(f"the environment does not read: {problem}\n")
        return USAGE_EXIT_CODE
    return serve(settings)


def serve(settings: ServeSettings) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code."""
    clock = SystemClock()
    residency = Residency(slots=settings.slots, host_bytes=settings.host_bytes)

    def open_drawer() -> Drawer:
        # Imported here, on the engine's thread: torch takes seconds, and the doors open meanwhile.
        from serving_image.torch_drawer import open_drawer as open_torch  # noqa: PLC0415

        return open_torch(settings)

    engine = Engine(
        open_drawer=open_drawer,
        residency=residency,
        clock=clock,
        most_rows=settings.most_rows,
        queue_rows=settings.queue_rows,
        stuck_seconds=settings.stuck_seconds,
        failed=lambda: leave(0, None),
    )
    loading = Loading(
        residency=residency,
        drawer=lambda: engine.drawer,
        objects=None if settings.artifacts is None else open_objects(settings.artifacts),
    )
    doors = Doors(
        engine=engine, residency=residency, loading=loading, settings=settings, clock=clock
    )
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(doors, closed=lambda: engine.stop(STOP_SECONDS)),
            host=settings.host,
            port=settings.port,
            http="h11",
            ws="none",
            loop="asyncio",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=int(settings.drain_seconds),
        )
    )

    def leave(_signal: int, _frame: FrameType | None) -> None:
        # Uvicorn raises the signal again after its own shutdown; then it has no one to end.
        server.should_exit = True

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    engine.start()
    server.run()
    if engine.state is EngineState.FAILED or not server.started:
        return FAILURE_EXIT_CODE
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:], os.environ)  # noqa: TID251 - composition root
    logging.shutdown()
    sys.stdout.flush()
    # Everything is finished and told. Taking 3,000 modules of torch apart takes longer than a
    # second, and aborts when the device's thread is still in one of its calls.
    os._exit(code)
