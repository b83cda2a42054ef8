"""What a fuzzer starts from: real documents and files of every kind, made small."""

from __future__ import annotations

import base64
import gzip
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from atelier.contracts import archive, ids
from atelier.contracts.documents import Document
from atelier.contracts.slot_layout import SlotLayout, SlotMatrix, pack
from atelier.lora.adapter_file import write_adapter
from atelier.lora.bank import AdapterWeights
from atelier.lora.tensor_file import write_tensors
from infra.local.upload_events import object_created
from tests.contract_documents.drawing import DOCUMENTS
from tests.fakes.world import adapter_card, adapter_file, new_world
from training_image.checkpoint import HEADER_KEY, StateCard
from workflows.machines.asl import MACHINES, load

DIGEST = "a" * 64
OWNER = ids.owner_of("default", "42")
FOLDER = f"uploads/{OWNER}/first/"


def _json(*values: object) -> list[bytes]:
    return [json.dumps(value).encode() for value in values]


@cache
def document_kinds() -> Mapping[str, type[Document]]:
    """Return every kind of document by its schema's name."""
    return {kind.SCHEMA: kind for kind in DOCUMENTS}


@cache
def documents() -> Sequence[bytes]:
    """Return a few documents of every kind, always the same."""
    drawn: list[bytes] = []
    for strategy in DOCUMENTS.values():
        few: list[bytes] = []
        settings(
            max_examples=8,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )(given(strategy.map(Document.to_json).map(few.append))(_nothing))()
        drawn += few[1::3]
    return drawn


def _nothing(_: object) -> None:
    """Draw only."""


def some_json() -> Sequence[bytes]:
    return _json({"a": [1, 2.5, -3e9, "ä\u2028\ud83d\ude00", None, True, {}]}, [[[]]], "x", 0)


def inputs() -> Sequence[bytes]:
    small = {"user_id": "42", "photos": FOLDER}
    return _json(
        small,
        {**small, "user_id": 42, "preset": "nano", "hyperparameters": {"rank": 4, "steps": 6}},
        {**small, "consent": {"given_by": "ada", "given_at": "2026-01-01T00:00:00Z"}},
        {**small, "samples": [{"prompt": "a zorp", "seed": 1, "guidance": 2.5}], "trigger": "z"},
        {**small, "resume_at": "PublishModel", "onboarding": {"request": "r" + "a" * 26}},
        {**small, "idempotency_key": "k", "deadline_seconds": 60, "priority": 9, "seed": 7},
    )


def adapter_files() -> Sequence[bytes]:
    halves = {"dtype": "F16", "shape": [2, 1], "data_offsets": [0, 4]}
    text = json.dumps({"__metadata__": {"format": "pt"}, "a.b": halves}).encode()
    small = len(text).to_bytes(8, "little") + text + bytes(4)
    return [small, adapter_file(1, modules=1), adapter_file(2, modules=2)]


def slot_layouts() -> Sequence[bytes]:
    a, b = SlotMatrix("m", "A", (1, 4), 0), SlotMatrix("m", "B", (4, 1), 64)
    layout = SlotLayout(DIGEST, "F32", 1, 1.0, (a, b))
    empty = SlotLayout(DIGEST, "F16", 1, 1.0, ())
    return [pack(layout, bytes(layout.data_bytes)), pack(empty, b"")]


@cache
def archives() -> Sequence[bytes]:
    """Return an artifact, also as the plain tar in a gzip that hides nothing from mutations."""
    with new_world() as world:
        record = world.read(world.registered())
        file = adapter_file(1, modules=1)
        card = replace(adapter_card(record, file), tensors=2).to_json()
    packed = archive.pack({"adapter.json": card, "adapter.safetensors": file})
    plain = gzip.decompress(packed)
    return [packed, gzip.compress(plain, 0, mtime=0), gzip.compress(plain[:1024], 0, mtime=0)]


def tars() -> Sequence[bytes]:
    return [gzip.decompress(packed) for packed in archives()]


@cache
def lora_files() -> Sequence[bytes]:
    a, b = torch.ones(1, 4), torch.ones(4, 1)
    both = AdapterWeights(1, 2.5, {"m": (a, b), "block_0.to_q": (a, b)})
    return [write_adapter(both), write_adapter(both, dtype=torch.float32)]


@cache
def training_states() -> Sequence[bytes]:
    card = StateCard("r" + "a" * 26, 3, DIGEST, 0.5, 1.0)
    tensors = {"weight.m.A": torch.ones(1, 4), "first.m.A": torch.zeros(1, 4)}
    return [write_tensors(tensors, {HEADER_KEY: card.to_json().decode()})]


def events() -> Sequence[bytes]:
    key = f"{FOLDER}_complete.json"
    record = {"eventName": "ObjectCreated:Put", "s3": {"object": {"key": key}}}
    return _json(object_created(key), {"Records": [record, record]}, {"Event": "s3:TestEvent"})


def object_keys() -> Sequence[bytes]:
    return [FOLDER.encode() + b"01.png", b"artifacts/tiny/o/me/v1-0a.tar.gz", b"a/../b", b"/etc"]


def names() -> Sequence[bytes]:
    return [b"r" + b"a" * 26 + b"-12", b"default", b"ada@example.org", "Zoë 漢".encode(), b"me-2"]


def times() -> Sequence[bytes]:
    return [b"2026-01-01T00:00:00.123456789Z", b"2026-01-01T00:00:00+05:30", b"0001-01-01"]


def cursors() -> Sequence[bytes]:
    place = json.dumps(["2026-01-01T00:00:00.000Z", "r" + "a" * 26]).encode()
    return [base64.urlsafe_b64encode(place).rstrip(b"="), b"W10", b"e30"]


def policies() -> Sequence[bytes]:
    document = {
        "expiration": "2026-01-02T00:00:00.000Z",
        "conditions": [
            {"key": "k"},
            {"content-type": "image/png"},
            ["content-length-range", 1, 100_000],
        ],
    }
    return [base64.b64encode(raw) for raw in _json(document, [], {"conditions": [1, 2, 3]})]


def definitions() -> Sequence[bytes]:
    small: dict[str, Any] = {
        "TrainingJobName": "atelier-1",
        "RoleArn": "arn:aws:iam::000000000000:role/atelier-training",
        "AlgorithmSpecification": {"TrainingImage": "image", "TrainingInputMode": "File"},
        "OutputDataConfig": {"S3OutputPath": "s3://atelier/training-output/"},
        "ResourceConfig": {
            "InstanceType": "ml.g5.xlarge",
            "InstanceCount": 1,
            "VolumeSizeInGB": 50,
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
    }
    channel = {
        "ChannelName": "data",
        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://atelier/x/"}},
    }
    return _json(
        small,
        {
            **small,
            "InputDataConfig": [channel],
            "CheckpointConfig": {"S3Uri": "s3://atelier/checkpoints/j/"},
            "HyperParameters": {"a": "b"},
            "Environment": {"A": "b"},
            "EnableManagedSpotTraining": True,
        },
    )


def causes() -> Sequence[bytes]:
    inner = json.dumps({"errorType": "NotFound", "errorMessage": "m", "facts": {"where": "x"}})
    return _json({"errorMessage": inner}, {"errorMessage": "plain", "facts": {"self": 1}}, [])


@cache
def photos() -> Sequence[bytes]:
    """Return a tiny photo of every kind and mode that is read."""
    bodies = []
    grey = Image.linear_gradient("L").resize((16, 16))
    for kind, mode in (
        ("PNG", "RGB"),
        ("PNG", "P"),
        ("PNG", "LA"),
        ("PNG", "I;16"),
        ("JPEG", "RGB"),
        ("JPEG", "CMYK"),
        ("WEBP", "RGBA"),
    ):
        image = grey.convert("I").convert("I;16") if mode == "I;16" else grey.convert(mode)
        exif = Image.Exif()
        exif[0x0112] = 6
        out = io.BytesIO()
        image.save(out, kind, exif=exif)
        bodies.append(out.getvalue())
    return [*bodies, b"GIF89a", b"\0\0\0\x20ftypheic"]


def loads() -> Sequence[bytes]:
    return _json({"model_name": "m", "url": "/opt/ml/models/m/model", "more": 1})


def environments() -> Sequence[bytes]:
    return _json(
        {"SAGEMAKER_BIND_TO_PORT": "8080", "ATELIER_SERVE_SLOTS": "4", "ATELIER_BASE": "tiny"},
        {"ATELIER_TRAIN_SLOTS": "2", "OMP_NUM_THREADS": "1", "ATELIER_OBJECTS": "s3://b/"},
        {"ATELIER_SERVE_TARGETS": "all", "ATELIER_SERVE_HOST_MEBIBYTES": "1"},
    )


def machines() -> Sequence[bytes]:
    ours = [json.dumps(load(name)).encode() for name in MACHINES]
    small = {"StartAt": "A", "States": {"A": {"Type": "Pass", "Result": 1, "End": True}}}
    mapped = {
        "StartAt": "M",
        "States": {
            "M": {
                "Type": "Map",
                "ItemsPath": "$.l[*]",
                "ItemProcessor": small,
                "MaxConcurrency": 2,
                "Next": "W",
            },
            "W": {"Type": "Wait", "TimestampPath": "$.a", "Next": "P"},
            "P": {"Type": "Parallel", "Branches": [small], "End": True},
        },
    }
    return [*_json(small, mapped), *ours]


def calls() -> Sequence[bytes]:
    return [
        rb"States.Format('{}-\'{}', $.n, States.UUID())",
        b"States.ArrayPartition($.l, 2)",
        b"States.JsonMerge($.a, $.a, false)",
        b"States.StringSplit('1,2', ',')",
        b"States.MathRandom(1, 9, 3)",
        b"States.Base64Decode(States.Base64Encode($.s))",
        b"States.Hash($.s, 'SHA-256')",
        b"States.ArrayRange(1, 9, 2)",
        b"States.StringToJson('[1]')",
        b"States.ArrayGetItem($.l, 0)",
        b"States.ArrayUnique($.l)",
        b"States.ArrayContains($.l, 7)",
    ]


def paths() -> Sequence[bytes]:
    return [
        b"$.a.b[0]",
        b"$..c",
        b"$.l[-1][0:2]",
        b"$['a']['b'][*]",
        b"$.l[?(@[0] == 1 && !(@[1] < 2))]",
        b"$.a.b[0,1]",
        b"$$.Execution",
    ]


def choices() -> Sequence[bytes]:
    return _json(
        {"Variable": "$.n", "NumericEquals": 7, "Next": "A"},
        {"And": [{"Variable": "$.s", "StringMatches": "t*\\*"}, {"Not": {"Or": []}}]},
        {"Variable": "$.a.b[5].c", "TimestampLessThanPath": "$.s"},
        {"Variable": "$.zz", "IsPresent": False},
    )


def templates() -> Sequence[bytes]:
    return _json({"a.$": "$.a", "b": [{"c.$": "States.Format('{}', $.n)"}]}, {"x": 1}, [])


def mutations(starts: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Return bytes that are nearly one of `starts`: a few places cut, doubled or overwritten."""

    @st.composite
    def mutated(draw: st.DrawFn) -> bytes:
        body = bytearray(draw(st.sampled_from(starts)))
        for _ in range(draw(st.integers(0, 4))):
            at = draw(st.integers(0, len(body)))
            cut = draw(st.sampled_from([0, 0, 1, 2, 8, 64]))
            put = draw(st.sampled_from(TOKENS) | st.binary(max_size=4))
            body[at : at + cut] = put
        return bytes(body)

    return mutated()


TOKENS: Sequence[bytes] = [
    *[b"", b"0", b"-1", b"1e999", b"9" * 400, b"null", b"true", b"[]", b"{}", b'""', b'"', b"'"],
    *[b"[" * 600, b'{"a":' * 60, b"NaN", b"\\ud800", b"\x00", b"\xff\xff\xff\xff", b"\xed\xa0\x80"],
    *[b"../", b"/", b".", b"$", b"@", b"[?(", b"States.", b"\\", b":", b",", b"\r\n", b" ", b"-"],
]
