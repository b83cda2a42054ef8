"""The reader of adapter files: takes what the safetensors library writes, refuses all else."""

from __future__ import annotations

import json
import struct

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from atelier.contracts.errors import AdapterRejected
from atelier.contracts.safetensors import (
    ITEM_BYTES,
    MAX_HEADER_BYTES,
    check_finite,
    read_header,
)

quick = settings(max_examples=60, deadline=None, derandomize=True)
DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}
KEYS = st.from_regex(r"[A-Za-z0-9_]{1,8}(\.[A-Za-z0-9_]{1,8}){0,4}", fullmatch=True)


@st.composite
def tensors(draw):
    """Draw named tensors with finite values, as one adapter file would hold them."""
    dtype = DTYPES[draw(st.sampled_from(sorted(DTYPES)))]
    return {
        key: torch.rand(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))).to(dtype)
        for key in draw(st.lists(KEYS, min_size=1, max_size=4, unique=True))
    }


def written(header: dict | bytes, data: bytes = b"", *, length: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


GOOD = written({"a.lora_A.weight": entry(), "b": entry("F16", [2, 1], [8, 12])}, bytes(12))


# what is read


@quick
@given(tensors(), st.none() | st.dictionaries(st.text("abc", min_size=1), st.text("abc")))
def test_what_the_library_writes_is_read_with_every_tensor_in_its_place(given_tensors, metadata):
    body = save(given_tensors, metadata=metadata)

    header = read_header(body)

    check_finite(body, header)
    assert header.metadata == (metadata or {})
    assert {entry.key for entry in header.tensors} == set(given_tensors)
    for found in header.tensors:
        tensor = given_tensors[found.key]
        assert found.shape == tuple(tensor.shape)
        assert DTYPES[found.dtype] is tensor.dtype
        raw = tensor.contiguous().view(torch.uint8).reshape(-1)
        assert body[found.begin : found.end] == bytes(raw.tolist())


def test_tensors_are_told_in_the_order_of_their_data():
    body = written({"z": entry(), "a": entry(offsets=[8, 16])}, bytes(16))

    assert [found.key for found in read_header(body).tensors] == ["z", "a"]


def test_a_memoryview_is_read_as_bytes_are():
    view = memoryview(GOOD)

    assert read_header(view) == read_header(GOOD)
    check_finite(view, read_header(view))


# what is refused

HEADERS = {
    "no object": b"[]",
    "no json": b"{]",
    "duplicate keys": b'{"a": 1, "a": 2}',
    "nan": b'{"a": NaN}',
    "no tensor": {},
    "metadata only": {"__metadata__": {"format": "pt"}},
    "metadata of numbers": {"__metadata__": {"a": 1}, "a": entry()},
    "metadata as text": {"__metadata__": "pt", "a": entry()},
    "empty key": {"": entry()},
    "a path as key": {"../a": entry()},
    "a long key": {"a" * 300: entry()},
    "an entry that is a list": {"a": []},
    "a missing field": {"a": {"dtype": "F32", "shape": [2]}},
    "a field too many": {"a": {**entry(), "extra": 1}},
    "an integer dtype": {"a": entry("I64", [1])},
    "a dtype of another type": {"a": entry([], [2])},
    "a boolean dtype": {"a": entry("BOOL", [8])},
    "no shape": {"a": entry(shape=None)},
    "a scalar": {"a": entry(shape=[], offsets=[0, 4])},
    "an empty dimension": {"a": entry(shape=[0, 2], offsets=[0, 0])},
    "a negative dimension": {"a": entry(shape=[-1, -2])},
    "a true dimension": {"a": entry(shape=[True, 2])},
    "a broken dimension": {"a": entry(shape=[2.0])},
    "many dimensions": {"a": entry(shape=[1] * 7 + [2])},
    "a huge dimension": {"a": entry(shape=[2**40])},
    "a product that overflows": {"a": entry(shape=[2**24] * 6)},
    "one offset": {"a": entry(offsets=[8])},
    "offsets backwards": {"a": entry(offsets=[8, 0])},
    "negative offsets": {"a": entry(offsets=[-8, 0])},
    "offsets beyond the file": {"a": entry(shape=[4], offsets=[0, 16])},
    "a size that is not the shape's": {"a": entry(shape=[3])},
    "a gap before the data": {"a": entry(shape=[1], offsets=[4, 8])},
    "overlapping tensors": {"a": entry(), "b": entry()},
    "data left over": {"a": entry(shape=[1], offsets=[0, 4])},
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_a_header_that_breaks_a_rule_is_refused_with_where_found_and_allowed(header):
    with pytest.raises(AdapterRejected) as caught:
        read_header(written(header, bytes(8)))

    assert set(caught.value.facts) == {"where", "found", "allowed"}
    assert len(caught.value.message) < 600


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"1234567",
        bytes(8),
        written(b"{", length=1),
        written({"a": entry()}, bytes(8), length=10**9),
        struct.pack("<Q", 2**64 - 1) + GOOD[8:],
        struct.pack("<Q", MAX_HEADER_BYTES + 1) + bytes(MAX_HEADER_BYTES + 1),
        GOOD[:-1],
        GOOD + b"\0",
        b"\x80\x04" + bytes(50),
        b"PK\x03\x04" + bytes(50),
    ],
    ids=[
        "empty",
        "short",
        "zero",
        "tiny",
        "long",
        "2**64",
        "4 MiB",
        "cut",
        "grown",
        "pickle",
        "zip",
    ],
)
def test_a_file_whose_lengths_do_not_agree_is_refused(body):
    with pytest.raises(AdapterRejected):
        read_header(body)


def test_a_header_of_ten_thousand_tensors_is_the_largest():
    def many(count):
        return written(
            {f"t{n}": entry("F16", [1], [2 * n, 2 * n + 2]) for n in range(count)},
            bytes(2 * count),
        )

    assert len(read_header(many(10_000)).tensors) == 10_000
    with pytest.raises(AdapterRejected):
        read_header(many(10_001))


def test_a_header_nested_without_end_is_refused():
    with pytest.raises(AdapterRejected):
        read_header(written(b'{"a":' * 50_000 + b"1" + b"}" * 50_000))


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.data())
def test_no_mutation_ends_in_anything_but_a_refusal_or_a_file_that_the_library_reads(data):
    body = bytearray(data.draw(st.sampled_from([GOOD, SAVED])))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(body) - 1))
        change = data.draw(st.sampled_from(["set", "cut", "insert", "repeat"]))
        if change == "set":
            body[place] = data.draw(st.integers(0, 255))
        elif change == "cut":
            del body[place : place + data.draw(st.integers(1, 9))]
        elif change == "insert":
            body[place:place] = data.draw(st.binary(min_size=1, max_size=9))
        else:
            body[place:place] = body[place : place + 20]
        assume(body)

    read = read_or_refused(bytes(body))

    if read is not None:
        assert set(load(bytes(body))) == {found.key for found in read.tensors}


SAVED = save({"unet.a.lora_A.weight": torch.ones(3, 2), "unet.a.lora_B.weight": torch.zeros(2, 3)})


def read_or_refused(body):
    try:
        header = read_header(body)
        check_finite(body, header)
    except AdapterRejected:
        return None
    return header


@quick
@given(st.binary(max_size=300))
def test_any_bytes_are_a_file_or_refused(body):
    read_or_refused(body)
    read_or_refused(struct.pack("<Q", min(len(body), 40)) + body)


# values


@pytest.mark.parametrize("dtype", sorted(DTYPES))
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")], ids=str)
@pytest.mark.parametrize("place", [0, 7, 14])
def test_a_value_that_is_not_finite_is_found_wherever_it_is(dtype, value, place):
    tensor = torch.rand(15).to(DTYPES[dtype])
    tensor[place] = value
    body = save({"good": torch.ones(4).to(DTYPES[dtype]), "poisoned": tensor})

    with pytest.raises(AdapterRejected) as caught:
        check_finite(body, read_header(body))

    assert caught.value.facts["where"] == "poisoned"


@quick
@given(st.sampled_from(sorted(DTYPES)), st.binary(min_size=4, max_size=64))
def test_finite_means_what_torch_calls_finite(dtype, raw):
    size = ITEM_BYTES[dtype]
    raw = raw[: len(raw) // size * size]
    count = len(raw) // size
    body = written({"a": entry(dtype, [count], [0, len(raw)])}, raw)

    finite = torch.frombuffer(bytearray(raw), dtype=DTYPES[dtype]).isfinite().all().item()

    assert (read_or_refused(body) is not None) is finite


@pytest.mark.parametrize("dtype", sorted(DTYPES))
def test_the_largest_and_smallest_finite_values_are_finite(dtype):
    limits = torch.finfo(DTYPES[dtype])
    values = torch.tensor([limits.max, limits.min, limits.tiny, limits.eps, 0.0, -0.0])
    body = save({"a": values.to(DTYPES[dtype])})

    check_finite(body, read_header(body))


def test_a_poisoned_value_is_found_behind_megabytes_of_others():
    tensor = torch.ones(3_000_001)
    tensor[-1] = float("nan")
    body = save({"a": tensor})

    with pytest.raises(AdapterRejected):
        check_finite(body, read_header(body))
