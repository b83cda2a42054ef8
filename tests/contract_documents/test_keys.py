"""Object keys: composed in one place, safe as paths, nothing foreign let in."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atelier.contracts import checkpoints, ids, keys
from atelier.contracts.manifest import host_name

OWNER = ids.owner_of("acme", "42")
REQUEST = ids.request_from_key(OWNER, "k")
JOB = ids.job_name(ids.batch_of([(REQUEST, 1)]), 1)
VERSION = ids.version_name(1, ids.digest_of(b""))
SEGMENT = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._=-]{0,20}", fullmatch=True)

COMPOSED = {
    "upload": keys.uploaded_photo(keys.upload_prefix(OWNER, "m1"), "1.jpg"),
    "announced": keys.upload_announced(keys.upload_prefix(OWNER, "m1")),
    "complete": keys.upload_complete(keys.upload_prefix(OWNER, "m1")),
    "dataset": keys.dataset_document(OWNER, "m2"),
    "dataset photo": keys.dataset_photo(OWNER, "m2", ids.digest_of(b"")),
    "manifest": keys.manifest(JOB),
    "message": keys.control_message(JOB, host_name(0), "m3"),
    "acknowledgement": keys.control_acknowledgement(JOB, host_name(0), "m3"),
    "progress": keys.checkpoint(JOB, checkpoints.progress(host_name(1), REQUEST)),
    "adapter": keys.checkpoint(JOB, checkpoints.adapter_file(host_name(1), REQUEST)),
    "artifact": keys.artifact("tiny", OWNER, "me", VERSION),
    "output": f"{keys.TRAINING_OUTPUT_PREFIX}{JOB}/output/model.tar.gz",
    "record": keys.record(OWNER, "2026-01-01", "m4", "request.json"),
    "base": keys.base_model("tiny", "unet/config.json"),
}


@pytest.mark.parametrize("key", COMPOSED.values(), ids=COMPOSED)
def test_every_key_that_we_compose_is_one_of_ours(key):
    assert keys.check_key(key) == key
    assert keys.check_beginning(key[:-3]) == key[:-3]


def test_kinds_of_objects_never_share_a_folder():
    tops = [key.split("/")[0] for key in COMPOSED.values()]

    assert set(tops) == {
        "uploads", "datasets", "manifests", "control", "checkpoints", "artifacts", "records",
        "training-output", "base-models",
    }  # fmt: skip


def test_the_drawing_at_the_top_of_the_module_names_every_folder():
    for key in COMPOSED.values():
        assert f"{key.split('/')[0]}/" in keys.__doc__


def test_a_target_model_is_the_artifacts_key_below_the_endpoints_prefix():
    target = keys.target_model("tiny", OWNER, "me", VERSION)

    assert keys.artifact("tiny", OWNER, "me", VERSION) == keys.ARTIFACT_PREFIX + target
    assert target.endswith(".tar.gz")


@given(st.lists(SEGMENT, min_size=1, max_size=6))
def test_a_key_that_passes_is_a_relative_path_that_stays_below_its_folder(parts):
    key = keys.check_key("/".join(parts))

    path = PurePosixPath("/root") / key
    assert path.parts == ("/", "root", *parts)
    assert Path("/root").joinpath(key).resolve().is_relative_to("/root")


FOREIGN = [
    "", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", ".a", "a/.b", "-a", "a b",
    "a\\b", "a\x00b", "a\n", "a%2fb", "ü", "a" * 129, "/".join(["a" * 100] * 6), "C:/x", "~", "a?b",
    "a*", "$HOME", "uploads/\u202e",
]  # fmt: skip


@pytest.mark.parametrize("key", FOREIGN, ids=repr)
def test_a_key_that_could_leave_its_folder_or_confuse_a_shell_is_refused(key):
    with pytest.raises(ValueError, match="object key"):
        keys.check_key(key)


@given(st.text(max_size=40))
def test_any_text_is_a_safe_key_or_refused(text):
    try:
        keys.check_key(text)
    except ValueError:
        return
    assert ".." not in PurePosixPath(text).parts
    assert str(PurePosixPath(text)) == text


def test_a_prefix_ends_in_a_slash():
    assert keys.check_prefix("uploads/a/") == "uploads/a/"
    for prefix in ("uploads", "", "/", "a//", "../", "uploads/../"):
        with pytest.raises(ValueError, match=r"prefix|object key"):
            keys.check_prefix(prefix)


def test_keys_begin_with_nothing_or_with_a_key_cut_anywhere():
    for beginning in ("", "uploads", "uploads/", "uploads/a", "uploads/a."):
        assert keys.check_beginning(beginning) == beginning
    for beginning in ("/", "a//", "../", ".w", "a/.w"):
        with pytest.raises(ValueError, match="object key"):
            keys.check_beginning(beginning)


@pytest.mark.parametrize(
    "compose",
    [
        lambda evil: keys.upload_prefix(OWNER, evil),
        lambda evil: keys.dataset_prefix(OWNER, evil),
        keys.manifest,
        lambda evil: keys.control_message(JOB, evil, "m"),
        lambda evil: keys.control_message(JOB, "algo-1", evil),
        lambda evil: keys.checkpoint(JOB, evil),
        lambda evil: keys.artifact("tiny", OWNER, evil, VERSION),
        lambda evil: keys.record(OWNER, "2026-01-01", "m", evil),
        lambda evil: keys.base_model("tiny", evil),
    ],
)
def test_no_part_of_a_key_leads_elsewhere(compose):
    for evil in ("../x", "..", "/etc/passwd", "a\x00"):
        with pytest.raises(ValueError, match="object key"):
            compose(evil)


def test_the_checkpoint_tree_lies_where_its_drawing_says():
    drawn = checkpoints.__doc__
    for path in (
        checkpoints.progress("<host>", "<request>"),
        checkpoints.preview("<host>", "<request>", 50),
        checkpoints.sample("<host>", "<request>", 0),
        checkpoints.state("<host>", "<request>", 50),
        checkpoints.adapter_file("<host>", "<request>"),
    ):
        assert path in drawn
    card = checkpoints.adapter_card("h", "r")
    assert card.startswith(checkpoints.folder("h", "r"))
    assert checkpoints.state("h", "r", 1).startswith(checkpoints.state_folder("h", "r"))
