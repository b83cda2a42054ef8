"""From the queue to a training job: the handshake, the pace, and four kinds of refusal."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from atelier.contracts import ids, keys
from atelier.contracts.errors import (
    Cancelled,
    CapacityMissing,
    DeadlinePassed,
    InvalidRequest,
    PoisonousTask,
    QuotaExceeded,
    ServiceUnavailable,
    Throttled,
)
from atelier.contracts.manifest import TrainingManifest
from atelier.contracts.progress import TrainingState
from atelier.contracts.records import Batch, BatchState, JobOutcome
from atelier.contracts.status import Status
from tasks import cancel, launch_round, launch_training, wake_dispatch
from tests.fakes.crashing import Crash
from tests.fakes.world import new_world
from tests.local.bench import definition


def launch(world, request, token="token-1"):
    return launch_training.run({"request": request, "token": token}, ports=world.ports)


def test_launch_training_queues_the_request_with_its_token(world):
    request = world.registered()
    assert launch(world, request) == {}
    assert [r.request for r in world.ledger.queued(limit=9)] == [request]
    assert world.read(request).token == "token-1"


def test_a_round_creates_the_job_and_completes_the_token(world):
    request = world.queued()
    assert world.dispatch() == {"epoch": 1, "more": False}
    record = world.read(request)
    assert (record.status, record.host, record.waiting_for) == (Status.LAUNCHING, "algo-1", "")
    output = world.executions.succeeded["token-1"]
    assert output.pop("wait_seconds") >= 1
    assert output == {
        "attempt": 1,
        "job": record.job,
        "host": "algo-1",
        "turn": 0,
        "state": "running",
    }
    assert world.ledger.open_batches() == []


def test_the_manifest_says_what_to_train(world):
    request = world.launched(seed=5)
    record = world.read(request)
    body = world.objects.read(keys.manifest(str(record.job)))
    sealed = TrainingManifest.from_json(body)
    task = sealed.task(request)
    definition = world.jobs.definitions[sealed.job]
    assert definition["HyperParameters"]["manifest_digest"] == ids.digest_of(body)
    assert len(task.photos) == 5
    assert (task.seed, task.attempt, task.owner) == (5, 1, record.given.owner)
    assert task.hyperparameters == record.given.hyperparameters
    assert [p.digest for p in task.photos] == sorted(p.digest for p in task.photos)


def test_a_state_that_is_entered_again_while_the_job_runs_gets_its_answer_at_once(world):
    request = world.launched()
    launch(world, request, "token-2")
    assert world.executions.succeeded["token-2"]["job"] == world.read(request).job


def test_launches_are_at_least_an_interval_apart(world):
    for user in "abcde":
        world.queued(user, token=user, execution=user)
    world.dispatch()
    times = world.jobs.created_at
    assert len(times) == 5
    assert min((b - a).total_seconds() for a, b in pairwise(times)) >= 1.0


def test_a_round_ends_in_time_and_says_that_there_is_more():
    with new_world(round_seconds=3.0) as world:
        for user in "abcdef":
            world.queued(user, token=user, execution=user)
        assert world.dispatch() == {"epoch": 1, "more": True}
        assert 3 <= len(world.jobs.jobs) < 6
        while world.dispatch()["more"]:
            assert world.clock.monotonic_seconds() < 30
        assert len(world.jobs.jobs) == 6


def test_throttling_slows_the_pace_and_loses_nobody(world):
    world.jobs.refusals = [Throttled("slower")] * 3
    for user in "ab":
        world.queued(user, token=user, execution=user)
    world.dispatch()
    assert len(world.jobs.jobs) == 2
    first, second = world.jobs.created_at
    assert (second - first).total_seconds() > 5


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (QuotaExceeded("4 of 4 instances run", quota="instances"), "4 of 4 instances run"),
        (CapacityMissing("no ml.g5.xlarge", instance_type="ml.g5.xlarge"), "no ml.g5.xlarge"),
        (Throttled("rate exceeded"), "one training job a second"),
    ],
)
def test_who_waits_is_told_what_for_and_stays_sealed_for_the_next_round(world, refusal, words):
    world.jobs.refusals = [refusal] * 1000
    request, other = world.queued("a", execution="a"), world.queued("b", execution="b")
    assert world.dispatch()["more"] is True
    record = world.read(request)
    assert record.status is Status.CLAIMED
    assert words in record.waiting_for
    assert world.read(other).status is Status.QUEUED
    assert [state for _, state in world.ledger.open_batches()] == [BatchState.SEALED]
    world.jobs.refusals = []
    world.dispatch()
    assert world.read(request).waiting_for == ""
    assert world.read(other).status is Status.LAUNCHING


def test_what_sagemaker_refuses_fails_alone_and_holds_up_nobody(world):
    world.jobs.refusals = [InvalidRequest("no such role", where="RoleArn")]
    bad = world.queued("a", token="a", execution="a")
    good = world.queued("b", token="b", execution="b")
    world.dispatch()
    assert world.read(bad).status is Status.FAILED
    assert world.read(good).status is Status.LAUNCHING
    error, cause = world.executions.failed["a"]
    assert error == "InvalidRequest"
    assert json.loads(cause)["facts"] == {"where": "RoleArn"}
    assert world.outbox() == ["onboarding.failed"]
    with pytest.raises(InvalidRequest, match="no such role"):
        launch(world, bad, "late")


def test_a_lost_answer_of_create_is_found_by_the_jobs_name(world):
    world.jobs.lose_answers = 1
    request = world.queued()
    world.dispatch()
    assert len(world.jobs.jobs) == 1
    assert world.read(request).status is Status.LAUNCHING


def test_a_job_that_ended_before_its_launch_was_written_is_settled_by_the_launcher(world):
    world.jobs.kill_callers = 1
    request = world.queued()
    with pytest.raises(Crash):
        world.dispatch()
    world.jobs.finish(next(iter(world.jobs.jobs)), "Failed", "AlgorithmError")
    world.dispatch()
    record = world.read(request)
    assert (record.job_outcome, record.job_reason) == (JobOutcome.FAILED, "AlgorithmError")


def test_a_taken_name_with_another_manifest_fails_the_request(world):
    request = world.queued()
    name = ids.job_name(ids.batch_of([(request, 1)]), 1)
    world.jobs.create(definition(name, HyperParameters={"manifest_digest": "other"}))
    world.dispatch()
    failure = world.read(request).failure
    assert failure is not None
    assert failure.error == "JobNameTaken"


def test_what_a_dead_dispatcher_left_open_is_launched(world):
    request = world.queued()
    world.ledger.create_batch(
        Batch(ids.batch_of([(request, 1)]), ((request, 1),), 1, 1, world.clock.now())
    )
    world.dispatch()
    assert world.read(request).status is Status.LAUNCHING


def test_a_request_whose_deadline_passed_in_the_queue_is_not_launched(world):
    request = world.queued(deadline_seconds=60)
    world.clock.advance(61)
    world.dispatch()
    assert world.jobs.jobs == {}
    assert world.executions.failed["token-1"][0] == "DeadlinePassed"
    assert world.read(request).status is Status.FAILED
    with pytest.raises(DeadlinePassed):
        launch(world, request)


def test_a_cancelled_request_is_never_launched_and_its_state_learns_it(world):
    request = world.queued()
    cancel.run({"request": request}, ports=world.ports)
    assert world.executions.failed["token-1"][0] == "Cancelled"
    assert world.dispatch() == {"epoch": 1, "more": False}
    assert world.jobs.jobs == {}
    with pytest.raises(Cancelled):
        launch(world, request, "token-2")


def test_entering_again_after_the_job_failed_is_the_next_attempt(world):
    request = world.launched()
    first = str(world.read(request).job)
    world.event(first, "Failed", reason="AlgorithmError")
    launch(world, request, "token-2")
    record = world.read(request)
    assert (record.attempt, record.status, record.lone_failures) == (2, Status.QUEUED, 1)
    world.dispatch()
    assert world.read(request).job not in {None, first}
    world.event(str(world.read(request).job), "Failed", reason="AlgorithmError")
    with pytest.raises(PoisonousTask, match="2 times"):
        launch(world, request, "token-3")


def test_the_next_attempt_resumes_from_the_last_checkpoint_unless_the_task_itself_failed(world):
    request = world.launched()
    record = world.read(request)
    folder = f"checkpoints/{record.job}/algo-1/{request}/state/"
    for step in (3, 6):
        world.objects.put(f"{folder}step-{step:06d}.safetensors", b"state")
    world.event(str(record.job), "Stopped", "MaxRuntimeExceeded")
    launch(world, request, "token-2")
    world.dispatch()
    body = world.objects.read(keys.manifest(str(world.read(request).job)))
    task = TrainingManifest.from_json(body).task(request)
    assert task.resume_from == f"{folder}step-000006.safetensors"


def test_a_task_that_failed_itself_starts_afresh(world):
    request = world.launched()
    record = world.read(request)
    world.objects.put(
        f"checkpoints/{record.job}/algo-1/{request}/state/step-000003.safetensors", b"state"
    )
    world.progress(request, TrainingState.FAILED)
    launch(world, request, "token-2")
    assert world.read(request).resume_from is None


def test_a_round_of_a_closed_epoch_does_nothing(world):
    world.queued()
    world.ledger.close_epoch(epoch=1, doorbell=None)
    given = {"epoch": 1}
    assert launch_round.run(given, ports=world.ports) == {"epoch": 1, "more": False}
    assert world.jobs.jobs == {}


def test_an_error_that_passes_costs_a_batch_one_scan_and_nobody_their_place(world):
    world.queued("1")
    world.queued("2")
    world.jobs.refusals = [ServiceUnavailable("no answer")]
    assert world.dispatch() == {"epoch": 1, "more": False}
    assert len(world.jobs.jobs) == 2
    assert world.ledger.open_batches() == []


def test_waking_starts_one_dispatcher_per_epoch(world):
    for _ in range(3):
        assert wake_dispatch.run({}, ports=world.ports) == {"epoch": 1}
    assert list(world.executions.executions) == [("dispatch", "dispatch-1")]
    assert world.executions.inputs["dispatch", "dispatch-1"] == {"epoch": 1}


def test_waking_after_a_round_closed_its_epoch_starts_the_next(world):
    wake_dispatch.run({}, ports=world.ports)
    assert world.dispatch() == {"epoch": 1, "more": False}
    assert wake_dispatch.run({}, ports=world.ports) == {"epoch": 2}


@pytest.mark.parametrize("status", ["FAILED", "ABORTED", "TIMED_OUT", "SUCCEEDED"])
def test_waking_after_an_execution_ended_without_closing_its_epoch_starts_the_next(world, status):
    wake_dispatch.run({}, ports=world.ports)
    world.executions.finish("dispatch", "dispatch-1", status)
    assert wake_dispatch.run({}, ports=world.ports) == {"epoch": 2}
    assert world.executions.describe("dispatch", "dispatch-2").status == "RUNNING"


def test_a_ring_during_the_last_scan_keeps_the_round_working(world):
    state = world.ledger.dispatch_state()
    world.ledger.ring()
    assert world.ledger.close_epoch(epoch=1, doorbell=state.doorbell) is False


def test_the_schedule_wakes_nobody_while_there_is_nothing_to_do(world):
    assert wake_dispatch.run({"scheduled": True}, ports=world.ports) == {"epoch": None}
    world.queued()
    assert wake_dispatch.run({"scheduled": True}, ports=world.ports) == {"epoch": 1}
