"""Doors that somebody once got through: what was found there stays refused."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from atelier.contracts import archive, keys
from atelier.contracts.clock import ManualClock
from atelier.contracts.container import MlFolder
from atelier.contracts.control import Answer
from atelier.contracts.documents import DocumentError, parse_json
from atelier.contracts.errors import AdapterRejected, ContractBroken, InvalidRequest
from atelier.contracts.progress import Progress
from atelier.objects import FileObjects
from infra.local.model_disk import ModelDisk
from serving_image.artifact import check_url
from serving_image.settings import from_environment as serve_settings
from tasks import settle_execution
from tasks.causes import read_error
from tests.fakes.world import new_world
from training_image.assignment import read_assignment
from training_image.control import ControlChannel, Reply
from training_image.settings import from_environment as train_settings
from workflows.engine.errors import StateFailure
from workflows.engine.intrinsics import compile_call
from workflows.engine.jsontext import DEPTH_LIMIT, decode_from_outside
from workflows.engine.paths import Scope

DEEP = "[" * 100_000


def test_many_doubled_keys_are_found_in_one_pass() -> None:
    names = ", ".join(f'"{n}": 1' for n in range(200_000))
    with pytest.raises(DocumentError, match=r"keys stand twice: \['7'\]"):
        parse_json(f'{{{names}, "7": 2}}')


def test_a_refusal_repeats_little_of_what_it_refuses() -> None:
    for given in (
        {f"unknown{n}": 1 for n in range(10_000)},
        {"schema": "x" * 10_000},
        {"schema": Progress.schema_name(), "state": "x" * 10_000},
        {"schema": Progress.schema_name(), "x" * 10_000: 1},
    ):
        with pytest.raises(DocumentError) as caught:
            Progress.from_dict({"schema": Progress.schema_name(), **given})
        assert len(str(caught.value)) < 1000


def test_a_misspelt_field_is_told_with_the_one_that_was_meant() -> None:
    with pytest.raises(DocumentError, match=r"did you mean request\?"):
        Progress.from_dict({"schema": Progress.schema_name(), "requets": "r"})


@pytest.mark.parametrize("cause", [DEEP, f'{{"errorMessage": {json.dumps(DEEP)}}}'])
def test_a_cause_however_deep_is_read_as_text(cause: str) -> None:
    assert read_error({"Error": "States.Runtime", "Cause": cause}).error == "States.Runtime"


@pytest.mark.parametrize("given", [DEEP, 7, [], "[1]", "\x00"])
def test_an_execution_whose_input_does_not_read_settles_nothing(given: Any) -> None:
    with new_world() as world:
        detail = {"name": "by-hand", "status": "FAILED", "input": given}
        assert settle_execution.run(detail, ports=world.ports) == {"settled": False}


@pytest.mark.parametrize("url", ["/" + "a" * 300, "/" + "a/" * 2000, "", "a", "/\x00", None, 7])
def test_an_address_that_no_disk_can_have_is_refused(url: object) -> None:
    with pytest.raises(InvalidRequest):
        check_url(url)


def test_a_control_message_under_a_name_that_cannot_be_acknowledged_stops_no_host(
    tmp_path: Path,
) -> None:
    objects = FileObjects(tmp_path)
    folder = tmp_path / keys.control_prefix("job", "algo-1") / "messages"
    folder.mkdir(parents=True)
    for name in ("a b.json", "ü.json", "-x.json", "x.txt", "good.json"):
        (folder / name).write_bytes(b"{}")
    channel = ControlChannel(objects=objects, job="job", host="algo-1", clock=ManualClock())
    channel.poll()
    channel.attend(lambda _: Reply(Answer.DONE, ""))
    acks = folder.parent / "acks"
    assert [path.name for path in acks.iterdir()] == ["good.json"]


@pytest.mark.parametrize("key", ["../secret", "/etc/passwd", "", "a\x00b", "a" * 600])
def test_a_manifest_key_that_is_none_is_told_before_anything_is_fetched(
    tmp_path: Path, key: str
) -> None:
    ml = MlFolder(tmp_path)
    ml.hyperparameters.parent.mkdir(parents=True)
    given = {"manifest_key": key, "manifest_digest": "0" * 64}
    ml.hyperparameters.write_text(json.dumps(given))
    with pytest.raises(ContractBroken, match="manifest_key"):
        read_assignment(ml, objects=FileObjects(tmp_path))


def test_an_archive_beyond_its_size_is_refused_unread(tmp_path: Path) -> None:
    class Huge:
        def read(self, key: str, *, max_bytes: int) -> bytes:
            assert max_bytes == archive.MAX_ARCHIVE_BYTES
            raise ContractBroken(f"{key} is too large", where=key, found=10**12)

    disk: Any = ModelDisk(tmp_path / "disk", objects=Huge(), max_bytes=1)  # type: ignore[arg-type]
    with pytest.raises(AdapterRejected, match="1000000000000 bytes"):
        disk.fetch("a.tar.gz", in_use=lambda _: False)


def test_data_from_outside_nests_no_deeper_than_the_engine_walks() -> None:
    nested = "[" * DEPTH_LIMIT + "]" * DEPTH_LIMIT
    assert decode_from_outside(nested)
    for text in (f"[{nested}]", f'{{"a": {nested}}}', DEEP):
        with pytest.raises(ValueError, match="nested"):
            decode_from_outside(text)
    assert decode_from_outside(json.dumps([[]] * 1000)) == [[]] * 1000


@pytest.mark.parametrize("depth", [300, 900])
def test_a_function_on_data_that_states_nested_deep_fails_its_state_alone(depth: int) -> None:
    data: Any = "x"
    for _ in range(depth):
        data = [data]
    for text in ("States.Format('{}', $)", "States.StringToJson(States.JsonToString($))"):
        call = compile_call(text)
        with contextlib.suppress(StateFailure):
            call.evaluate(Scope(data, {}, {}))


def test_a_range_beyond_what_an_index_holds_is_refused() -> None:
    with pytest.raises(StateFailure, match="at most 1,000"):
        compile_call("States.ArrayRange(1, 9999999999999999999999, 2)").evaluate(Scope({}, {}, {}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ATELIER_OBJECTS", "ftp://x"),
        ("ATELIER_OBJECTS", "file://host/x"),
        ("ATELIER_OBJECTS", "s3://"),
        ("ATELIER_OBJECTS", "http://["),
        ("ATELIER_OBJECTS", "s3://b/\n"),
        ("ATELIER_BASE", "../x"),
        ("ATELIER_SERVE_TARGETS", "none"),
        ("ATELIER_SERVE_DEVICE", "warp"),
        ("ATELIER_SERVE_SLOTS", "-1"),
        ("ATELIER_SERVE_ROWS", "1e3"),
        ("SAGEMAKER_BIND_TO_PORT", "99999"),
        ("ATELIER_SERVE_RANK", "\u0663"),
    ],
)
def test_a_model_server_whose_environment_does_not_read_says_what_is_allowed(
    name: str, value: str
) -> None:
    with pytest.raises((ValueError, InvalidRequest), match=r"allowed"):
        serve_settings({name: value})


@pytest.mark.parametrize("value", ["", "ftp://x", "s3://", "file:x", "http://["])
def test_a_training_host_without_a_bucket_names_the_variable(value: str) -> None:
    with pytest.raises(ValueError, match="ATELIER_OBJECTS"):
        train_settings({"ATELIER_OBJECTS": value})
