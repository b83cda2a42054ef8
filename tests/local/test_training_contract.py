"""SageMaker's training container contract, as a program of the image meets it."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from atelier.contracts.clock import ManualClock, SystemClock
from infra.local.job_record import JobStatus, Secondary
from infra.local.training import TrainingSettings
from tests.local.bench import (
    BUCKET,
    TrainingBench,
    definition,
    finish,
    hosts,
    log_of,
    turns_until,
    until,
)

TELL_ALL = """
    config = ML / "input/config"
    print(json.dumps({
        "hyperparameters": json.loads((config / "hyperparameters.json").read_text()),
        "resources": json.loads((config / "resourceconfig.json").read_text()),
        "inputs": json.loads((config / "inputdataconfig.json").read_text()),
        "environment": dict(os.environ),
        "arguments": sys.argv[1:],
        "files": sorted(str(p.relative_to(ML)) for p in ML.rglob("*") if p.is_file()),
    }))
"""


def read_archive(body: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(body), mode="r:gz") as archive:
        return {m.name: archive.extractfile(m).read() for m in archive.getmembers()}


def test_a_program_that_exits_0_completes_the_job(bench: TrainingBench):
    record = bench.run("")
    assert record.status is JobStatus.COMPLETED
    assert [step.status.value for step in record.transitions] == [
        "Starting",
        "Downloading",
        "Training",
        "Uploading",
        "Completed",
    ]
    assert all(step.ended_at for step in record.transitions)


def test_every_host_reads_its_place_among_the_sorted_hosts(bench: TrainingBench):
    settings = TrainingSettings(
        creates_per_second=0, describes_per_second=0, sync_seconds=0.02, instance_quota=11
    )
    bench.run(TELL_ALL, settings=settings, ResourceConfig=hosts(11))
    told = json.loads(log_of(bench, host="algo-10"))["resources"]
    assert told["current_host"] == "algo-10"
    assert told["hosts"][:4] == ["algo-1", "algo-10", "algo-11", "algo-2"]
    assert told["network_interface_name"]


def test_the_program_sees_hyperparameters_and_a_clean_environment(bench: TrainingBench):
    bench.run(TELL_ALL, Environment={"ATELIER_OBJECTS": BUCKET})
    told = json.loads(log_of(bench))
    assert told["hyperparameters"] == {"manifest_key": "manifests/job-1.json"}
    assert told["arguments"] == ["train"]
    environment = told["environment"]
    environment.pop("LC_CTYPE", None)  # Python sets it for itself in the C locale
    assert environment.pop("ATELIER_ML_ROOT").endswith("/training/jobs/job-1/algo-1")
    assert environment == {
        "PATH": "/usr/bin:/bin",
        "BAKED_IN": "yes",
        "ATELIER_OBJECTS": BUCKET,
        "TRAINING_JOB_NAME": "job-1",
        "TRAINING_JOB_ARN": "arn:aws:sagemaker:local:000000000000:training-job/job-1",
    }


def channel(name: str, prefix: str, distribution: str = "FullyReplicated") -> dict:
    return {
        "ChannelName": name,
        "ContentType": "image/png",
        "DataSource": {
            "S3DataSource": {
                "S3DataType": "S3Prefix",
                "S3Uri": BUCKET + prefix,
                "S3DataDistributionType": distribution,
            }
        },
    }


def test_channels_are_copied_before_the_program_starts(bench: TrainingBench, objects):
    objects.put("data/a/one.png", b"1")
    objects.put("data/two.png", b"2")
    bench.run(TELL_ALL, InputDataConfig=[channel("photos", "data"), channel("same", "data/")])
    told = json.loads(log_of(bench))
    assert [f for f in told["files"] if f.startswith("input/data")] == [
        "input/data/photos/a/one.png",
        "input/data/photos/two.png",
        "input/data/same/a/one.png",
        "input/data/same/two.png",
    ]
    assert told["inputs"]["photos"] == {
        "ContentType": "image/png",
        "TrainingInputMode": "File",
        "S3DistributionType": "FullyReplicated",
        "RecordWrapperType": "None",
    }


def test_a_sharded_channel_is_divided_among_the_hosts(bench: TrainingBench, objects):
    for name in "abc":
        objects.put(f"data/{name}", b"x")
    bench.run(
        TELL_ALL,
        ResourceConfig=hosts(2),
        InputDataConfig=[channel("photos", "data/", "ShardedByS3Key")],
    )
    shares = [
        [f for f in json.loads(log_of(bench, host=host))["files"] if "input/data" in f]
        for host in ("algo-1", "algo-2")
    ]
    assert shares == [
        ["input/data/photos/a", "input/data/photos/c"],
        ["input/data/photos/b"],
    ]


def test_a_channel_without_objects_fails_the_job_before_its_program_runs(bench: TrainingBench):
    record = bench.run("", InputDataConfig=[channel("photos", "nothing/")])
    assert record.status is JobStatus.FAILED
    assert record.failure_reason.startswith("ClientError: Data download failed: channel photos")
    assert not (bench.folder / "logs").exists()


def test_model_and_output_of_all_hosts_are_uploaded_as_archives(bench: TrainingBench, objects):
    record = bench.run(
        """
        host = json.loads((ML / "input/config/resourceconfig.json").read_text())["current_host"]
        (ML / "model" / host).mkdir()
        (ML / "model" / host / "weights").write_text("of " + host)
        (ML / "model" / "link").symlink_to("/etc/passwd")
        (ML / "output/data/report").write_text("good")
        """,
        ResourceConfig=hosts(2),
    )
    place = "training-output/job-1/output"
    assert read_archive(objects.read(f"{place}/model.tar.gz")) == {
        "algo-1/weights": b"of algo-1",
        "algo-2/weights": b"of algo-2",
    }
    assert read_archive(objects.read(f"{place}/output.tar.gz")) == {"report": b"good"}
    assert record.model_artifacts == f"{BUCKET}{place}/model.tar.gz"


def test_outputs_are_uploaded_file_by_file_without_compression(bench: TrainingBench, objects):
    bench.run(
        "(ML / 'model/weights').write_text('w')",
        OutputDataConfig={"S3OutputPath": BUCKET + "out", "CompressionType": "NONE"},
    )
    assert objects.read("out/job-1/output/model/weights") == b"w"


def test_a_failed_host_fails_the_job_with_the_beginning_of_its_failure_file(bench: TrainingBench):
    record = bench.run("(ML / 'output/failure').write_text('no photos ' + 'x' * 2000); sys.exit(3)")
    assert record.status is JobStatus.FAILED
    assert record.failure_reason.startswith("AlgorithmError: no photos xxx")
    assert record.failure_reason.endswith(", exit code: 3")
    assert len(record.failure_reason) == 1024


def test_a_failed_host_ends_the_others_and_keeps_what_all_of_them_checkpointed(
    bench: TrainingBench, objects
):
    record = bench.run(
        """
        host = json.loads((ML / "input/config/resourceconfig.json").read_text())["current_host"]
        save(host, "state")
        if host == "algo-2":
            sys.exit(1)
        time.sleep(600)
        """,
        ResourceConfig=hosts(2),
    )
    assert record.status is JobStatus.FAILED
    assert "algo-2 left no /opt/ml/output/failure" in record.failure_reason
    assert objects.read("checkpoints/job-1/algo-2") == b"state"


def test_a_program_that_is_killed_fails_the_job_with_the_signal(bench: TrainingBench):
    record = bench.run("os.kill(os.getpid(), signal.SIGKILL)")
    assert record.failure_reason.endswith(", exit code: 137")


def test_a_program_that_cannot_be_started_fails_the_job(bench: TrainingBench):
    service = bench.service("")
    (bench.folder / "program.py").unlink()
    service.create(definition())
    assert finish(service).status is JobStatus.FAILED


SAVE_AND_LEAVE = """
    def leave(*_):
        save("state", "saved")
        (ML / "model/weights").write_text("w")
        sys.exit(0)
    signal.signal(signal.SIGTERM, leave)
    save("ready", "")
    time.sleep(600)
"""


def test_a_stopped_job_gets_sigterm_and_keeps_what_it_saves(bench: TrainingBench, objects):
    service = bench.service(SAVE_AND_LEAVE)
    service.create(definition())
    until(service, lambda: objects.info("checkpoints/job-1/ready") is not None)
    service.stop("job-1")
    assert service.describe("job-1").status == "Stopping"
    record = finish(service)
    assert record.status is JobStatus.STOPPED
    assert record.secondary is Secondary.STOPPED
    assert objects.read("checkpoints/job-1/state") == b"saved"
    assert objects.info("training-output/job-1/output/model.tar.gz")


def test_a_program_that_ignores_sigterm_is_killed_with_its_children_after_the_grace_period(
    bench: TrainingBench, objects
):
    clock = ManualClock()
    service = bench.service(
        """
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = os.fork()
        if child:
            save("child", str(child))
        time.sleep(600)
        """,
        clock=clock,
        settings=TrainingSettings(
            creates_per_second=0, describes_per_second=0, stops_per_second=0, sync_seconds=0
        ),
    )
    service.create(definition())
    until(service, lambda: objects.info("checkpoints/job-1/child") is not None)
    child = objects.read("checkpoints/job-1/child").decode()
    service.stop("job-1")
    service.tick()
    for _ in range(3):
        clock.advance(39)
        service.tick()
        assert service.describe_record("job-1").status is JobStatus.STOPPING
    clock.advance(4)
    assert finish(service).status is JobStatus.STOPPED
    turns_until(service.tick, lambda: not is_running(child))


def is_running(pid: str) -> bool:
    try:
        stat = Path("/proc", pid, "stat")
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_job_at_its_longest_run_time_ends_as_stopped(bench: TrainingBench, objects):
    clock = ManualClock()
    service = bench.service(SAVE_AND_LEAVE, clock=clock)
    service.create(definition(StoppingCondition={"MaxRuntimeInSeconds": 60}))
    turns_until(
        lambda: (service.tick(), clock.advance(0.01)),
        lambda: objects.info("checkpoints/job-1/ready") is not None,
    )
    clock.advance(60)
    record = finish(service)
    assert record.status is JobStatus.STOPPED
    assert record.secondary is Secondary.MAX_RUNTIME_EXCEEDED
    assert record.training_seconds >= 60


def test_a_job_that_is_stopped_before_it_starts_never_runs(bench: TrainingBench):
    service = bench.service("")
    service.create(definition())
    service.stop("job-1")
    record = finish(service)
    assert record.status is JobStatus.STOPPED
    assert record.started_at is None
    assert record.training_seconds == 0


def test_stopping_an_ended_job_changes_nothing(bench: TrainingBench):
    record = bench.run("")
    bench.services[0].stop("job-1")
    assert bench.services[0].describe_record("job-1") == record


def test_billed_is_the_time_from_ready_hosts_to_the_end_rounded_up(bench: TrainingBench):
    clock = ManualClock()
    service = bench.service("", clock=clock)
    service.create(definition())
    clock.advance(100)
    service.tick()
    clock.advance(2.5)
    record = finish(service)
    assert record.training_seconds == 3


def test_the_folders_of_an_ended_job_are_gone_and_its_log_stays(bench: TrainingBench):
    bench.run("print('hello')")
    assert not (bench.folder / "training/jobs/job-1").exists()
    assert log_of(bench) == "hello\n"


def test_folders_stay_where_a_person_wants_to_look_into_them(bench: TrainingBench):
    bench.run("", settings=TrainingSettings(describes_per_second=0, keep_folders=True))
    assert (bench.folder / "training/jobs/job-1/algo-1/input/config").is_dir()


@pytest.mark.parametrize("clock", [SystemClock(), ManualClock()], ids=["real", "manual"])
def test_every_change_is_told_as_an_eventbridge_event(bench: TrainingBench, clock):
    service = bench.service("(ML / 'output/failure').write_text('bad'); sys.exit(1)", clock=clock)
    service.create(definition(Tags=[{"Key": "team", "Value": "blue"}]))
    finish(service)
    service.tick()
    told = [
        (e["detail"]["TrainingJobStatus"], e["detail"]["SecondaryStatus"]) for e in bench.events
    ]
    assert told == [
        ("InProgress", "Starting"),
        ("InProgress", "Downloading"),
        ("InProgress", "Training"),
        ("Failed", "Failed"),
    ]
    event = bench.events[-1]
    assert event["source"] == "aws.sagemaker"
    assert event["detail-type"] == "SageMaker Training Job State Change"
    detail = event["detail"]
    assert event["resources"] == [detail["TrainingJobArn"]]
    assert detail["HyperParameters"] == {"manifest_key": "manifests/job-1.json"}
    assert detail["FailureReason"] == "AlgorithmError: bad, exit code: 1"
    assert detail["Tags"] == {"team": "blue"}
    assert isinstance(detail["CreationTime"], int)
    assert len({e["id"] for e in bench.events}) == 4


def test_an_event_that_was_not_taken_is_told_again(bench: TrainingBench):
    clock = ManualClock()
    taken = []

    def refuse_once(event):
        taken.append(event["id"])
        if len(taken) == 1:
            raise OSError("not now")

    service = bench.service("", clock=clock, on_event=refuse_once)
    service.create(definition())
    service.tick()
    clock.advance(2)
    service.tick()
    assert taken[0] == taken[1]
    assert len(taken) > 2
