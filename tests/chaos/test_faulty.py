"""Each fault does at its seam what it says, once it is written down, and nothing else."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
import textwrap
from datetime import timedelta
from pathlib import Path

import pytest

from atelier.contracts.errors import (
    CapacityMissing,
    QuotaExceeded,
    ServiceUnavailable,
    Throttled,
)
from infra.chaos import disk
from infra.chaos.plan import Fault, Kind
from infra.local.faults import Channel, Reader

STATE = "checkpoints/job/algo-1/r/state/step-000003.safetensors"
PROGRESS = "checkpoints/job/algo-1/r/progress.json"


class Bucket:
    """A bucket that keeps what it is given."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def put(self, key: str, body: bytes, **more: object) -> str:
        self.kept[key] = body
        return key

    def read(self, key: str) -> bytes:
        return self.kept[key]


class Machines:
    """Programs that can be switched off."""

    def __init__(self, pid: int | None = None) -> None:
        self.pid = pid
        self.interrupted: list[str] = []

    def running(self):
        return [("job", "algo-1", self.pid)] if self.pid else []

    def interrupt(self, job: str) -> None:
        self.interrupted.append(job)

    def server(self) -> int | None:
        return self.pid


@pytest.fixture
def sleeper():
    """A process that would live for a minute."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def test_the_nth_calls_of_a_point_fail_and_no_others(chaos_of):
    chaos = chaos_of(Fault(Kind.UNAVAILABLE, "objects[tasks].put", nth=2, times=2))
    bucket = Bucket()
    faulty = chaos.faults.objects(bucket, reader=Reader.TASKS)
    faulty.put("a", b"1")
    for key in ("b", "c"):
        with pytest.raises(ServiceUnavailable):
            faulty.put(key, b"1")
    faulty.put("d", b"1")
    assert sorted(bucket.kept) == ["a", "d"]
    assert [line["nth"] for line in chaos.journal()] == [2, 3]


def test_a_lost_answer_comes_after_its_effect(chaos_of):
    chaos = chaos_of(Fault(Kind.LOST_ANSWER, "objects[tasks].put"))
    bucket = Bucket()
    with pytest.raises(ServiceUnavailable):
        chaos.faults.objects(bucket, reader=Reader.TASKS).put("a", b"1")
    assert bucket.kept == {"a": b"1"}


def test_a_slow_call_takes_its_time_and_succeeds(chaos_of):
    chaos = chaos_of(Fault(Kind.SLOW, "objects[endpoint].read", seconds=1.5))
    bucket = Bucket()
    bucket.kept["a"] = b"1"
    assert chaos.faults.objects(bucket, reader=Reader.ENDPOINT).read("a") == b"1"
    assert chaos.clock.monotonic_seconds() == 1.5


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (Kind.THROTTLE, Throttled),
        (Kind.QUOTA, QuotaExceeded),
        (Kind.CAPACITY, CapacityMissing),
    ],
)
def test_creating_a_job_is_refused_so_often_and_no_more(chaos_of, kind, error):
    chaos = chaos_of(Fault(kind, "CreateTrainingJob", times=2))
    for _ in range(2):
        with pytest.raises(error):
            chaos.faults.on_create("job")
    chaos.faults.on_create("job")
    assert chaos.kinds() == [kind, kind]


def test_capacity_may_be_gone_after_the_job_was_created(chaos_of):
    chaos = chaos_of(Fault(Kind.CAPACITY_LATER, "StartTrainingJob", nth=2))
    chaos.faults.on_start("first")
    with pytest.raises(CapacityMissing):
        chaos.faults.on_start("second")


@pytest.mark.parametrize(
    ("kind", "delivered"),
    [
        (Kind.EVENT_LOST, [2, 3]),
        (Kind.EVENT_DOUBLED, [1, 1, 2, 3]),
        (Kind.EVENT_REORDERED, [2, 1, 3]),
    ],
)
def test_events_are_lost_doubled_and_reordered(chaos_of, kind, delivered):
    chaos = chaos_of(Fault(kind, "event:training-events"))
    received: list[int] = []
    deliver = chaos.faults.deliver(Channel.TRAINING, lambda event: received.append(event["n"]))
    for n in (1, 2, 3):
        deliver({"n": n})
    assert received == delivered


def test_a_delayed_event_comes_later(chaos_of):
    import threading  # noqa: PLC0415

    chaos = chaos_of(Fault(Kind.EVENT_DELAYED, "event:queue-stream", seconds=0.05))
    received, arrived = [], threading.Event()

    def receive(event):
        received.append(event["n"])
        if event["n"] == 1:
            arrived.set()

    deliver = chaos.faults.deliver(Channel.QUEUE, receive)
    deliver({"n": 1})
    deliver({"n": 2})
    assert received == [2]
    assert arrived.wait(10)
    assert received == [2, 1]


@pytest.mark.parametrize(
    ("kind", "point", "key"),
    [(Kind.CORRUPT_CHECKPOINT, "checkpoint", STATE), (Kind.CORRUPT_PROGRESS, "progress", PROGRESS)],
)
def test_what_a_training_leaves_is_damaged_in_the_bucket(chaos_of, kind, point, key):
    chaos = chaos_of(Fault(kind, point, nth=2))
    bucket = Bucket()
    faulty = chaos.faults.objects(bucket, reader=Reader.TRAINING)
    for _ in range(2):
        faulty.put(key, b"x" * 100)
    assert bucket.kept[key] != b"x" * 100
    faulty.put(key, b"x" * 100)
    assert bucket.kept[key] == b"x" * 100


def test_photos_of_the_poisoned_owner_alone_are_damaged(chaos_of):
    chaos = chaos_of(poisoned=frozenset({"oabc"}))
    bucket = Bucket()
    faulty = chaos.faults.objects(bucket, reader=Reader.TASKS)
    for key in ("datasets/oabc/d/1.png", "datasets/oxyz/d/1.png", "datasets/oabc/d/dataset.json"):
        faulty.put(key, b"body")
    damaged = [key for key, body in bucket.kept.items() if body != b"body"]
    assert damaged == ["datasets/oabc/d/1.png"]


def test_an_instance_is_taken_when_its_job_speaks(chaos_of):
    chaos, machines = chaos_of(Fault(Kind.INTERRUPT, "progress", nth=2)), Machines()
    chaos.faults.reach(machines)
    faulty = chaos.faults.objects(Bucket(), reader=Reader.TRAINING)
    faulty.put(PROGRESS, b"{}")
    assert machines.interrupted == []
    faulty.put(PROGRESS, b"{}")
    assert machines.interrupted == ["job"]


def test_a_training_program_is_killed_when_it_speaks(chaos_of, sleeper):
    chaos = chaos_of(Fault(Kind.KILL_TRAINING, "progress"))
    chaos.faults.reach(Machines(sleeper.pid))
    chaos.faults.objects(Bucket(), reader=Reader.TRAINING).put(PROGRESS, b"{}")
    assert sleeper.wait(10) == -signal.SIGKILL


def test_the_wall_clock_jumps_and_durations_do_not(chaos_of):
    chaos = chaos_of(Fault(Kind.CLOCK_JUMP, "objects[tasks].put", seconds=-600))
    before = chaos.wall.now()
    chaos.faults.objects(Bucket(), reader=Reader.TASKS).put("a", b"1")
    assert chaos.wall.now() - before == timedelta(seconds=-600)
    assert chaos.clock.monotonic_seconds() == 0


def test_a_full_disk_hits_files_of_the_home_alone_once_the_platform_answers(chaos_of, tmp_path):
    chaos = chaos_of(Fault(Kind.DISK_FULL, "disk:open", times=99))
    answers = [False]
    hook = disk.audit_hook(chaos.points, tmp_path, answers=lambda: answers[0])
    writing = (str(tmp_path / "x"), "w", 0o1)
    hook("open", writing)
    answers[0] = True
    with pytest.raises(OSError, match="No space") as full:
        hook("open", writing)
    assert full.value.errno == errno.ENOSPC
    hook("open", ("/elsewhere/x", "w", 0o1))
    hook("open", (str(tmp_path / "x"), "r", 0))
    hook("os.utime", (str(tmp_path / "x"), None, (1, 1), -1))


KILLED = """
    import sys
    from pathlib import Path
    from atelier.contracts.clock import SystemClock
    from infra.chaos import disk
    from infra.chaos.faulty import ChaosFaults, JumpingClock
    from infra.chaos.plan import Fault, Kind
    from infra.chaos.points import Journal, Points
    from infra.local.faults import Reader
    from infra.local.objects import FileObjects

    home, kind, point = Path(sys.argv[1]), Kind(sys.argv[2]), sys.argv[3]
    clock = SystemClock()
    journal = Journal(home.parent / "faults.jsonl", clock=clock)
    bucket = FileObjects(home, clock=clock, sign=lambda _: b"", upload_url="")
    points = Points([Fault(kind, point)], life=1, journal=journal, clock=clock)
    disk.install(points, home, answers=lambda: True)
    faults = ChaosFaults(points, poisoned=(), clock=JumpingClock(clock))
    faults.objects(bucket, reader=Reader.TASKS).put("a/b", b"whole")
    print("survived")
"""


@pytest.mark.parametrize(
    ("kind", "point", "written"),
    [
        (Kind.KILL_BEFORE, "objects[tasks].put", False),
        (Kind.KILL_AFTER, "objects[tasks].put", True),
        (Kind.KILL_IN_WRITE, "file:utime", False),
        (Kind.KILL_IN_WRITE, "file:rename", False),
        (Kind.KILL_IN_RECOVERY, "any", False),
    ],
)
def test_a_platform_dies_before_after_or_in_the_middle_of_a_write(tmp_path, kind, point, written):
    home = tmp_path / "home"
    died = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(home), kind, point],
        capture_output=True,
        text=True,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert (home / "a" / "b").exists() is written
    assert len((tmp_path / "faults.jsonl").read_text().splitlines()) == 1
    left = list(Path(home / ".writing").glob("*"))
    assert bool(left) is (kind is Kind.KILL_IN_WRITE)
