"""The slot-layout file: packed, unpacked, bound to one adapter file, never to another."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atelier.contracts import ids
from atelier.contracts.errors import AdapterRejected
from atelier.contracts.slot_layout import (
    ALIGNMENT_BYTES,
    MAGIC,
    SlotLayout,
    SlotMatrix,
    align,
    pack,
    unpack,
)
from tests.contract_documents.drawing import slot_layouts

quick = settings(max_examples=60, deadline=None, derandomize=True)
DIGEST = ids.digest_of(b"adapter")
LAYOUT = SlotLayout(
    adapter_digest=DIGEST,
    dtype="F16",
    rank=4,
    alpha=4.0,
    matrices=(SlotMatrix("a", "A", (4, 3), 0), SlotMatrix("a", "B", (5, 4), 64)),
)
FILE = pack(LAYOUT, bytes(range(104)))


@quick
@given(slot_layouts(), st.randoms(use_true_random=False))
def test_what_was_packed_is_unpacked(layout, chance):
    data = chance.randbytes(layout.data_bytes)

    found, view = unpack(pack(layout, data), adapter_digest=layout.adapter_digest)

    assert (found, bytes(view)) == (layout, data)


@quick
@given(slot_layouts())
def test_matrices_lie_aligned_and_apart(layout):
    end = 0
    for matrix in layout.matrices:
        assert matrix.offset % ALIGNMENT_BYTES == 0
        assert 0 <= matrix.offset - end < ALIGNMENT_BYTES
        end = matrix.offset + layout.matrix_bytes(matrix)
    assert layout.data_bytes == end


def test_an_adapter_without_matrices_has_no_data():
    assert replace(LAYOUT, matrices=()).data_bytes == 0


def test_alignment_rounds_up():
    assert [align(offset) for offset in (0, 1, 63, 64, 65)] == [0, 64, 64, 64, 128]


def test_data_of_another_size_is_not_packed():
    with pytest.raises(ValueError, match="103 bytes of data; the layout says 104"):
        pack(LAYOUT, bytes(103))


def test_a_file_made_from_another_adapter_file_is_refused():
    with pytest.raises(AdapterRejected) as caught:
        unpack(FILE, adapter_digest=ids.digest_of(b"somebody else's"))

    assert caught.value.facts["where"] == "digest"


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"", "magic"),
        (b"ATSLOTS2" + FILE[8:], "magic"),
        (MAGIC, "header"),
        (MAGIC + b"\xff" * 8 + FILE[16:], "header"),
        (MAGIC + (0).to_bytes(8, "little"), "header"),
        (FILE[:-1], "data"),
        (FILE + b"\0", "data"),
    ],
)
def test_a_broken_file_is_refused_with_the_place(body, where):
    with pytest.raises(AdapterRejected) as caught:
        unpack(body, adapter_digest=DIGEST)

    assert caught.value.facts["where"] == where


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "I8"},
        {"dtype": ""},
        {"adapter_digest": "0" * 63},
        {"matrices": (SlotMatrix("a", "C", (1,), 0),)},
        {"matrices": (SlotMatrix("a", "A", (), 0),)},
        {"matrices": (SlotMatrix("a", "A", (0, 4), 0),)},
        {"matrices": (SlotMatrix("a", "A", (4,), 64),)},
        {"matrices": (SlotMatrix("a", "A", (4,), 0), SlotMatrix("a", "B", (4,), 0))},
        {"matrices": (SlotMatrix("a", "A", (4,), 0), SlotMatrix("a", "B", (4,), 65))},
    ],
    ids=str,
)
def test_a_layout_that_would_misplace_a_matrix_is_none(change):
    with pytest.raises(ValueError, match=r".+"):
        replace(LAYOUT, **change)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.data())
def test_no_mutation_ends_in_anything_but_a_refusal_or_a_layout_that_fits_its_data(data):
    body = bytearray(FILE)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(body) - 1))
        if data.draw(st.booleans()):
            body[place] = data.draw(st.integers(0, 255))
        else:
            body[place:place] = data.draw(st.binary(min_size=1, max_size=9))

    found = unpacked_or_refused(bytes(body))

    if found is not None:
        layout, view = found
        assert layout.adapter_digest == DIGEST
        assert len(view) == layout.data_bytes


def unpacked_or_refused(body):
    try:
        return unpack(body, adapter_digest=DIGEST)
    except AdapterRejected:
        return None
