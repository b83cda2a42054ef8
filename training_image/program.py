"""The container's program: `python -m training_image.program train`.

The composition root of a training host: reads the environment, the host's share of the manifest,
and says of every task that it waits, before torch is imported. Its exit code speaks of the host:
0 when the work is done or was asked to stop, 1 when the host or all of its tasks failed; then
`/opt/ml/output/failure` says why.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from contextvars import copy_context
from types import FrameType

from atelier.contracts import logs
from atelier.contracts.clock import Clock, SystemClock
from atelier.contracts.container import FAILURE_CHARACTERS, TRAIN_COMMAND, MlFolder
from atelier.contracts.errors import AtelierError
from atelier.contracts.progress import TrainingState
from atelier.objects import Objects, open_objects, replace_file
from training_image.assignment import Assignment, read_assignment
from training_image.control import ControlChannel
from training_image.reporter import Reporter
from training_image.settings import TrainSettings, from_environment
from training_image.tree import CheckpointTree

log = logging.getLogger("atelier.training")

USAGE_EXIT_CODE = 2
FAILURE_EXIT_CODE = 1


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run the program; return its exit code."""
    if list(arguments) != [TRAIN_COMMAND]:
        sys.stderr.write(f"usage: python -m training_image.program {TRAIN_COMMAND}\n")
        return USAGE_EXIT_CODE
    logs.log_to_stream("training host", sys.stdout)
    try:
        settings = from_environment(environment)
    except ValueError as problem:
        sys.stderr.write(f"the environment does not read: {problem}\n")
        return USAGE_EXIT_CODE
    stop = threading.Event()

    def leave(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    try:
        failure = train(settings, stop=stop)
    except AtelierError as problem:
        log.exception("the host failed")
        failure = f"{problem.name()}: {problem.message}"
    except Exception as problem:  # whatever it was, the job's FailureReason says it
        log.exception("the host failed")
        failure = f"{type(problem).__name__}: {problem}"
    if failure is None:
        return 0
    tell_failure(settings.ml, failure)
    return FAILURE_EXIT_CODE


def train(settings: TrainSettings, *, stop: threading.Event) -> str | None:
    """Train this host's share; return why the host failed, or None.

    Raises:
        AtelierError: the manifest, the bucket or the base model fails all tasks at once.
    """
    clock = SystemClock()
    objects = open_objects(settings.objects)
    assignment = read_assignment(settings.ml, objects=objects)
    job, host = assignment.manifest.job, assignment.host
    with logs.about(job=job, host=host):
        return _train_share(settings, assignment, objects=objects, clock=clock, stop=stop)


def _train_share(
    settings: TrainSettings,
    assignment: Assignment,
    *,
    objects: Objects,
    clock: Clock,
    stop: threading.Event,
) -> str | None:
    job, host = assignment.manifest.job, assignment.host
    count = len(assignment.tasks)
    log.info("host %s trains %d %s of %s", host, count, "task" if count == 1 else "tasks", job)
    tree = CheckpointTree(settings.ml.checkpoints)
    reporter = Reporter(
        job=job, host=host, tree=tree, clock=clock, every_seconds=settings.report_seconds
    )
    reporter.begin(assignment.tasks)
    control = ControlChannel(objects=objects, job=job, host=host, clock=clock)
    listening = threading.Event()
    listener = threading.Thread(
        # A thread begins without a context: its lines are of this job, too.
        target=copy_context().run,
        args=(control.serve, listening),
        kwargs={"every_seconds": settings.poll_seconds},
        name="control",
        daemon=True,
    )
    listener.start()
    try:
        # Imported here: torch and diffusers take seconds, and progress.json is out already. A
        # garbage collector that walks them while they are imported takes one more, and finds none.
        gc.disable()
        from training_image.trainer import Trainer  # noqa: PLC0415
        from training_image.workshop import Doors, open_workshop  # noqa: PLC0415

        doors = Doors(
            objects=objects, tree=tree, reporter=reporter, control=control, clock=clock, stop=stop
        )
        workshop = open_workshop(settings, assignment, doors)
        gc.freeze()
        gc.enable()
        done = Trainer(assignment.tasks, workshop).run()
    finally:
        listening.set()
    log.info("nothing is left to do" if done else "stopped as asked; every task is saved")
    return all_failed(reporter) if done else None


def all_failed(reporter: Reporter) -> str | None:
    """Return what to say of the host if every one of its tasks failed, else None."""
    said = reporter.all_said()
    failures = [p.failure for p in said if p.state is TrainingState.FAILED and p.failure]
    if not failures or len(failures) < len(said):
        return None
    first = failures[0]
    return f"all {len(said)} tasks failed; the first: {first.error}: {first.message}"


def tell_failure(ml: MlFolder, text: str) -> None:
    """Write `/opt/ml/output/failure`, of which SageMaker shows the first 1,024 characters."""
    ml.failure.parent.mkdir(parents=True, exist_ok=True)
    replace_file(ml.failure, text[:FAILURE_CHARACTERS].encode())


if __name__ == "__main__":
    # Before torch and transformers are imported: waiting threads of a small CPU must not burn it,
    # and nothing is ever fetched from a model hub.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # noqa: TID251 - composition root
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # noqa: TID251 - composition root
    code = main(sys.argv[1:], os.environ)  # noqa: TID251 - composition root
    # Without this the interpreter walks all of torch once more before it leaves: a second.
    gc.freeze()
    sys.exit(code)
