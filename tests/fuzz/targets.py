"""Every parser that strangers' bytes reach, as a function of bytes that may only refuse politely.

A target's `run` takes any bytes. It may return, or raise one of `refusals`; everything else, a
broken property included, is a finding. One table serves the fuzzer (`tests.fuzz.fuzzer`, guided by
coverage), hypothesis in the suite, and the replay of every case that was ever found.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath
from typing import Any

import torch

from app.api import keys as api_keys
from atelier.contracts import archive, ids, keys, slot_layout
from atelier.contracts.adapter import ARCHIVE_MEMBERS, MAX_MEMBER_BYTES
from atelier.contracts.clock import ManualClock, from_iso, to_iso
from atelier.contracts.documents import DocumentError, canonical_json, parse_json
from atelier.contracts.errors import AdapterRejected, CallerError, InvalidRequest, ObjectMissing
from atelier.contracts.generation import GenerateRequest
from atelier.contracts.request import OnboardingRequest, normalise, read_input
from atelier.contracts.safetensors import check_finite, read_header
from atelier.lora.adapter_file import read_adapter
from atelier.lora.bank import ModuleShape
from atelier.lora.slot_file import read_slots
from atelier.photos.decoding import LONG_SIDE_PIXELS, Decoded, PhotoLimits, decode
from atelier.photos.looking import look
from infra.local.job_definition import read_definition
from infra.local.upload_forms import check_upload, hmac_signer
from serving_image.artifact import read_archive
from serving_image.bodies import read_document, read_load
from serving_image.settings import from_environment as read_serve_settings
from tasks import start_from_upload
from tasks.causes import as_error, cause_of, read_error
from tasks.cursors import read_cursor
from tests.fuzz import seeds
from training_image.checkpoint import read_state
from training_image.settings import from_environment as read_train_settings
from workflows.engine import jsontext
from workflows.engine.choices import compile_test
from workflows.engine.errors import InvalidDefinition, StateFailure
from workflows.engine.intrinsics import compile_call
from workflows.engine.parse import parse_machine
from workflows.engine.paths import Scope, compile_path
from workflows.engine.templates import compile_template, fill
from workflows.validator.findings import render
from workflows.validator.validating import validate_text

NOW = ManualClock().now()
SECRET = b"a secret of the tests, 32 bytes."
SIGN = hmac_signer(SECRET)
SMALL = PhotoLimits(most_bytes=1024 * 1024, most_pixels=1_000_000, least_side_pixels=8)
SHAPES = {name: ModuleShape(name, (1, 4), (4, 1)) for name in ("m", "block_0.to_q")}
SCOPE_DATA: Any = {
    "a": {"b": [1, 2.5, "x", None, True, {"c": "2026-01-01T00:00:00Z"}], "": 0},
    "n": 7,
    "s": "text",
    "l": [[1, 2], [3], []],
}


@dataclass(frozen=True, slots=True)
class Target:
    """One parser: its name, what it does with bytes, how it may refuse, and bytes to start from."""

    name: str
    run: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...]
    seeds: Callable[[], Sequence[bytes]]

    def try_with(self, data: bytes) -> bool:
        """Run on `data`; return whether it was taken, False when it was refused politely."""
        try:
            self.run(data)
        except self.refusals as problem:
            refusal = str(problem)
        else:
            return True
        # It is for people: it ends, and UTF-8 can carry it.
        assert len(refusal.encode()) <= MAX_REFUSAL_BYTES, "the refusal has no end"
        return False


MAX_REFUSAL_BYTES = 20_000


def text_of(data: bytes) -> str:
    return data.decode("utf-8", errors="replace")


# contracts


def read_json(data: bytes) -> None:
    value = parse_json(data)
    written = canonical_json(value)
    assert canonical_json(parse_json(written)) == written


def read_any_document(data: bytes) -> None:
    said = re.search(rb'"schema"\s*:\s*"([a-z.-]+)/', data)
    kinds = seeds.document_kinds()
    kind = kinds.get(said[1].decode()) if said else None
    kind = kind or list(kinds.values())[len(data) % len(kinds)]
    document = kind.from_json(data)
    written = document.to_json()
    assert kind.from_json(written).to_json() == written


def read_console_input(data: bytes) -> None:
    asked = normalise(read_input(parse_json(data)), now=NOW)
    assert OnboardingRequest.from_json(asked.to_json()).to_json() == asked.to_json()
    assert ids.REQUEST_PATTERN.fullmatch(asked.request)
    keys.upload_prefix(asked.owner, "set")


def read_safetensors(data: bytes) -> None:
    header = read_header(data)
    check_finite(data, header)
    assert header.tensors[-1].end == len(data)
    assert all(a.end == b.begin for a, b in zip(header.tensors, header.tensors[1:], strict=False))


def read_slot_layout(data: bytes) -> None:
    layout, body = slot_layout.unpack(data, adapter_digest=seeds.DIGEST)
    assert len(body) == layout.data_bytes


def read_members(data: bytes) -> None:
    for member in archive.read(data):
        assert member.name in ARCHIVE_MEMBERS
        assert 0 < member.size <= MAX_MEMBER_BYTES[member.name]
        assert sum(map(len, member.chunks)) == member.size


def read_plain_members(data: bytes) -> None:
    """Read `data` as the tar inside the gzip, whose checksum would hide it from mutations."""
    read_members(gzip.compress(data, 0))


def read_tensor_file(data: bytes) -> None:
    weights = read_adapter(data, SHAPES, max_rank=2)
    for a, b in weights.matrices.values():
        assert torch.isfinite(a).all()
        assert torch.isfinite(b).all()
        assert a.shape[0] == b.shape[1] == weights.rank


def read_slot_file(data: bytes) -> None:
    weights = read_slots(data, SHAPES, adapter_digest=seeds.DIGEST, max_rank=2)
    for a, b in weights.matrices.values():
        assert torch.isfinite(a).all()
        assert torch.isfinite(b).all()


def read_training_state(data: bytes) -> None:
    state = read_state(data)
    assert all(torch.isfinite(tensor).all() for tensor in state.tensors.values())


def read_artifact(data: bytes) -> None:
    artifact = read_archive(data)
    assert ids.digest_of(artifact.adapter) == artifact.card.file_digest


def read_key(data: bytes) -> None:
    path = PurePosixPath(keys.check_key(text_of(data)))
    assert not path.is_absolute()
    assert str(path) == text_of(data)
    assert not any(part.startswith(".") for part in path.parts)


def read_ids(data: bytes) -> None:
    text = text_of(data)
    named = ids.split_execution_name(text)
    if named is not None:
        assert ids.execution_name(*named) == text
    kinds = [ids.check_tenant, ids.check_user, ids.check_model]
    kinds[len(data) % 3](text)
    ids.request_from_key("o" + "a" * 26, text)


def read_time(data: bytes) -> None:
    moment = from_iso(text_of(data))
    assert from_iso(to_iso(moment)) == moment.replace(microsecond=moment.microsecond // 1000 * 1000)


# tasks, API, local platform


def read_event(data: bytes) -> None:
    told = start_from_upload.run(parse_json(data), ports=NO_UPLOADS)
    assert not told["started"]


class _Empty:
    """A bucket without objects, and no other port."""

    def read(self, key: str, **_: Any) -> bytes:
        keys.check_key(key)
        raise ObjectMissing(f"object {key} is not there", key=key)

    @property
    def objects(self) -> _Empty:
        return self


NO_UPLOADS: Any = _Empty()


def read_page_cursor(data: bytes) -> None:
    created_at, request = read_cursor(text_of(data))
    from_iso(created_at)
    request.encode()


def read_api_key(data: bytes) -> None:
    text = text_of(data)
    caller = api_keys.verify(SECRET, text)
    if caller is not None:
        assert api_keys.mint(SECRET, caller.tenant, caller.user) == text


def read_upload_form(data: bytes) -> None:
    policy = text_of(data)
    signature = SIGN(b"atelier.upload-policy/1\n" + policy.encode(errors="replace"))
    fields = {"policy": policy, "signature": signature, "key": "k", "content-type": "image/png"}
    check_upload(fields, body_bytes=len(data), sign=SIGN, now=NOW)


def read_job_definition(data: bytes) -> None:
    given = parse_json(data)
    read_definition(given if isinstance(given, dict) else {}, bucket_urls=("s3://atelier/",))


def read_state_error(data: bytes) -> None:
    failure = read_error({"Error": text_of(data[:8]), "Cause": text_of(data)})
    as_error(failure)
    assert len(cause_of(failure)) <= 32_768


def read_photo(data: bytes) -> None:
    found = decode(data, SMALL)
    if isinstance(found, Decoded):
        assert found.pixels.mode == "RGB"
        assert max(found.pixels.size) <= LONG_SIDE_PIXELS
        assert not found.pixels.info
    look("photo", data, SMALL)


def read_drawing(data: bytes) -> None:
    wanted = read_document(GenerateRequest, data)
    assert wanted.count <= 8


def read_environment(data: bytes) -> None:
    given = parse_json(data)
    texts = {str(k): str(v) for k, v in given.items()} if isinstance(given, dict) else {}
    read_serve_settings(texts)
    read_train_settings({"ATELIER_OBJECTS": "file:///tmp/", **texts})


# state machines


def read_engine_json(data: bytes) -> None:
    written = jsontext.encode(jsontext.decode(text_of(data)))
    assert jsontext.encode(jsontext.decode(written)) == written


def read_machine(data: bytes) -> None:
    parse_machine(jsontext.decode(text_of(data)))


def read_findings(data: bytes) -> None:
    render(validate_text(text_of(data), placeholders=("RegisterFunction",)))


def read_call(data: bytes) -> None:
    jsontext.encode(compile_call(text_of(data)).evaluate(Scope(SCOPE_DATA, {}, {}, "seed")))


def read_path(data: bytes) -> None:
    path = compile_path(text_of(data))
    found = path.find_in(SCOPE_DATA)
    if found is not jsontext.MISSING:
        jsontext.encode(found)


def read_choice(data: bytes) -> None:
    compile_test(jsontext.decode(text_of(data))).holds(Scope(SCOPE_DATA, {}, {}, "seed"))


def read_template(data: bytes) -> None:
    template = compile_template(jsontext.decode(text_of(data)))
    jsontext.encode(fill(template, Scope(SCOPE_DATA, {}, {}, "seed")))


TARGETS: Sequence[Target] = (
    Target("json", read_json, (DocumentError,), seeds.some_json),
    Target("documents", read_any_document, (DocumentError,), seeds.documents),
    Target("console-input", read_console_input, (CallerError, DocumentError), seeds.inputs),
    Target("safetensors", read_safetensors, (AdapterRejected,), seeds.adapter_files),
    Target("slot-layout", read_slot_layout, (AdapterRejected,), seeds.slot_layouts),
    Target("archive", read_members, (AdapterRejected,), seeds.archives),
    Target("tar", read_plain_members, (AdapterRejected,), seeds.tars),
    Target("tensors", read_tensor_file, (AdapterRejected,), seeds.lora_files),
    Target("slots", read_slot_file, (AdapterRejected,), seeds.slot_layouts),
    Target(
        "training-state",
        read_training_state,
        (AdapterRejected, DocumentError),
        seeds.training_states,
    ),
    Target("event", read_event, (DocumentError,), seeds.events),
    Target("artifact", read_artifact, (AdapterRejected,), seeds.archives),
    Target("keys", read_key, (ValueError,), seeds.object_keys),
    Target("ids", read_ids, (ValueError,), seeds.names),
    Target("times", read_time, (ValueError,), seeds.times),
    Target("cursor", read_page_cursor, (InvalidRequest,), seeds.cursors),
    Target("api-key", read_api_key, (), lambda: [api_keys.mint(SECRET, "t", "42").encode()]),
    Target("upload-form", read_upload_form, (InvalidRequest,), seeds.policies),
    Target(
        "job-definition", read_job_definition, (InvalidRequest, DocumentError), seeds.definitions
    ),
    Target("state-error", read_state_error, (), seeds.causes),
    Target("photo", read_photo, (), seeds.photos),
    Target("drawing", read_drawing, (InvalidRequest,), seeds.documents),
    Target("load-model", read_load, (InvalidRequest,), seeds.loads),
    Target("environment", read_environment, (ValueError, InvalidRequest), seeds.environments),
    Target("engine-json", read_engine_json, (ValueError,), seeds.some_json),
    Target("machine", read_machine, (ValueError, InvalidDefinition), seeds.machines),
    Target("findings", read_findings, (), seeds.machines),
    Target("intrinsic", read_call, (ValueError, StateFailure), seeds.calls),
    Target("path", read_path, (ValueError,), seeds.paths),
    Target("choice", read_choice, (ValueError, StateFailure), seeds.choices),
    Target("template", read_template, (ValueError, StateFailure), seeds.templates),
)


@cache
def target(name: str) -> Target:
    """Return the target of a name."""
    return next(found for found in TARGETS if found.name == name)
