"""Who pays for a lost training: the whole table, and what it means to the next attempt."""

from __future__ import annotations

import pytest

from atelier.contracts.errors import InterruptedTooOften, PoisonousTask, passing_error_names
from atelier.contracts.progress import TrainingFailure, TrainingState
from atelier.contracts.records import JobOutcome
from atelier.contracts.status import Status
from tasks import launch_training, sync_checkpoints
from tasks.blame import BLAME, RULES, Blame, Cause, Loss, blame, cause_of_loss
from tests.fakes.world import World, new_world

FAILED, STOPPED, COMPLETED = JobOutcome.FAILED, JobOutcome.STOPPED, JobOutcome.COMPLETED
KILLED = "AlgorithmError: algo-1 left no /opt/ml/output/failure; see its log, exit code: 137"

LOSSES: list[tuple[Loss, str]] = [
    (Loss("", damaged=True, outcome=COMPLETED), "what it left was damaged"),
    (
        Loss("", error="ServiceUnavailable"),
        "the trainer met an error that passes by itself",
    ),
    (Loss("", error="Throttled"), "the trainer met an error that passes by itself"),
    (Loss("", error="ContractBroken"), "the trainer named the task"),
    (Loss("", error="ValueError"), "the trainer named the task"),
    (Loss("", error="ContractBroken", outcome=FAILED, reason=KILLED), "the trainer named the task"),
    (Loss("", outcome=FAILED, reason=KILLED), "the program was killed"),
    (Loss("", outcome=FAILED, reason="AlgorithmError: x, exit code: -9"), "the program was killed"),
    (
        Loss("", outcome=FAILED, reason="AlgorithmError: x, exit code: 143"),
        "the program was killed",
    ),
    (
        Loss("", outcome=FAILED, reason="InternalServerError: we encountered an internal error"),
        "the service failed, or had no instance",
    ),
    (
        Loss("", outcome=FAILED, reason="CapacityError: unable to provision"),
        "the service failed, or had no instance",
    ),
    (Loss("", outcome=FAILED, reason="AlgorithmError: x, exit code: 1"), "the program failed"),
    (
        Loss(
            "",
            outcome=FAILED,
            reason="AlgorithmError: exit code: 137, exit code: 1",
        ),
        "the program failed",
    ),
    (Loss("", outcome=FAILED, reason="ClientError: no memory"), "the program failed"),
    (Loss("", outcome=FAILED), "the program failed"),
    (Loss("", outcome=STOPPED, reason="MaxRuntimeExceeded"), "it ran longer than a job may"),
    (Loss("", outcome=STOPPED, reason="MaxWaitTimeExceeded"), "it was stopped or interrupted"),
    (Loss("", outcome=STOPPED, reason="Stopped"), "it was stopped or interrupted"),
    (Loss("", outcome=STOPPED), "it was stopped or interrupted"),
    (Loss("", outcome=COMPLETED, stopped=True), "the trainer left when it was asked to"),
    (Loss("", outcome=COMPLETED), "the program ended without the task"),
]


@pytest.mark.parametrize(("loss", "name"), LOSSES)
def test_each_loss_has_the_cause_of_the_first_rule_that_knows_it(loss, name):
    rule = next(rule for rule in RULES if rule.applies(loss))
    assert rule.name == name
    assert cause_of_loss(loss) is rule.cause


def test_every_rule_is_under_test():
    assert [rule.name for rule in RULES] == list(dict.fromkeys(name for _, name in LOSSES))


@pytest.mark.parametrize("outcome", JobOutcome)
@pytest.mark.parametrize("reason", ["", "anything", KILLED])
@pytest.mark.parametrize("stopped", [True, False])
def test_every_end_of_a_job_has_a_cause(outcome, reason, stopped):
    assert cause_of_loss(Loss("", outcome=outcome, reason=reason, stopped=stopped)) in Cause


def test_the_table_names_every_cause_alone_and_in_company():
    assert set(BLAME) == {(cause, alone) for cause in Cause for alone in (True, False)}


@pytest.mark.parametrize("alone", [True, False])
def test_what_comes_from_outside_is_nobodys_fault(alone):
    for error in passing_error_names():
        assert blame(Loss("", error=error), alone=alone) is Blame.NOBODY
    assert blame(Loss("", outcome=FAILED, reason=KILLED), alone=alone) is Blame.NOBODY


def lose(world: World, request: str, outcome: str, reason: str) -> None:
    """Let a request's job end, look at it, and queue it again."""
    world.event(str(world.read(request).job), outcome, reason=reason)
    sync_checkpoints.run({"request": request, "turn": 0}, ports=world.ports)
    launch_training.run({"request": request, "token": "again"}, ports=world.ports)
    world.dispatch()


def test_no_number_of_kills_makes_a_task_poisonous_but_too_many_end_it():
    with new_world(max_interruptions=5) as world:
        request = world.launched()
        for times in range(5):
            assert world.read(request).interruptions == times
            lose(world, request, "Failed", KILLED)
        record = world.read(request)
        assert (record.interruptions, record.lone_failures, record.attempt) == (5, 0, 6)
        with pytest.raises(InterruptedTooOften, match="interrupted 6 times"):
            lose(world, request, "Stopped", "")


def test_real_failures_make_a_task_poisonous_also_between_interruptions(world):
    request = world.launched()
    lose(world, request, "Failed", "AlgorithmError: no memory, exit code: 1")
    lose(world, request, "Failed", KILLED)
    with pytest.raises(PoisonousTask, match="no memory"):
        lose(world, request, "Failed", "AlgorithmError: no memory, exit code: 1")


def test_a_failure_in_company_counts_for_nobody_and_the_next_job_is_their_own():
    with new_world(tasks_per_job=3) as world:
        people = [world.queued(u, token=u, execution=u) for u in "abc"]
        world.dispatch()
        (job,) = {str(world.read(request).job) for request in people}
        world.train(people[0])
        world.event(job, "Failed", reason="AlgorithmError: no memory, exit code: 1")
        for request in people:
            sync_checkpoints.run({"request": request, "turn": 0}, ports=world.ports)
        done, *others = (world.read(request) for request in people)
        assert (done.status, done.alone) == (Status.TRAINED, False)
        assert [(o.status, o.lone_failures, o.alone) for o in others] == [
            (Status.QUEUED, 0, True)
        ] * 2
        for request in people[1:]:
            launch_training.run({"request": request, "token": request}, ports=world.ports)
        world.dispatch()
        assert len({world.read(request).job for request in people[1:]}) == 2
        lose(world, people[1], "Failed", "AlgorithmError: no memory, exit code: 1")
        assert world.read(people[1]).lone_failures == 1


def test_a_task_that_the_trainer_names_pays_also_in_company():
    with new_world(tasks_per_job=2) as world:
        bad, good = (world.queued(u, token=u, execution=u) for u in "ab")
        world.dispatch()
        world.progress(bad, TrainingState.FAILED)
        for request in (bad, good):
            sync_checkpoints.run({"request": request, "turn": 0}, ports=world.ports)
        assert (world.read(bad).lone_failures, world.read(bad).attempt) == (1, 2)
        assert (world.read(good).lone_failures, world.read(good).attempt) == (0, 1)


def test_a_trainer_that_could_not_fetch_the_photos_now_blames_nobody(world):
    request = world.launched()
    failure = TrainingFailure("ServiceUnavailable", "S3 did not answer")
    world.progress(request, TrainingState.FAILED, failure=failure)
    sync_checkpoints.run({"request": request, "turn": 0}, ports=world.ports)
    assert (world.read(request).lone_failures, world.read(request).interruptions) == (0, 1)


def test_without_its_manifest_nobody_knows_the_company_so_the_next_job_is_its_own(world):
    request = world.launched()
    for info in world.objects.list("manifests/"):
        world.objects.delete(info.key)
    lose(world, request, "Failed", "AlgorithmError: no memory, exit code: 1")
    assert (world.read(request).lone_failures, world.read(request).alone) == (0, True)
