"""Checkpoint sync: whole files, in the order they were written, deletes last."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atelier.contracts.clock import SystemClock
from atelier.contracts.errors import ServiceUnavailable
from infra.local.checkpoint_sync import PATIENT_SCANS, CheckpointSync
from infra.local.objects import FileObjects
from infra.local.upload_forms import hmac_signer
from tests.local.failing import FailingObjects

PREFIX = "checkpoints/job/"


@pytest.fixture
def bucket(objects) -> FailingObjects:
    return FailingObjects(objects)


@pytest.fixture
def sync(bucket, tmp_path: Path) -> CheckpointSync:
    sync = CheckpointSync(bucket, PREFIX, tmp_path / "checkpoints")
    sync.pull()
    return sync


def write(sync: CheckpointSync, name: str, text: str, *, at: int | None = None) -> Path:
    path = sync.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_name(f".{path.name}.new")
    hidden.write_text(text)
    if at is not None:
        os.utime(hidden, ns=(at, at))
    hidden.replace(path)
    return path


def stored(bucket: FailingObjects) -> dict[str, str]:
    keys = [info.key for info in bucket.list(PREFIX)]
    return {key.removeprefix(PREFIX): bucket.read(key).decode() for key in keys}


def test_a_file_is_pushed_once_it_looks_the_same_twice(sync, bucket):
    write(sync, "host/progress.json", "1")
    sync.push()
    assert stored(bucket) == {}
    sync.push()
    assert stored(bucket) == {"host/progress.json": "1"}


def test_a_file_that_is_still_written_is_never_pushed_by_halves(sync, bucket):
    path = sync.folder / "log"
    for i in range(5):
        with path.open("a") as file:
            file.write(f"{i} ")
        sync.push()
    assert stored(bucket) == {}
    sync.push()
    assert stored(bucket) == {"log": "0 1 2 3 4 "}


def test_at_the_end_everything_is_pushed_at_once(sync, bucket):
    write(sync, "a", "1")
    write(sync, "b/c", "2")
    sync.push(final=True)
    assert stored(bucket) == {"a": "1", "b/c": "2"}


def test_an_unchanged_file_is_not_pushed_again(sync, bucket):
    write(sync, "a", "1")
    assert sync.push(final=True) == 1
    assert sync.push(final=True) == 0
    assert sync.push() == 0


def test_a_replaced_file_of_the_same_size_and_time_is_pushed_again(sync, bucket):
    write(sync, "a", "1", at=10**18)
    sync.push(final=True)
    write(sync, "a", "2", at=10**18)
    sync.push(final=True)
    assert stored(bucket) == {"a": "2"}


def test_files_go_in_the_order_in_which_they_were_written(sync, bucket):
    write(sync, "z/adapter", "w", at=1_000)
    write(sync, "a/progress.json", "done", at=2_000)
    sync.push(final=True)
    assert [key for _, key in bucket.changes] == [PREFIX + "z/adapter", PREFIX + "a/progress.json"]


def test_of_files_of_one_instant_the_deeper_goes_first(sync, bucket):
    write(sync, "r/progress.json", "done", at=1_000)
    write(sync, "r/samples/00.png", "png", at=1_000)
    sync.push(final=True)
    assert [key for _, key in bucket.changes] == [
        PREFIX + "r/samples/00.png",
        PREFIX + "r/progress.json",
    ]


def test_what_was_written_later_waits_for_a_file_that_still_changes(sync, bucket):
    write(sync, "progress.json", "done", at=2_000)
    sync.push()
    write(sync, "adapter", "w", at=1_000)  # came into the folder after the first look at it
    sync.push()
    assert stored(bucket) == {}
    sync.push()
    assert [key for _, key in bucket.changes] == [PREFIX + "adapter", PREFIX + "progress.json"]


def test_a_local_delete_deletes_the_object(sync, bucket):
    path = write(sync, "a", "1")
    sync.push(final=True)
    path.unlink()
    sync.push()
    assert stored(bucket) == {}


def test_a_file_goes_only_after_its_successor_is_there(sync, bucket):
    old = write(sync, "state-1", "1", at=1_000)
    sync.push(final=True)
    write(sync, "state-2", "2", at=2_000)
    old.unlink()
    sync.push()
    assert stored(bucket) == {"state-1": "1"}
    sync.push()
    assert stored(bucket) == {"state-2": "2"}


def test_a_file_that_never_rests_does_not_keep_deleted_ones_for_ever(sync, bucket):
    old = write(sync, "old", "1")
    sync.push(final=True)
    old.unlink()
    for i in range(PATIENT_SCANS + 1):
        write(sync, "log", "x" * i)
        sync.push()
    assert "old" not in stored(bucket)


def test_the_bucket_is_pulled_at_the_start_and_not_pushed_back(bucket, tmp_path: Path):
    bucket.objects.put(PREFIX + "host/state", b"s")
    sync = CheckpointSync(bucket, PREFIX, tmp_path / "checkpoints")
    assert sync.pull() == 1
    assert (sync.folder / "host/state").read_text() == "s"
    assert sync.push(final=True) == 0


def test_a_pulled_file_that_the_program_deletes_is_deleted_in_the_bucket(bucket, tmp_path: Path):
    bucket.objects.put(PREFIX + "state", b"s")
    sync = CheckpointSync(bucket, PREFIX, tmp_path / "checkpoints")
    sync.pull()
    (sync.folder / "state").unlink()
    sync.push()
    assert stored(bucket) == {}


def test_a_host_leaves_alone_what_it_only_pulled(bucket, tmp_path: Path):
    bucket.objects.put(PREFIX + "algo-1/state", b"old")
    first, second = (CheckpointSync(bucket, PREFIX, tmp_path / name) for name in ("1", "2"))
    first.pull()
    second.pull()
    write(first, "algo-1/state", "new")
    first.push(final=True)
    second.push(final=True)
    assert stored(bucket) == {"algo-1/state": "new"}


def test_objects_that_appear_later_are_not_pulled(sync, bucket):
    bucket.objects.put(PREFIX + "later", b"x")
    sync.push(final=True)
    assert not (sync.folder / "later").exists()
    assert stored(bucket) == {"later": "x"}


def test_hidden_files_links_and_strange_names_stay_local(sync, bucket):
    (sync.folder / ".hidden").write_text("x")
    (sync.folder / "ünïcode name").write_text("x")
    (sync.folder / "link").symlink_to("/etc/passwd")
    (sync.folder / "folder").symlink_to("/etc")
    os.mkfifo(sync.folder / "pipe")
    sync.push(final=True)
    assert stored(bucket) == {}


def test_a_folder_that_is_gone_deletes_nothing(sync, bucket):
    write(sync, "a", "1")
    sync.push(final=True)
    (sync.folder / "a").unlink()
    sync.folder.rmdir()
    sync.push(final=True)
    assert stored(bucket) == {"a": "1"}


def test_what_could_not_be_pushed_is_pushed_the_next_time(sync, bucket):
    write(sync, "a", "1")
    bucket.failures = 1
    with pytest.raises(ServiceUnavailable):
        sync.push(final=True)
    sync.push(final=True)
    assert stored(bucket) == {"a": "1"}


ACTS = st.lists(
    st.tuples(st.sampled_from(["write", "delete", "push"]), st.sampled_from(["a", "b/c", "b/d"])),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(ACTS)
def test_in_the_end_the_bucket_holds_exactly_the_folder(tmp_path_factory, acts):
    folder = tmp_path_factory.mktemp("sync")
    objects = FileObjects(
        folder / "objects", clock=SystemClock(), sign=hmac_signer(b"x" * 32), upload_url="http://x/"
    )
    bucket = FailingObjects(objects)
    sync = CheckpointSync(bucket, PREFIX, folder / "checkpoints")
    sync.pull()
    for i, (act, name) in enumerate(acts):
        if act == "write":
            write(sync, name, str(i))
        elif act == "delete":
            (sync.folder / name).unlink(missing_ok=True)
        else:
            sync.push()
    sync.push(final=True)
    local = {
        str(path.relative_to(sync.folder)): path.read_text()
        for path in sync.folder.rglob("*")
        if path.is_file()
    }
    assert stored(bucket) == local
