"""SyncCheckpoints and Settle: what training hosts and events say, brought into the ledger."""

from __future__ import annotations

from itertools import permutations

import pytest

from atelier.contracts import checkpoints, keys
from atelier.contracts.control import Command, ControlMessage
from atelier.contracts.errors import AdapterRejected, Cancelled, DeadlinePassed, PoisonousTask
from atelier.contracts.progress import AdapterPointer, TrainingState
from atelier.contracts.records import JobOutcome
from atelier.contracts.status import Status
from tasks import cancel, launch_training, publish_model, sync_checkpoints
from tests.fakes.crashing import Crash
from tests.fakes.world import new_world


def sync(world, request, turn=0):
    return sync_checkpoints.run({"request": request, "turn": turn}, ports=world.ports)


def progress_key(world, request):
    record = world.read(request)
    return keys.checkpoint(str(record.job), checkpoints.progress(str(record.host), request))


def test_a_job_that_says_nothing_yet_is_waited_for(world):
    request = world.launched()
    result = sync(world, request, 2)
    assert (result["state"], result["turn"]) == ("running", 3)
    assert result["wait_seconds"] >= 1
    assert world.read(request).status is Status.LAUNCHING


def test_progress_reaches_the_ledger_and_sets_the_wait(world):
    request = world.launched()
    fields = {"step": 2, "loss": 0.25, "eta_seconds": 40.0}
    world.progress(request, TrainingState.TRAINING, **fields)
    assert sync(world, request)["wait_seconds"] == 20
    record = world.read(request)
    assert record.status is Status.TRAINING
    assert (record.step, record.loss, record.eta_seconds) == (2, 0.25, 40.0)


def test_an_estimate_ages_from_the_moment_it_was_written(world):
    request = world.launched()
    world.progress(request, TrainingState.TRAINING, eta_seconds=40.0)
    world.clock.advance(20)
    assert sync(world, request)["wait_seconds"] == 10


def test_a_done_task_is_trained_and_stays_so_when_looked_at_again(world):
    request = world.launched()
    world.train(request)
    assert sync(world, request)["state"] == "trained"
    assert world.read(request).status is Status.TRAINED
    assert sync(world, request, 1)["state"] == "trained"
    publish_model.run({"request": request}, ports=world.ports)
    assert sync(world, request, 2)["state"] == "trained"


def test_a_done_task_counts_even_when_its_job_failed_afterwards(world):
    request = world.launched()
    world.train(request)
    world.event(str(world.read(request).job), "Failed", reason="another task's host")
    assert sync(world, request)["state"] == "trained"


@pytest.mark.parametrize("path_of", [checkpoints.adapter_file, checkpoints.adapter_card])
@pytest.mark.parametrize("body", [b"damaged", None])
def test_a_finished_adapter_that_was_damaged_in_the_bucket_is_trained_again_and_nobody_pays(
    world, path_of, body
):
    request = world.launched()
    world.train(request)
    record = world.read(request)
    key = keys.checkpoint(str(record.job), path_of(str(record.host), request))
    if body is None:
        world.objects.delete(key)
    else:
        world.objects.put(key, body)
    assert sync(world, request)["state"] == "requeue"
    record = world.read(request)
    assert (record.attempt, record.lone_failures, record.interruptions) == (2, 0, 1)
    assert "not in the bucket as its host wrote it" in record.waiting_for


def test_an_adapter_of_the_right_size_with_other_bytes_is_trained_again(world):
    request = world.launched()
    world.train(request)
    record = world.read(request)
    key = keys.checkpoint(str(record.job), checkpoints.adapter_file(str(record.host), request))
    world.objects.put(key, bytes(len(world.objects.read(key))))
    assert sync(world, request)["state"] == "requeue"


def test_a_host_that_points_at_anothers_files_is_not_trained_again(world):
    request = world.launched()
    elsewhere = checkpoints.adapter_file("algo-1", "r" + "z" * 26)
    pointer = AdapterPointer(elsewhere, elsewhere, "0" * 64, 1)
    world.progress(request, TrainingState.DONE, adapter=pointer)
    assert sync(world, request)["state"] == "trained"
    with pytest.raises(AdapterRejected, match="lies outside"):
        publish_model.run({"request": request}, ports=world.ports)


@pytest.mark.parametrize(
    ("status", "secondary", "outcome", "counts"),
    [
        ("Failed", "Failed", JobOutcome.FAILED, True),
        ("Stopped", "MaxRuntimeExceeded", JobOutcome.STOPPED, True),
        ("Stopped", "MaxWaitTimeExceeded", JobOutcome.STOPPED, False),
        ("Stopped", "Stopped", JobOutcome.STOPPED, False),
        ("Completed", "Completed", JobOutcome.COMPLETED, True),
    ],
)
def test_every_end_of_a_job_without_the_task_done_queues_it_again(
    world, status, secondary, outcome, counts
):
    request = world.launched()
    world.event(str(world.read(request).job), status, secondary)
    assert world.read(request).job_outcome is outcome
    result = sync(world, request)
    assert (result["state"], result["attempt"], result["job"]) == ("requeue", 2, None)
    record = world.read(request)
    assert (record.status, record.queued_at) == (Status.QUEUED, None)
    assert (record.lone_failures, record.interruptions) == (int(counts), int(not counts))
    assert "starts again" in record.waiting_for


def test_a_loss_is_counted_once_however_often_it_is_looked_at(world):
    request = world.launched()
    world.progress(request, TrainingState.FAILED)
    for turn in range(3):
        assert sync(world, request, turn)["state"] == "requeue"
    assert world.read(request).lone_failures == 1


def test_a_task_that_failed_as_often_as_is_allowed_is_poisonous(world):
    request = world.launched()
    world.progress(request, TrainingState.FAILED)
    sync(world, request)
    launch_training.run({"request": request, "token": "token-2"}, ports=world.ports)
    world.dispatch()
    world.progress(request, TrainingState.FAILED)
    with pytest.raises(PoisonousTask, match="the loss is not finite") as caught:
        sync(world, request)
    assert caught.value.facts["attempts"] == 2


def test_one_failure_is_enough_when_the_operator_says_so():
    with new_world(max_lone_failures=1) as world:
        request = world.launched()
        world.progress(request, TrainingState.FAILED)
        with pytest.raises(PoisonousTask):
            sync(world, request)


def test_a_stopped_host_is_waited_for_until_its_jobs_end_is_known(world):
    request = world.launched()
    world.progress(request, TrainingState.STOPPED)
    assert sync(world, request)["state"] == "running"
    world.event(str(world.read(request).job), "Stopped")
    assert sync(world, request)["state"] == "requeue"


@pytest.mark.parametrize("body", [b"", b"{", b'{"schema": "atelier.progress/2"}', b"x" * 300_000])
def test_an_unreadable_progress_file_says_nothing(world, body):
    request = world.launched()
    world.objects.put(progress_key(world, request), body)
    assert sync(world, request)["state"] == "running"


def test_another_attempts_progress_says_nothing(world):
    request = world.launched()
    key = progress_key(world, request)
    world.train(request)
    body = world.objects.read(key)
    world.objects.put(key, body.replace(b'"attempt":1', b'"attempt":7'))
    assert sync(world, request)["state"] == "running"


def test_the_deadline_ends_training_and_the_job_is_told(world):
    request = world.launched(deadline_seconds=60)
    world.clock.advance(61)
    with pytest.raises(DeadlinePassed):
        sync(world, request)
    (told,) = world.objects.list("control/")
    message = ControlMessage.from_json(world.objects.read(told.key))
    assert (message.command, message.request) == (Command.CANCEL, request)


def test_a_task_that_was_done_just_in_time_is_published(world):
    request = world.launched(deadline_seconds=60)
    world.train(request)
    world.clock.advance(61)
    assert sync(world, request)["state"] == "trained"


def test_a_cancelled_request_ends_its_execution(world):
    request = world.launched()
    cancel.run({"request": request}, ports=world.ports)
    with pytest.raises(Cancelled):
        sync(world, request)


def test_training_events_in_any_order_and_number_settle_the_same():
    seen = []
    for order in permutations([("InProgress", "Training"), ("Failed", "Failed")] * 2):
        with new_world() as world:
            request = world.launched()
            for status, secondary in order:
                world.event(str(world.read(request).job), status, secondary, "no memory")
            seen.append(world.seen())
            assert world.read(request).status is Status.TRAINING
    assert all(one == seen[0] for one in seen)


def test_an_event_that_overtakes_the_launcher_is_not_lost(world):
    world.jobs.kill_callers = 1
    request = world.queued()
    with pytest.raises(Crash):
        world.dispatch()
    job = next(iter(world.jobs.jobs))
    world.event(job, "InProgress", "Training")
    record = world.read(request)
    assert (record.status, record.job, record.host) == (Status.TRAINING, job, "algo-1")
    world.dispatch()
    assert world.executions.succeeded["token-1"]["job"] == job
    assert world.read(request).status is Status.TRAINING


def test_a_manifest_that_does_not_read_holds_up_no_event(world):
    request = world.launched()
    job = str(world.read(request).job)
    world.objects.put(keys.manifest(job), b"{}")
    world.event(job, "Failed")
    assert world.read(request).job_outcome is not None


def test_what_was_said_to_a_job_goes_when_the_job_is_over(world):
    request = world.launched()
    job = str(world.read(request).job)
    cancel.run({"request": request}, ports=world.ports)
    assert len(world.objects.list("control/")) == 1
    world.event(job, "InProgress", "Training")
    assert len(world.objects.list("control/")) == 1
    world.event(job, "Stopped")
    assert world.objects.list("control/") == []


def test_a_job_whose_manifest_is_lost_is_settled_by_the_ledger(world):
    request = world.launched()
    job = str(world.read(request).job)
    world.objects.delete(keys.manifest(job))
    world.event(job, "Failed")
    assert world.read(request).job_outcome is JobOutcome.FAILED


def test_an_event_of_an_earlier_attempts_job_changes_nothing(world):
    request = world.launched()
    first = str(world.read(request).job)
    world.event(first, "Failed")
    sync(world, request)
    before = world.seen()
    world.event(first, "Failed")
    world.event(first, "InProgress", "Training")
    assert world.seen() == before


@pytest.mark.parametrize("secondary", ["Starting", "Downloading", "Interrupted", "Pending"])
def test_what_means_nothing_to_a_request_changes_nothing(world, secondary):
    job = str(world.read(world.launched()).job)
    before = world.seen()
    world.event(job, "InProgress", secondary)
    world.event(job, "Stopping")
    world.event("somebody-elses-job", "Failed")
    world.event("atelier-b" + "a" * 20 + "-1", "Failed")
    assert world.seen() == before
