"""Adapter files and slot-layout files: what is written reads back, and nothing else is read."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import torch

from atelier.contracts import ids
from atelier.contracts.adapter import AdapterCard, TrainingReport
from atelier.contracts.base_models import Family
from atelier.contracts.errors import AdapterRejected
from atelier.contracts.safetensors import read_header
from atelier.contracts.settings import Targets
from atelier.lora.adapter_file import METADATA_KEY, check_card, read_adapter, write_adapter
from atelier.lora.bank import AdapterWeights
from atelier.lora.slot_file import read_slots, write_slots
from tests.lora.test_bank import SHAPES, weights

BY_NAME = {shape.name: shape for shape in SHAPES}
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
OTHER = "0" * 64


def same(found: AdapterWeights, expected: AdapterWeights, dtype: torch.dtype) -> bool:
    return (found.rank, found.alpha) == (expected.rank, expected.alpha) and all(
        torch.equal(found.matrices[name][part], expected.matrices[name][part].to(dtype))
        for name in expected.matrices
        for part in (0, 1)
    )


def rewritten(body: bytes, change) -> bytes:
    size = int.from_bytes(body[:8], "little")
    header = json.loads(body[8 : 8 + size])
    change(header)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body[8 + size :]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rank", [1, 3, 4])
def test_an_adapter_file_reads_back_as_it_was_written(dtype, rank):
    body = write_adapter(weights(rank), dtype=dtype)
    assert same(read_adapter(body, BY_NAME, max_rank=4), weights(rank), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_slot_file_reads_back_as_it_was_written(dtype):
    body = write_slots(weights(3), adapter_digest=OTHER, dtype=dtype)
    found = read_slots(body, BY_NAME, adapter_digest=OTHER, max_rank=4)
    assert same(found, weights(3), dtype)


def test_equal_weights_are_equal_bytes():
    assert write_adapter(weights(2)) == write_adapter(weights(2))
    first, second = (write_slots(weights(2), adapter_digest=OTHER) for _ in range(2))
    assert first == second


def test_the_header_says_pt_alpha_and_what_else_is_told():
    metadata = read_header(write_adapter(weights(4), about={"title": "zorp"})).metadata
    config = json.loads(metadata[METADATA_KEY])
    assert metadata["format"] == "pt"
    assert metadata["title"] == "zorp"
    assert (config["unet.r"], config["unet.lora_alpha"]) == (4, 8)
    assert config["unet.target_modules"] == ["conv1", "to_q"]


def test_an_adapter_of_some_of_the_modules_reads():
    body = write_adapter(weights(2, modules=SHAPES[:1]))
    assert list(read_adapter(body, BY_NAME, max_rank=4).matrices) == ["to_q"]


CHANGES = {
    "no metadata": lambda h: h.pop("__metadata__"),
    "no config": lambda h: h["__metadata__"].pop(METADATA_KEY),
    "config that is no JSON": lambda h: h["__metadata__"].update({METADATA_KEY: "{"}),
    "config that is a list": lambda h: h["__metadata__"].update({METADATA_KEY: "[]"}),
    "rank of another kind": lambda h: config(h, r=True),
    "rank zero": lambda h: config(h, r=0),
    "rank above the bank's": lambda h: config(h, r=5),
    "another rank than the tensors'": lambda h: config(h, r=3),
    "alpha zero": lambda h: config(h, lora_alpha=0),
    "alpha of text": lambda h: config(h, lora_alpha="4"),
    "ranks per module": lambda h: config(h, rank_pattern={"to_q": 1}),
    "rslora": lambda h: config(h, use_rslora=True),
    "an unknown module": lambda h: rename(h, "to_q", "to_z"),
    "a text encoder's module": lambda h: rename(h, "unet.to_q", "text_encoder.to_q"),
    "A without B": lambda h: rename(h, "unet.to_q.lora_B", "unet.to_q.lora_C"),
    "transposed A": lambda h: h["unet.to_q.lora_A.weight"]["shape"].reverse(),
    "flat convolution": lambda h: h["unet.conv1.lora_B.weight"].update(shape=[7, 4]),
}


def config(header, **values):
    given = json.loads(header["__metadata__"][METADATA_KEY])
    given.update({f"unet.{key}": value for key, value in values.items()})
    header["__metadata__"][METADATA_KEY] = json.dumps(given)


def rename(header, old, new):
    for key in [key for key in header if old in key]:
        header[key.replace(old, new)] = header.pop(key)


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_breaks_a_rule_is_rejected_with_where_found_and_allowed(change):
    body = rewritten(write_adapter(weights(4)), CHANGES[change])
    with pytest.raises(AdapterRejected) as problem:
        read_adapter(body, BY_NAME, max_rank=4)
    assert set(problem.value.facts) == {"where", "found", "allowed"}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_rejected(value):
    bad = weights(4)
    bad.matrices["to_q"][1][0, 0] = value
    with pytest.raises(AdapterRejected, match="NaN or infinity"):
        read_adapter(write_adapter(bad), BY_NAME, max_rank=4)
    with pytest.raises(AdapterRejected, match="NaN or infinity"):
        read_slots(
            write_slots(bad, adapter_digest=OTHER), BY_NAME, adapter_digest=OTHER, max_rank=4
        )


def test_weights_beyond_half_precision_are_rejected_when_read():
    bad = weights(4)
    bad.matrices["to_q"][1][0, 0] = 1e6
    with pytest.raises(AdapterRejected, match="infinity"):
        read_adapter(write_adapter(bad, dtype=torch.float16), BY_NAME, max_rank=4)


def test_a_slot_file_is_bound_to_its_adapter_file():
    body = write_slots(weights(4), adapter_digest=OTHER)
    with pytest.raises(AdapterRejected, match="another adapter file"):
        read_slots(body, BY_NAME, adapter_digest="1" * 64, max_rank=4)


def test_a_slot_file_of_other_modules_shapes_or_rank_is_rejected():
    body = write_slots(weights(4), adapter_digest=OTHER)
    narrow = {"to_q": BY_NAME["to_q"]}
    wide = {**BY_NAME, "to_q": replace(BY_NAME["to_q"], a=(4, 9))}
    for shapes, max_rank, where in (
        (narrow, 4, "conv1"),
        (wide, 4, "to_q A"),
        (BY_NAME, 3, "header"),
    ):
        with pytest.raises(AdapterRejected) as problem:
            read_slots(body, shapes, adapter_digest=OTHER, max_rank=max_rank)
        assert problem.value.facts["where"] == where


def card_for(body: bytes) -> AdapterCard:
    return AdapterCard(
        owner="o",
        model="me",
        request="r",
        base="tiny",
        base_digest=OTHER,
        family=Family.STABLE_DIFFUSION,
        rank=4,
        alpha=8.0,
        targets=Targets.ALL,
        trigger="zorp",
        subject="creature",
        instance_prompt="a photo of zorp creature",
        file_digest=ids.digest_of(body),
        file_bytes=len(body),
        tensors=4,
        resolution=64,
        seed=0,
        report=TrainingReport(1, 0.1, 1.0, 4, "cpu"),
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def test_a_card_fits_its_own_file_and_base_and_no_other():
    body = write_adapter(weights(4))
    card = card_for(body)
    fits = {"base": "tiny", "base_digest": OTHER, "family": Family.STABLE_DIFFUSION, "body": body}
    check_card(card, **fits)
    for change in (
        {"base": "sd15"},
        {"base_digest": "1" * 64},
        {"family": Family.STABLE_DIFFUSION_XL},
        {"body": body + b" "},
        {"body": write_adapter(weights(4, seed=1))},
    ):
        with pytest.raises(AdapterRejected):
            check_card(card, **{**fits, **change})
