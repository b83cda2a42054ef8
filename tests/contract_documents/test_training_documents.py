"""Manifest, progress, control channel, uploads and adapter card: what they must not contradict."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from atelier.contracts import ids
from atelier.contracts.adapter import ARCHIVE_MEMBERS, MAX_ADAPTER_BYTES, AdapterCard
from atelier.contracts.adapter import TrainingReport as Report
from atelier.contracts.consent import Consent
from atelier.contracts.container import MlFolder
from atelier.contracts.control import Command, ControlMessage
from atelier.contracts.dataset import (
    MAX_UPLOAD_BYTES,
    DatasetPhoto,
    UploadComplete,
    UploadedPhoto,
    dataset_id,
)
from atelier.contracts.generation import GenerateRequest
from atelier.contracts.manifest import (
    HostShare,
    TrainingManifest,
    TrainingPhoto,
    TrainingTask,
    host_name,
)
from atelier.contracts.progress import AdapterPointer, Progress, TrainingFailure, TrainingState
from atelier.contracts.prompts import MAX_PROMPT_CHARACTERS
from atelier.contracts.settings import Hyperparameters, Targets

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DIGEST = ids.digest_of(b"x")
OWNER = ids.owner_of("acme", "42")


def task(request="r1", **changes):
    made = TrainingTask(
        request=request,
        attempt=1,
        owner=OWNER,
        model="me",
        photos=(TrainingPhoto("datasets/o/d/1.png", DIGEST, ""),),
        hyperparameters=Hyperparameters(steps=1, rank=1, learning_rate=1e-3, resolution=64),
        samples=(),
        instance_prompt="a photo of zorp creature",
        trigger="zorp",
        subject="creature",
        seed=0,
        estimated_cost_seconds=1.0,
    )
    return replace(made, **changes)


def manifest(**changes):
    made = TrainingManifest(
        job="j",
        batch="b",
        base="tiny",
        base_digest="",
        tasks=(task("r1"), task("r2"), task("r3")),
        hosts=(HostShare(0, ("r3", "r1")), HostShare(1, ("r2",))),
    )
    return replace(made, **changes)


# manifest


def test_a_host_takes_its_share_by_rank_in_the_manifests_order():
    assert [t.request for t in manifest().share(0)] == ["r1", "r3"]
    assert [t.request for t in manifest().share(1)] == ["r2"]
    assert manifest().task("r2").request == "r2"


@pytest.mark.parametrize("rank", [-1, 2])
def test_a_rank_that_the_job_does_not_have_has_no_share(rank):
    with pytest.raises(ValueError, match="2 hosts"):
        manifest().share(rank)


def test_a_request_that_the_job_does_not_train_has_no_task():
    with pytest.raises(KeyError):
        manifest().task("r9")


@pytest.mark.parametrize(
    "change",
    [
        {"tasks": (), "hosts": ()},
        {"tasks": (task("r1"), task("r1")), "hosts": (HostShare(0, ("r1", "r1")),)},
        {"hosts": (HostShare(0, ("r1", "r2")),)},
        {"hosts": (HostShare(0, ("r1", "r2", "r3")), HostShare(1, ("r1",)))},
        {"hosts": (HostShare(0, ("r1", "r2", "r9")),)},
        {"hosts": (HostShare(1, ("r1", "r2", "r3")),)},
        {"hosts": (HostShare(0, ("r1",)), HostShare(2, ("r2", "r3")))},
    ],
)
def test_a_manifest_gives_every_task_to_exactly_one_host(change):
    with pytest.raises(ValueError, match=r".+"):
        manifest(**change)


def test_a_host_may_start_without_work():
    idle = manifest(hosts=(HostShare(0, ("r1", "r2", "r3")), HostShare(1, ())))

    assert idle.share(1) == ()


@pytest.mark.parametrize(
    "change",
    [{"photos": ()}, {"estimated_cost_seconds": 0.0}, {"resume_from": "../state"}],
    ids=str,
)
def test_a_task_has_photos_a_cost_and_a_safe_checkpoint(change):
    with pytest.raises(ValueError, match=r".+"):
        task(**change)


@pytest.mark.parametrize(("key", "digest"), [("/etc/passwd", DIGEST), ("a.png", "x")])
def test_a_training_photo_is_named_by_a_safe_key_and_a_digest(key, digest):
    with pytest.raises(ValueError, match=r".+"):
        TrainingPhoto(key, digest, "")


def test_hosts_are_called_as_sagemaker_calls_them():
    assert [host_name(rank) for rank in range(3)] == ["algo-1", "algo-2", "algo-3"]


# progress


def progress(**changes):
    made = Progress("r1", 1, "j", "algo-1", TrainingState.TRAINING, 3, 9, NOW)
    return replace(made, **changes)


POINTER = AdapterPointer("f", "c", DIGEST, 1)
FAILURE = TrainingFailure("PoisonousTask", "m")


def test_the_end_of_a_task_carries_what_it_left():
    assert progress(state=TrainingState.DONE, adapter=POINTER).state.ended
    assert progress(state=TrainingState.FAILED, failure=FAILURE).state.ended
    assert progress(state=TrainingState.STOPPED).state.ended
    assert not progress().state.ended


@pytest.mark.parametrize(
    "change",
    [
        {"state": TrainingState.DONE},
        {"state": TrainingState.FAILED},
        {"adapter": POINTER},
        {"failure": FAILURE},
        {"state": TrainingState.DONE, "adapter": POINTER, "failure": FAILURE},
        {"step": 10},
        {"step": -1},
    ],
    ids=str,
)
def test_progress_does_not_contradict_itself(change):
    with pytest.raises(ValueError, match=r".+"):
        progress(**change)


# control channel


def message(command, request="r1", task=None):
    return ControlMessage(command, request, OWNER, NOW, task)


def test_a_task_comes_exactly_with_admit():
    assert message(Command.ADMIT, task=task()).task
    for command, given in [
        (Command.ADMIT, None),
        (Command.CANCEL, task()),
        (Command.ERASE, task()),
    ]:
        with pytest.raises(ValueError, match="do not agree"):
            message(command, task=given)


def test_the_same_message_has_the_same_id_and_another_has_another():
    messages = [
        message(Command.CANCEL),
        message(Command.ERASE),
        message(Command.CANCEL, "r2"),
        message(Command.ADMIT, task=task()),
        message(Command.ADMIT, task=task(attempt=2)),
    ]

    assert len({m.id for m in messages}) == len(messages)
    assert replace(messages[0], sent_at=datetime(2027, 1, 1, tzinfo=UTC)).id == messages[0].id


# uploads and datasets


def photo(name="1.jpg", digest=DIGEST, size=9, caption=""):
    return UploadedPhoto(name, digest, size, caption)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "a/b.jpg"},
        {"name": "../b.jpg"},
        {"name": "_complete.json"},
        {"name": ""},
        {"digest": "x"},
        {"size": 0},
        {"size": MAX_UPLOAD_BYTES + 1},
        {"caption": "x" * 1001},
        {"caption": "a\x00"},
    ],
    ids=str,
)
def test_an_uploaded_photo_has_a_plain_name_a_digest_and_a_size_within_limits(change):
    with pytest.raises(ValueError, match=r".+"):
        photo(**change)


def test_a_photo_stands_once_in_a_set():
    with pytest.raises(ValueError, match="twice"):
        UploadComplete((photo(), photo()), Consent("user", NOW))


@pytest.mark.parametrize(
    "given",
    [
        {"key": "../x"},
        {"digest": "x"},
        {"width": 0},
        {"height": -1},
        {"caption": "\n"},
    ],
    ids=str,
)
def test_a_dataset_photo_is_checked_as_strictly(given):
    good = DatasetPhoto("datasets/o/d/1.png", DIGEST, 64, 64, "1.jpg")

    with pytest.raises(ValueError, match=r".+"):
        replace(good, **given)


def test_the_same_photos_are_the_same_dataset_in_any_order():
    one, two = ("a" * 64, ""), ("b" * 64, "at the sea")

    assert dataset_id(OWNER, [one, two]) == dataset_id(OWNER, [two, one])
    assert dataset_id(OWNER, [one, two]) != dataset_id(OWNER, [one, (two[0], "")])
    assert dataset_id(OWNER, [one]) != dataset_id(ids.owner_of("rival", "42"), [one])


@pytest.mark.parametrize("who", ["", "x" * 257, "a\n"])
def test_consent_names_who_gave_it(who):
    with pytest.raises(ValueError, match="who gave it"):
        Consent(who, NOW)


def test_consent_names_the_text_that_was_shown():
    with pytest.raises(ValueError, match="version of its text"):
        Consent("user", NOW, "")


# adapter card


CARD = AdapterCard(
    owner=OWNER,
    model="me",
    request="r1",
    base="tiny",
    base_digest="",
    family="stable-diffusion",
    rank=4,
    alpha=4.0,
    targets=Targets.ALL,
    trigger="zorp",
    subject="creature",
    instance_prompt="a photo of zorp creature",
    file_digest=DIGEST,
    file_bytes=100,
    tensors=2,
    resolution=64,
    seed=0,
    report=Report(1, 0.1, 1.0, 4, "cpu"),
    created_at=NOW,
)


@pytest.mark.parametrize(
    "change",
    [
        {"file_digest": "x"},
        {"slot_layout_digest": "x"},
        {"file_bytes": 0},
        {"file_bytes": MAX_ADAPTER_BYTES + 1},
        {"rank": 0},
        {"rank": 129},
        {"alpha": 0.0},
        {"tensors": 0},
    ],
    ids=str,
)
def test_an_adapter_card_is_bound_to_a_file_within_limits(change):
    with pytest.raises(ValueError, match=r".+"):
        replace(CARD, **change)


def test_an_archive_holds_exactly_one_safetensors_file():
    assert [name.endswith(".safetensors") for name in ARCHIVE_MEMBERS].count(True) == 1


# generation


@pytest.mark.parametrize(
    ("field", "good", "wrong"),
    [
        ("prompt", ["x", "x" * MAX_PROMPT_CHARACTERS], ["", " \n", "x" * 1001]),
        ("negative_prompt", ["", "x" * MAX_PROMPT_CHARACTERS], ["x" * 1001]),
        ("seed", [0, 2**63 - 9], [-1, 2**63 - 8]),
        ("count", [1, 8], [0, 9]),
        ("denoising_steps", [1, 200], [0, 201]),
        ("guidance", [1.0, 30.0], [0.99, 30.1, float("nan")]),
        ("adapter_scale", [0.0, 2.0], [-0.1, 2.1, float("nan")]),
        ("width", [None, 32, 2048], [0, 24, 100, 2056]),
        ("height", [None, 32, 2048], [0, 24, 100, 2056]),
    ],
)
def test_a_request_for_images_has_ranges_and_says_them(field, good, wrong):
    request = GenerateRequest(prompt="zorp", owner=OWNER)

    for value in good:
        assert getattr(replace(request, **{field: value}), field) == value
    for value in wrong:
        with pytest.raises(ValueError, match=field):
            replace(request, **{field: value})


# container


def test_the_ml_folder_lies_where_sagemaker_puts_it():
    folder = MlFolder()

    assert folder.hyperparameters == Path("/opt/ml/input/config/hyperparameters.json")
    assert folder.input_data_config == Path("/opt/ml/input/config/inputdataconfig.json")
    assert folder.resource_config == Path("/opt/ml/input/config/resourceconfig.json")
    assert folder.channel("train") == Path("/opt/ml/input/data/train")
    assert folder.model == Path("/opt/ml/model")
    assert folder.output_data == Path("/opt/ml/output/data")
    assert folder.failure == Path("/opt/ml/output/failure")
    assert folder.checkpoints == Path("/opt/ml/checkpoints")
