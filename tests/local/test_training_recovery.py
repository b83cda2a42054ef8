"""What becomes of jobs when the platform is killed, goes down, or its storage fails."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from atelier.contracts.clock import ManualClock
from atelier.contracts.errors import NotFound, ServiceUnavailable
from infra.local.job_record import JobStatus, Secondary
from infra.local.programs import ProcessIdentity
from tests.local.bench import QUICK, TrainingBench, definition, finish, turns_until, until
from tests.local.failing import FailingObjects
from tests.local.test_training_contract import SAVE_AND_LEAVE, is_running

REPOSITORY = Path(__file__).parents[2]

COUNT_STARTS = """
    starts = ML / "checkpoints/starts"
    before = starts.read_text() if starts.exists() else ""
    save("starts", before + "x")
    save("pid", str(os.getpid()))
    if before:
        sys.exit(0)
    time.sleep(600)
"""


def kill_platform_while_it_trains(bench: TrainingBench, body: str) -> str:
    """Run a job on a platform of its own, kill that with SIGKILL; return the program's pid."""
    (bench.folder / "body.py").write_text(body)
    platform = subprocess.Popen(
        [sys.executable, "-m", "tests.local.platform_program", str(bench.folder)],
        cwd=REPOSITORY,
    )
    pid = "checkpoints/job-1/pid"
    turns_until(lambda: None, lambda: bench.objects.info(pid) is not None)
    platform.kill()
    platform.wait()
    return bench.objects.read(pid).decode()


def test_programs_die_with_the_platform(bench: TrainingBench):
    pid = kill_platform_while_it_trains(bench, COUNT_STARTS)
    turns_until(lambda: None, lambda: not is_running(pid))


def test_a_job_that_ran_when_the_platform_was_killed_begins_again_from_its_checkpoints(
    bench: TrainingBench,
):
    kill_platform_while_it_trains(bench, COUNT_STARTS)
    service = bench.service(COUNT_STARTS)
    service.recover()
    record = finish(service)
    assert record.status is JobStatus.COMPLETED
    assert bench.objects.read("checkpoints/job-1/starts") == b"xx"
    assert [step.status.value for step in record.transitions].count("Starting") == 2
    assert record.retries == 0


def test_a_platform_that_is_killed_again_and_again_is_nobodys_fault(bench: TrainingBench):
    service = bench.service("save('ready'); time.sleep(600)")
    service.create(definition())
    for _ in range(5):
        train(service)
        service = bench.service("save('ready'); time.sleep(600)")
        service.recover()
    again = bench.service("")
    again.recover()
    record = finish(again)
    assert (record.status, record.retries) == (JobStatus.COMPLETED, 0)


def test_the_time_in_which_no_platform_ran_is_no_run_time(bench: TrainingBench):
    clock = ManualClock()
    service = bench.service("time.sleep(600)", clock=clock)
    service.create(definition())
    until(service, lambda: service.describe_record("job-1").secondary is Secondary.TRAINING)
    clock.advance(7200)
    service = bench.service("", clock=clock)
    service.recover()
    assert finish(service).status is JobStatus.COMPLETED


def test_a_job_that_loses_its_instances_saves_and_begins_again_without_a_retry(
    bench: TrainingBench,
):
    body = "if (ML / 'checkpoints/state').exists(): sys.exit(0)\n" + textwrap.dedent(SAVE_AND_LEAVE)
    service = bench.service(body)
    service.create(definition())
    until(service, lambda: bench.objects.info("checkpoints/job-1/ready") is not None)
    service.interrupt("job-1")
    record = finish(service)
    assert (record.status, record.retries) == (JobStatus.COMPLETED, 0)
    stages = [step.status.value for step in record.transitions]
    assert stages.count("Interrupted") == 1
    assert stages.count("Training") == 2
    assert bench.objects.read("checkpoints/job-1/state") == b"saved"


def test_a_program_that_outlives_the_loss_of_its_instance_is_killed(bench: TrainingBench):
    body = """
    if (ML / "checkpoints/pid").exists(): sys.exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    save("pid", str(os.getpid()))
    time.sleep(600)
    """
    service = bench.service(body, settings=replace(QUICK, grace_seconds=0.05))
    service.create(definition())
    until(service, lambda: bench.objects.info("checkpoints/job-1/pid") is not None)
    service.interrupt("job-1")
    assert finish(service).status is JobStatus.COMPLETED


def test_instances_of_a_job_that_does_not_run_cannot_be_lost(bench: TrainingBench):
    service = bench.service("")
    service.create(definition())
    service.interrupt("job-1")
    assert [step.status.value for step in finish(service).transitions].count("Interrupted") == 0
    service.interrupt("job-1")
    with pytest.raises(NotFound):
        service.interrupt("job-2")


def test_what_runs_is_told_by_job_host_and_process(bench: TrainingBench):
    service = bench.service("save('pid', str(os.getpid())); time.sleep(600)")
    service.create(definition())
    assert service.running() == []
    until(service, lambda: bench.objects.info("checkpoints/job-1/pid") is not None)
    pid = int(bench.objects.read("checkpoints/job-1/pid"))
    assert service.running() == [("job-1", "algo-1", pid)]


def test_a_program_that_is_killed_from_outside_fails_its_job_with_exit_code_137(
    bench: TrainingBench,
):
    service = bench.service("save('ready'); time.sleep(600)")
    service.create(definition())
    until(service, lambda: bench.objects.info("checkpoints/job-1/ready") is not None)
    [(_, _, pid)] = service.running()
    os.kill(pid, signal.SIGKILL)
    reason = finish(service).failure_reason
    assert reason.startswith("AlgorithmError: ")
    assert reason.endswith(", exit code: 137")


def test_what_a_killed_program_started_is_ended_at_the_next_start(bench: TrainingBench):
    body = """
    child = os.fork()
    if child:
        save("pid", str(child))
    time.sleep(600)
    """
    pid = kill_platform_while_it_trains(bench, body)
    bench.service(body).recover()
    turns_until(lambda: None, lambda: not is_running(pid))


def test_a_process_that_got_a_recorded_id_later_is_left_alone(bench: TrainingBench):
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    service = bench.service("")
    service.create(definition())
    pretend(
        service,
        secondary=Secondary.TRAINING,
        processes={"algo-1": ProcessIdentity(bystander.pid, "long ago")},
    )
    bench.service("").recover()
    assert bystander.poll() is None
    bystander.communicate(b"\n")


@pytest.mark.parametrize("keep", [False, True])
def test_the_folder_of_a_job_that_ended_as_the_platform_was_killed_goes_unless_it_is_kept(
    bench: TrainingBench, keep
):
    service = bench.service("")
    service.create(definition())
    finish(service)
    left = bench.folder / "training" / "jobs" / "job-1"
    (left / "algo-1" / "model").mkdir(parents=True)
    service.create(definition("job-2"))
    going_on = left.with_name("job-2")
    (going_on / "algo-1").mkdir(parents=True)
    bench.service("", settings=replace(QUICK, keep_folders=keep)).recover()
    assert (left.exists(), going_on.exists()) == (keep, True)


def train(service) -> None:
    until(service, lambda: service.describe_record("job-1").secondary is Secondary.TRAINING)


def pretend(service, **changes) -> None:
    """Put a job into a state in which a killed platform may have left it."""
    service._store.change("job-1", lambda job: replace(job, **changes))


def test_a_job_that_had_not_started_when_the_platform_was_killed_starts(bench: TrainingBench):
    bench.service("").create(definition())
    service = bench.service("")
    service.recover()
    assert finish(service).status is JobStatus.COMPLETED


def test_a_job_that_was_stopping_when_the_platform_was_killed_is_stopped(bench: TrainingBench):
    service = bench.service("")
    service.create(definition())
    service.stop("job-1")
    service = bench.service("")
    service.recover()
    assert service.describe("job-1").status == "Stopped"


def test_a_job_that_was_uploading_when_the_platform_was_killed_is_completed(bench: TrainingBench):
    service = bench.service("(ML / 'model/weights').write_text('w')")
    service.create(definition())
    until(service, lambda: service.describe_record("job-1").secondary is Secondary.UPLOADING)
    service = bench.service("sys.exit(1)")
    service.recover()
    record = finish(service)
    assert record.status is JobStatus.COMPLETED
    assert bench.objects.info("training-output/job-1/output/model.tar.gz")


def test_events_that_a_killed_platform_had_not_told_are_told_by_the_next(bench: TrainingBench):
    bench.service("").create(definition())
    service = bench.service("")
    service.recover()
    finish(service)
    told = [event["detail"]["SecondaryStatus"] for event in bench.events]
    assert told[:2] == ["Starting", "Downloading"]


def test_a_platform_that_goes_down_lets_programs_save(bench: TrainingBench):
    service = bench.service(SAVE_AND_LEAVE)
    service.create(definition(RetryStrategy={"MaximumRetryAttempts": 3}))
    until(service, lambda: bench.objects.info("checkpoints/job-1/ready") is not None)
    service.close()
    assert bench.objects.read("checkpoints/job-1/state") == b"saved"
    again = bench.service("")
    again.recover()
    assert finish(again).status is JobStatus.COMPLETED


def test_a_program_that_does_not_leave_is_killed_when_the_platform_goes_down(bench: TrainingBench):
    service = bench.service(
        """
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        save("pid", str(os.getpid()))
        time.sleep(600)
        """,
        settings=replace(QUICK, shutdown_seconds=0.05),
    )
    service.create(definition())
    until(service, lambda: bench.objects.info("checkpoints/job-1/pid") is not None)
    service.close()
    assert not is_running(bench.objects.read("checkpoints/job-1/pid").decode())


def test_a_bucket_that_fails_for_a_while_delays_a_job_and_loses_nothing(bench: TrainingBench):
    bench.objects = FailingObjects(bench.objects, failures=5)
    clock = ManualClock()
    service = bench.service("save('a', 'a'); (ML / 'model/w').write_text('w')", clock=clock)
    service.create(definition())
    turns_until(
        lambda: (service.tick(), clock.advance(1)),
        lambda: service.describe_record("job-1").ended,
    )
    assert service.describe("job-1").status == "Completed"
    assert bench.objects.read("checkpoints/job-1/a") == b"a"
    assert bench.objects.info("training-output/job-1/output/model.tar.gz")


def test_a_bucket_that_fails_for_too_long_is_an_internal_error(bench: TrainingBench):
    bench.objects = FailingObjects(bench.objects, failures=10**6)
    clock = ManualClock()
    service = bench.service("save('a', 'a')", clock=clock)
    service.create(definition())
    turns_until(
        lambda: (service.tick(), clock.advance(7)),
        lambda: service.describe_record("job-1").ended,
    )
    assert service.describe("job-1").failure_reason == "InternalServerError: the disk is full"


class FullDisk:
    """A bucket whose disk is full until it is told otherwise."""

    def __init__(self, objects) -> None:
        self._objects = objects
        self.full = True

    def put(self, key: str, body: bytes, **more):
        if self.full:
            raise ServiceUnavailable("no room", errno=errno.ENOSPC)
        return self._objects.put(key, body, **more)

    def __getattr__(self, name: str):
        return getattr(self._objects, name)


def test_a_job_waits_for_room_on_the_disk_however_long_it_takes(bench: TrainingBench):
    bench.objects = FullDisk(bench.objects)
    clock = ManualClock()
    service = bench.service("save('a', 'a')", clock=clock)
    service.create(definition())
    for _ in range(50):
        service.tick()
        clock.advance(60)
    assert not service.describe_record("job-1").ended
    bench.objects.full = False
    turns_until(
        lambda: (service.tick(), clock.advance(1)),
        lambda: service.describe_record("job-1").ended,
    )
    assert service.describe("job-1").status == "Completed"
    assert service.describe_record("job-1").retries == 0


def test_a_program_that_fails_for_want_of_room_had_an_internal_error(bench: TrainingBench):
    body = """
    if (ML / "checkpoints/once").exists(): sys.exit(0)
    save("once")
    (ML / "output/failure").write_text("OSError: [Errno 28] No space left on device")
    sys.exit(1)
    """
    record = bench.run(body, RetryStrategy={"MaximumRetryAttempts": 1})
    assert (record.status, record.retries) == (JobStatus.COMPLETED, 1)


def test_a_program_that_lacks_room_again_and_again_fails_by_no_fault_of_its_own(
    bench: TrainingBench,
):
    record = bench.run(
        """
        (ML / "output/failure").write_text("OSError: [Errno 28] No space left on device")
        sys.exit(1)
        """
    )
    assert record.failure_reason == "InternalServerError: the disk was full"


@pytest.mark.parametrize("moment", range(6))
def test_killed_between_any_two_turns_a_job_still_ends_once(bench: TrainingBench, moment: int):
    body = "save('a', 'a')"
    service = bench.service(body)
    service.create(definition(RetryStrategy={"MaximumRetryAttempts": 2}))
    for _ in range(moment):
        service.tick()
    service = bench.service(body)  # the earlier one never gets another turn
    service.recover()
    assert finish(service).status is JobStatus.COMPLETED
    ends = [step for step in finish(service).transitions if step.status is Secondary.COMPLETED]
    assert len(ends) == 1
    assert bench.objects.read("checkpoints/job-1/a") == b"a"


def test_a_job_whose_definition_no_longer_reads_fails_and_holds_up_nobody(bench: TrainingBench):
    service = bench.service("")
    service.create(definition())
    service.create(definition("job-2"))
    elsewhere = definition(OutputDataConfig={"S3OutputPath": "file:///moved/away/"})
    pretend(service, definition=elsewhere)
    service = bench.service("")
    service.recover()
    assert finish(service, "job-2").status is JobStatus.COMPLETED
    reason = finish(service).failure_reason
    assert reason.startswith("InternalServerError: CreateTrainingJob: OutputDataConfig")
