"""The host's doors: assignment, control channel, progress, checkpoint folder, settings."""

import json
import logging
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from atelier.contracts import ids, keys
from atelier.contracts.clock import ManualClock
from atelier.contracts.control import Answer, Command
from atelier.contracts.errors import ContractBroken, ServiceUnavailable
from atelier.contracts.manifest import HostShare
from atelier.contracts.progress import TrainingState
from training_image.assignment import read_assignment
from training_image.control import MAX_MESSAGE_BYTES, ControlChannel, Reply
from training_image.reporter import Reporter
from training_image.settings import from_environment
from training_image.tree import CheckpointTree

# Checkpoint folder


def test_the_tree_writes_whole_files_and_shows_no_unfinished_ones(tmp_path):
    tree = CheckpointTree(tmp_path)
    tree.write("h/r/state/a.bin", b"1")
    (tmp_path / "h/r/state/.a.bin.77").write_bytes(b"half")
    assert tree.files("h/r/state/") == ["h/r/state/a.bin"]
    assert tree.folders("h/r/") == ["h/r/state/"]
    assert tree.read("h/r/state/a.bin") == b"1"
    tree.remove("h/r/state/a.bin")
    assert tree.read("h/r/state/a.bin") is None
    tree.remove_folder("h/r/")
    assert tree.files("h/r/state/") == tree.folders("h/r/") == []


# Assignment


def test_a_host_takes_its_share_by_its_rank_among_sorted_hosts(house):
    tasks = [house.add(f"user{n}") for n in range(3)]
    house.lay_out()
    requests = [task.request for task in tasks]
    manifest = replace(
        house.manifest,
        hosts=(HostShare(0, (requests[1],)), HostShare(1, (requests[0], requests[2]))),
    )
    house.objects.put(keys.manifest(manifest.job), manifest.to_json())
    given = {"manifest_key": keys.manifest(manifest.job), "manifest_digest": manifest.digest()}
    house.ml.hyperparameters.write_text(json.dumps(given))
    for host, expected in (("algo-1", [requests[1]]), ("algo-2", [requests[0], requests[2]])):
        resources = {"current_host": host, "hosts": ["algo-2", "algo-1"]}
        house.ml.resource_config.write_text(json.dumps(resources))
        found = read_assignment(house.ml, objects=house.objects)
        assert found.host == host
        assert [task.request for task in found.tasks] == expected


BROKEN_HOSTS = {
    "no json": "{",
    "a list": "[]",
    "no hosts": '{"current_host": "algo-1"}',
    "hosts of numbers": '{"current_host": "algo-1", "hosts": [1]}',
    "not among them": '{"current_host": "algo-9", "hosts": ["algo-1"]}',
    "more hosts than shares": '{"current_host": "algo-2", "hosts": ["algo-1", "algo-2"]}',
}


@pytest.mark.parametrize("text", BROKEN_HOSTS.values(), ids=BROKEN_HOSTS)
def test_a_broken_resource_configuration_is_a_named_error(house, text):
    house.add()
    house.lay_out()
    house.ml.resource_config.write_text(text)
    with pytest.raises(ContractBroken):
        read_assignment(house.ml, objects=house.objects)


@pytest.mark.parametrize("change", ["digest", "newer version", "no key", "no file"])
def test_another_manifest_than_was_announced_is_a_named_error(house, change):
    house.add()
    house.lay_out()
    key = keys.manifest(house.manifest.job)
    given = json.loads(house.ml.hyperparameters.read_text())
    if change == "digest":
        house.objects.put(key, house.manifest.to_json() + b" ")
    elif change == "newer version":
        body = house.manifest.to_json().replace(b"training-manifest/1", b"training-manifest/2")
        house.objects.put(key, body)
        given["manifest_digest"] = ids.digest_of(body)
    elif change == "no key":
        del given["manifest_key"]
    house.ml.hyperparameters.write_text(json.dumps(given))
    if change == "no file":
        house.ml.hyperparameters.unlink()
    with pytest.raises(ContractBroken):
        read_assignment(house.ml, objects=house.objects)


# Control channel


@pytest.fixture
def channel(house):
    house.add()
    house.lay_out()
    return ControlChannel(
        objects=house.objects, job=house.manifest.job, host="algo-1", clock=ManualClock()
    )


def test_a_message_is_obeyed_once_and_acknowledged(house, channel):
    message = house.send(Command.CANCEL, house.tasks[0])
    obeyed = []

    def obey(given):
        obeyed.append(given)
        return Reply(Answer.DONE, "it is done")

    for _ in range(2):
        channel.poll()
        channel.attend(obey)
    assert obeyed == [message]
    assert house.answer(message.id).reason == "it is done"


def test_a_restarted_host_does_not_obey_again_what_it_acknowledged(house, channel):
    message = house.send(Command.CANCEL, house.tasks[0])
    channel.poll()
    channel.attend(lambda _: Reply(Answer.DONE, ""))
    again = ControlChannel(
        objects=house.objects, job=house.manifest.job, host="algo-1", clock=ManualClock()
    )
    again.poll()
    again.attend(lambda _: pytest.fail(f"{message.id} was obeyed again"))


@pytest.mark.parametrize("body", [b'{"schema": "atelier.dance/3"}', b" " * (MAX_MESSAGE_BYTES + 1)])
def test_what_a_host_does_not_understand_it_acknowledges_as_unknown(house, channel, body):
    job = house.manifest.job
    house.objects.put(keys.control_message(job, "algo-1", "m1"), body)
    channel.poll()
    channel.attend(lambda _: pytest.fail("an unknown message was obeyed"))
    assert house.answer("m1").answer is Answer.UNKNOWN


class Broken:
    """A bucket that answers when it is asked the third time, and ends the listening then."""

    def __init__(self, stop):
        self.asked = 0
        self.stop = stop

    def list(self, prefix):
        self.asked += 1
        if self.asked < 3:
            raise ServiceUnavailable("later")
        self.stop.set()
        return []


def test_a_bucket_that_does_not_answer_is_asked_again(caplog):
    stop = threading.Event()
    broken = Broken(stop)
    channel = ControlChannel(objects=broken, job="j", host="h", clock=ManualClock())
    with caplog.at_level(logging.WARNING):
        channel.serve(stop, every_seconds=0)
    assert broken.asked >= 3
    assert "cannot be read now: later" in caplog.text


# Progress


@pytest.fixture
def reporter(house):
    house.add()
    return Reporter(
        job="j", host="algo-1", tree=CheckpointTree(house.ml.checkpoints), clock=house.clock
    )


def test_progress_is_written_at_changes_of_state_and_about_once_a_second(house, reporter):
    [task] = house.tasks
    reporter.begin([task])
    assert house.progress(task).state is TrainingState.WAITING
    reporter.say(task.request, state=TrainingState.TRAINING)
    for step in range(5):
        reporter.say(task.request, step=step)
    assert house.progress(task).step == 0
    house.clock.advance(1.0)
    reporter.say(task.request, step=5)
    assert house.progress(task).step == 5
    reporter.say(task.request, step=6)
    reporter.flush()
    assert house.progress(task).step == 6


@pytest.mark.parametrize("earlier", [b"{", None])
def test_progress_of_another_attempt_or_that_does_not_read_is_begun_anew(house, reporter, earlier):
    [task] = house.tasks
    reporter.begin([task])
    reporter.fail(task.request, "ObjectMissing", "gone")
    if earlier is not None:
        (house.ml.checkpoints / f"algo-1/{task.request}/progress.json").write_bytes(earlier)
    reporter.begin([replace(task, attempt=2)])
    assert house.progress(task).state is TrainingState.WAITING
    assert house.progress(task).attempt == 2


# Settings


def test_settings_come_from_the_environment():
    found = from_environment(
        {
            "ATELIER_OBJECTS": "s3://b/",
            "ATELIER_ML_ROOT": "/x/ml",
            "ATELIER_BASE_MODELS": "/x/bases",
            "OMP_NUM_THREADS": "3",
            "ATELIER_TRAIN_SLOTS": "8",
        }
    )
    assert (found.threads, found.slots, found.objects) == (3, 8, "s3://b/")
    assert found.ml.checkpoints == Path("/x/ml/checkpoints")
    assert from_environment({"ATELIER_OBJECTS": "s3://b/"}).ml.root == Path("/opt/ml")


@pytest.mark.parametrize(
    "change", [{"ATELIER_OBJECTS": ""}, {"OMP_NUM_THREADS": "two"}, {"ATELIER_TRAIN_SLOTS": "0"}]
)
def test_a_setting_that_does_not_read_is_named(change):
    with pytest.raises(ValueError, match=r"ATELIER_OBJECTS|OMP_NUM_THREADS|slots"):
        from_environment({"ATELIER_OBJECTS": "s3://b/", **change})
