"""Every task: running it twice, or dying after any port call and running again, changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from atelier.contracts.errors import InvalidRequest, QuotaExceeded, Throttled
from atelier.contracts.progress import TrainingState
from tasks import (
    announce,
    cancel,
    launch_round,
    launch_training,
    publish_model,
    record_failure,
    register,
    settle,
    sync_checkpoints,
    wake_dispatch,
)
from tests.fakes.crashing import crash_everywhere
from tests.fakes.world import World, answer, new_world

Given = dict[str, Any]
Scene = Callable[[World], Given]


def registering(world: World) -> Given:
    world.upload()
    return {"given": world.asked(), "execution": "by-hand"}


def registering_too_few(world: World) -> Given:
    world.upload(photos=2)
    return {"given": world.asked(), "execution": "by-hand"}


def registering_a_known_model(world: World) -> Given:
    published(world)
    return {"given": world.asked(idempotency_key="again"), "execution": "second"}


def registering_again_after_a_cancel(world: World) -> Given:
    cancel.run({"request": world.queued()}, ports=world.ports)
    return {"given": world.asked(), "execution": "second"}


def launching(world: World) -> Given:
    return {"request": world.registered(), "token": "token-1"}


def launching_while_it_trains(world: World) -> Given:
    return {"request": world.launched(), "token": "token-2"}


def launching_after_its_job_failed(world: World) -> Given:
    request = world.launched()
    world.event(str(world.read(request).job), "Failed", reason="AlgorithmError")
    return {"request": request, "token": "token-2"}


def dispatching_two(world: World) -> Given:
    world.queued("a", token="token-a", execution="a")
    world.queued("b", token="token-b", execution="b")
    return {"epoch": 1}


def dispatching_while_throttled(world: World) -> Given:
    world.queued()
    world.jobs.refusals = [Throttled("slower"), Throttled("slower")]
    return {"epoch": 1}


def dispatching_while_quota_is_full(world: World) -> Given:
    world.queued()
    world.jobs.refusals = [QuotaExceeded("4 of 4 instances", quota="instances")] * 2
    return {"epoch": 1}


def dispatching_what_sagemaker_refuses(world: World) -> Given:
    world.queued()
    world.jobs.refusals = [InvalidRequest("no such role", where="RoleArn")] * 100
    return {"epoch": 1}


def dispatching_who_was_cancelled(world: World) -> Given:
    world.jobs.refusals = [QuotaExceeded("full", quota="instances")] * 100
    request = world.launched()
    world.jobs.refusals = []
    cancel.run({"request": request}, ports=world.ports)
    return {"epoch": 1}


def waking(world: World) -> Given:
    world.queued()
    return {}


def waking_after_an_abort(world: World) -> Given:
    world.queued()
    wake_dispatch.run({}, ports=world.ports)
    world.executions.finish("dispatch", "dispatch-1", "ABORTED")
    return {}


def syncing_a_running_job(world: World) -> Given:
    request = world.launched()
    world.progress(request, TrainingState.TRAINING, step=2, eta_seconds=20.0)
    return {"request": request, "turn": 0}


def syncing_a_done_task(world: World) -> Given:
    request = world.launched()
    world.train(request)
    return {"request": request, "turn": 1}


def syncing_a_lost_job(world: World) -> Given:
    request = world.launched()
    world.event(str(world.read(request).job), "Stopped", "MaxRuntimeExceeded")
    return {"request": request, "turn": 0}


def syncing_a_poisonous_task(world: World) -> Given:
    request = world.launched()
    for _ in range(2):
        world.progress(request, TrainingState.FAILED)
        given = {"request": request, "turn": 0}
        if world.read(request).lone_failures == 1:
            return given
        sync_checkpoints.run(given, ports=world.ports)
        launch_training.run({"request": request, "token": "token-2"}, ports=world.ports)
        world.dispatch()
    raise AssertionError("the second failure comes back above")


def syncing_past_the_deadline(world: World) -> Given:
    request = world.launched(deadline_seconds=60)
    world.clock.advance(100)
    return {"request": request, "turn": 0}


def publishing(world: World) -> Given:
    request = world.launched()
    world.train(request)
    sync_checkpoints.run({"request": request, "turn": 0}, ports=world.ports)
    return {"request": request}


def published(world: World) -> Given:
    given = publishing(world)
    publish_model.run(given, ports=world.ports)
    return {**given, "outcome": "ready"}


def recording(world: World) -> Given:
    request = world.launched()
    error = {"Error": "PoisonousTask", "Cause": '{"errorMessage": "it failed twice"}'}
    data = {**world.asked(), "onboarding": {"request": request}, "error": error}
    return {"execution": "by-hand", "given": data}


def settling_a_start(world: World) -> Given:
    job = str(world.read(world.launched()).job)
    return {
        "TrainingJobName": job,
        "TrainingJobStatus": "InProgress",
        "SecondaryStatus": "Training",
    }


def settling_an_end(world: World) -> Given:
    job = str(world.read(world.launched()).job)
    return {"TrainingJobName": job, "TrainingJobStatus": "Failed", "FailureReason": "no memory"}


def cancelling_who_waits(world: World) -> Given:
    return {"request": world.queued()}


def cancelling_who_trains(world: World) -> Given:
    return {"request": world.launched()}


SCENES: list[tuple[Any, Scene]] = [
    (register, registering),
    (register, registering_too_few),
    (register, registering_a_known_model),
    (register, registering_again_after_a_cancel),
    (launch_training, launching),
    (launch_training, launching_while_it_trains),
    (launch_training, launching_after_its_job_failed),
    (launch_round, dispatching_two),
    (launch_round, dispatching_while_throttled),
    (launch_round, dispatching_while_quota_is_full),
    (launch_round, dispatching_what_sagemaker_refuses),
    (launch_round, dispatching_who_was_cancelled),
    (wake_dispatch, waking),
    (wake_dispatch, waking_after_an_abort),
    (sync_checkpoints, syncing_a_running_job),
    (sync_checkpoints, syncing_a_done_task),
    (sync_checkpoints, syncing_a_lost_job),
    (sync_checkpoints, syncing_a_poisonous_task),
    (sync_checkpoints, syncing_past_the_deadline),
    (publish_model, publishing),
    (announce, published),
    (record_failure, recording),
    (settle, settling_a_start),
    (settle, settling_an_end),
    (cancel, cancelling_who_waits),
    (cancel, cancelling_who_trains),
]


@pytest.mark.parametrize(("task", "scene"), SCENES, ids=[s.__name__ for _, s in SCENES])
def test_dying_after_any_port_call_and_running_again_leaves_what_one_run_leaves(task, scene):
    given: Given = {}

    @contextmanager
    def world() -> Iterator[World]:
        with new_world() as fresh:
            given.update(scene(fresh))
            yield fresh

    def run(ports):
        return answer(task.run, given)(ports)

    assert crash_everywhere(run, world, World.seen) > 0
