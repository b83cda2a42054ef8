"""What only the local bucket has: a folder that crashes, links, full disks and forms meet."""

from __future__ import annotations

import base64
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
from datetime import timedelta

import pytest

from atelier.contracts.clock import ManualClock
from atelier.contracts.errors import ContractBroken, InvalidRequest, ObjectExists, ObjectMissing
from infra.local.objects import WRITING, FileObjects
from infra.local.upload_forms import hmac_signer
from tests.contracts.platforms import SECRET, UPLOAD_URL

KEY = "uploads/a/b/1.jpg"


def open_bucket(root, clock=None):
    return FileObjects(
        root, clock=clock or ManualClock(), sign=hmac_signer(SECRET), upload_url=UPLOAD_URL
    )


@pytest.fixture
def root(tmp_path):
    return tmp_path / "bucket"


@pytest.fixture
def objects(root, clock):
    return open_bucket(root, clock)


PROGRAM = """
import resource, sys
from pathlib import Path
from atelier.contracts.clock import SystemClock
from atelier.contracts.errors import AtelierError
from infra.local.objects import FileObjects
from infra.local.upload_forms import hmac_signer
objects = FileObjects(Path(sys.argv[1]), clock=SystemClock(), sign=hmac_signer(b"x" * 32),
                      upload_url="http://127.0.0.1/")
"""


def program(root, text, **options):
    """Start a process that has the bucket open as `objects`."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM + textwrap.dedent(text), str(root)],
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# files


def test_an_object_is_the_file_at_its_key(objects, root):
    objects.put(KEY, b"photo")

    assert (root / KEY).read_bytes() == b"photo"


def test_a_file_that_a_container_left_in_the_folder_is_an_object(objects, root):
    (root / "control/j/algo-1/acks").mkdir(parents=True)
    (root / "control/j/algo-1/acks/m.json").write_bytes(b"{}")

    (info,) = objects.list("control/j/")

    assert objects.read(info.key) == b"{}"
    assert info == objects.info("control/j/algo-1/acks/m.json")


def test_an_etag_is_never_that_of_a_file_that_another_process_replaced(objects, root):
    first = objects.put(KEY, b"12345")
    other = root / "uploads/a/b/2.jpg"
    other.write_bytes(b"54321")
    os.utime(other, (first.modified_at.timestamp(),) * 2)
    other.replace(root / KEY)

    assert objects.info(KEY).etag != first.etag


def test_an_object_changed_when_the_clock_said_so(objects, clock):
    clock.advance(12.345678)

    info = objects.put(KEY, b"photo")

    assert info.modified_at == clock.now()


def test_a_bucket_is_closed_to_other_users_of_the_machine(objects, root):
    objects.put(KEY, b"photo")

    for path in (root, root / "uploads", root / KEY):
        assert path.stat().st_mode & 0o077 == 0


def test_a_folder_that_lost_its_last_object_goes_away(objects, root):
    objects.put(KEY, b"photo")
    objects.put("uploads/c", b"x")

    objects.delete(KEY)

    assert names(root) == [WRITING, "uploads"]
    assert names(root / "uploads") == ["c"]


def test_a_key_below_another_object_is_refused(objects):
    objects.put("r/x", b"object")

    with pytest.raises(ContractBroken):
        objects.put("r/x/y", b"below it")
    with pytest.raises(ContractBroken):
        objects.put("r", b"above it")

    assert objects.read("r/x") == b"object"


def test_only_folders_below_the_prefix_are_looked_into(objects, root):
    objects.put("checkpoints/job-1/algo-1/x", b"x")
    objects.put("checkpoints/job-2/algo-1/x", b"x")
    (root / "checkpoints/job-2").chmod(0)
    try:
        # Root may look into any folder; everybody else would fail here.
        assert len(objects.list("checkpoints/job-1/")) == 1
        assert len(objects.list("checkpoints/", after="checkpoints/job-", limit=1)) == 1
    finally:
        (root / "checkpoints/job-2").chmod(0o700)


# links


def test_no_link_leads_out_of_the_bucket(objects, root, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    objects.put("r/mine", b"x")
    (root / "r/file").symlink_to(outside / "secret")
    (root / "r/folder").symlink_to(outside)
    (root / "up").symlink_to(tmp_path)

    for key in ("r/file", "r/folder/secret", "up/outside/secret"):
        assert objects.info(key) is None
        with pytest.raises(ObjectMissing):
            objects.read(key)
        objects.delete(key)
    for key in ("r/folder/new", "up/outside/new"):
        with pytest.raises(ContractBroken):
            objects.put(key, b"x")
    assert [info.key for info in objects.list("")] == ["r/mine"]
    assert objects.list("r/folder/") == []
    assert names(outside) == ["secret"]


def test_a_link_in_an_objects_place_is_replaced_and_not_followed(objects, root, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    objects.put("r/x", b"x")
    (root / "r/file").symlink_to(secret)

    objects.put("r/file", b"mine")

    assert objects.read("r/file") == b"mine"
    assert secret.read_bytes() == b"secret"


def test_a_pipe_in_an_objects_place_is_no_object(objects, root):
    objects.put("r/x", b"x")
    os.mkfifo(root / "r/pipe")

    assert objects.info("r/pipe") is None
    assert [info.key for info in objects.list("r/")] == ["r/x"]


# crashes and other processes


def test_what_a_crashed_writer_left_is_never_listed_and_goes_at_the_next_start(objects, root):
    objects.put(KEY, b"photo")
    (root / WRITING / "999-1-0").write_bytes(b"half a pho")

    assert [info.key for info in objects.list("")] == [KEY]
    open_bucket(root)

    assert names(root / WRITING) == []


def test_a_start_leaves_alone_what_a_living_writer_writes(root):
    with program(
        root,
        """
        with objects._folder([".writing"]) as folder, objects._written(folder, b"x") as (_, name):
            print(name, flush=True)
            input()
            objects._name_it(folder, name, ["r"], "x", key="r/x", if_absent=False)
        """,
        stdin=subprocess.PIPE,
    ) as writer:
        name = writer.stdout.readline().strip()

        bucket = open_bucket(root)

        assert names(root / WRITING) == [name]
        writer.communicate("\n")
    assert writer.returncode == 0
    assert bucket.read("r/x") == b"x"


def test_after_a_kill_every_acknowledged_object_is_whole_and_no_other_is_seen(root):
    chance = random.Random(7)
    for _ in range(3):
        with program(
            root,
            """
            number = 0
            while True:
                key = f"r/{number % 50}/{number}"
                objects.put(key, b"whole" * 20_000, if_absent=number % 2 == 0)
                print(key, flush=True)
                number += 1
            """,
        ) as writer:
            told = [writer.stdout.readline() for _ in range(chance.randint(1, 40))]
            writer.send_signal(signal.SIGKILL)
            told += writer.stdout.readlines()
        acknowledged = {line.strip() for line in told if line.endswith("\n")}

        bucket = open_bucket(root)

        found = {info.key for info in bucket.list("")}
        assert acknowledged <= found
        assert {bucket.read(key) for key in found} == {b"whole" * 20_000}
        assert names(root / WRITING) == []
        for key in found:
            bucket.delete(key)


def test_of_many_processes_exactly_one_writes_a_write_once_object(root):
    writers = [
        program(
            root,
            f"""
            input()
            try:
                objects.put("artifacts/v1", b"{n}", if_absent=True)
                print("wrote")
            except AtelierError as problem:
                print(problem.name())
            """,
            stdin=subprocess.PIPE,
        )
        for n in range(4)
    ]
    for writer in writers:
        writer.stdin.write("\n")
        writer.stdin.flush()

    said = sorted(writer.communicate()[0].strip() for writer in writers)

    assert said == [ObjectExists.name()] * 3 + ["wrote"]


def test_a_full_disk_is_a_service_that_is_unavailable_and_leaves_nothing(objects, root):
    objects.put("r/x", b"old")
    # A limit on file sizes fails in the middle of a write, as a full disk does.
    with program(
        root,
        """
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
        try:
            objects.put("r/x", b"x" * 100_000)
        except AtelierError as problem:
            print(problem.name())
        """,
    ) as writer:
        said = writer.stdout.read().strip()

    assert said == "ServiceUnavailable"
    assert objects.read("r/x") == b"old"
    assert names(root / WRITING) == []


# upload forms


@pytest.fixture
def form(objects, clock):
    return objects.upload_form(
        KEY,
        content_type="image/jpeg",
        max_bytes=10,
        expires_at=clock.now() + timedelta(hours=1),
    )


def test_a_form_lets_its_holder_write_its_object(objects, form):
    info = objects.accept_upload(form.fields, b"photo")

    assert (info.key, objects.read(KEY)) == (KEY, b"photo")


def test_a_form_is_taken_whatever_the_case_of_its_field_names(objects, form):
    fields = {name.title(): value for name, value in form.fields.items()}

    assert objects.accept_upload({**fields, "x-ignore-me": "1"}, b"photo").key == KEY


def test_a_form_works_until_the_moment_at_which_it_expires(objects, form, clock):
    clock.advance(3599.9)
    objects.accept_upload(form.fields, b"photo")
    clock.advance(0.1)

    with pytest.raises(InvalidRequest) as caught:
        objects.accept_upload(form.fields, b"photo")

    assert "expired" in caught.value.message
    assert "new upload form" in caught.value.do


@pytest.mark.parametrize("body", [b"", b"12345678901"], ids=["empty", "too large"])
def test_a_file_outside_the_forms_size_is_refused(objects, form, body):
    with pytest.raises(InvalidRequest) as caught:
        objects.accept_upload(form.fields, body)

    assert caught.value.facts["where"] == "file"
    assert objects.info(KEY) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("key", "uploads/a/b/2.jpg"),
        ("key", "../../secret"),
        ("content-type", "text/html"),
        ("signature", "0" * 64),
        ("signature", "\ud800"),
        ("policy", ""),
        ("policy", "e30="),
        ("policy", "\ud800"),
        ("acl", "public-read"),
    ],
    ids=repr,
)
def test_a_form_that_was_changed_is_refused(objects, form, field, value):
    with pytest.raises(InvalidRequest) as caught:
        objects.accept_upload({**form.fields, field: value}, b"photo")

    assert caught.value.do
    assert objects.list("") == []


@pytest.mark.parametrize("field", ["key", "content-type", "policy", "signature"])
def test_a_form_that_misses_a_field_is_refused(objects, form, field):
    fields = {name: value for name, value in form.fields.items() if name != field}

    with pytest.raises(InvalidRequest) as caught:
        objects.accept_upload(fields, b"photo")

    assert field in caught.value.message


def test_a_widened_policy_does_not_carry_the_old_signature(objects, form):
    policy = json.loads(base64.b64decode(form.fields["policy"]))
    policy["conditions"][2][2] = 10**9
    widened = base64.b64encode(json.dumps(policy).encode()).decode()

    with pytest.raises(InvalidRequest):
        objects.accept_upload({**form.fields, "policy": widened}, b"photo")


def test_a_form_of_another_platform_is_refused(root, form, clock):
    other = FileObjects(
        root, clock=clock, sign=hmac_signer(b"another secret of 32 bytes here."), upload_url=""
    )

    with pytest.raises(InvalidRequest):
        other.accept_upload(form.fields, b"photo")


def test_a_short_secret_signs_nothing():
    with pytest.raises(ValueError, match="16"):
        hmac_signer(b"short")
