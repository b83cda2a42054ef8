"""The slot-layout file: an adapter's matrices in the bank's own order, ready to copy into a slot.

    8 bytes   magic `ATSLOTS1`
    8 bytes   little-endian length of the header
    header    JSON `SlotLayout`: dtype, rank, which matrix lies where, the adapter file's digest
    data      matrices one after the other, each starting at a multiple of 64 bytes

A reader copies it in one piece into pinned memory; the digest binds it to the adapter file it was
made from, so that it can never stand for other weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from atelier.contracts import ids
from atelier.contracts.documents import Document, DocumentError
from atelier.contracts.errors import AdapterRejected
from atelier.contracts.safetensors import ITEM_BYTES

MAGIC = b"ATSLOTS1"
ALIGNMENT_BYTES = 64
MAX_LAYOUT_HEADER_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class SlotMatrix:
    """One matrix: target module, part (`A` or `B`), shape, and offset within the data."""

    module: str
    part: str
    shape: tuple[int, ...]
    offset: int


@dataclass(frozen=True, slots=True)
class SlotLayout(Document):
    """The header of a slot-layout file.

    Attributes:
        adapter_digest: SHA-256 of the adapter file it was made from.
        dtype: F16, BF16 or F32; of every matrix.
        rank, alpha: as in adapter.json.
        matrices: in the order of their data, without overlap.
    """

    SCHEMA = "atelier.slot-layout"

    adapter_digest: str
    dtype: str
    rank: int
    alpha: float
    matrices: tuple[SlotMatrix, ...]

    def __post_init__(self) -> None:
        """Check dtype, digest, alignment and order."""
        if self.dtype not in ITEM_BYTES:
            raise ValueError(f"dtype {self.dtype!r}; one of {sorted(ITEM_BYTES)} is allowed")
        if not ids.DIGEST_PATTERN.fullmatch(self.adapter_digest):
            raise ValueError("adapter_digest is no SHA-256 in hex")
        end = 0
        for matrix in self.matrices:
            if matrix.part not in {"A", "B"} or not matrix.shape or min(matrix.shape) < 1:
                raise ValueError(f"{matrix.module}: part {matrix.part!r}, shape {matrix.shape}")
            if matrix.offset != align(end):
                raise ValueError(f"{matrix.module}: offset {matrix.offset}, not {align(end)}")
            end = matrix.offset + self.matrix_bytes(matrix)

    def matrix_bytes(self, matrix: SlotMatrix) -> int:
        """Return the size of one matrix in bytes."""
        return prod(matrix.shape) * ITEM_BYTES[self.dtype]

    @property
    def data_bytes(self) -> int:
        """Size of the data after the header."""
        if not self.matrices:
            return 0
        last = self.matrices[-1]
        return last.offset + self.matrix_bytes(last)


def align(offset: int) -> int:
    """Return the next multiple of the alignment."""
    return -(-offset // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def pack(layout: SlotLayout, data: bytes) -> bytes:
    """Return the whole file.

    Raises:
        ValueError: the data has another size than the layout says.
    """
    if len(data) != layout.data_bytes:
        raise ValueError(f"{len(data)} bytes of data; the layout says {layout.data_bytes}")
    header = layout.to_json()
    return MAGIC + len(header).to_bytes(8, "little") + header + data


def unpack(body: bytes, *, adapter_digest: str) -> tuple[SlotLayout, memoryview]:
    """Return the layout and its data, bound to the adapter file of that digest.

    Raises:
        AdapterRejected: no slot-layout file, a broken header, another adapter's, or cut short.
    """
    if body[:8] != MAGIC:
        raise AdapterRejected("slot-layout file: no such magic", where="magic")
    header_bytes = int.from_bytes(body[8:16], "little")
    if not 2 <= header_bytes <= min(MAX_LAYOUT_HEADER_BYTES, len(body) - 16):
        raise AdapterRejected(f"slot-layout file: header of {header_bytes:,} bytes", where="header")
    try:
        layout = SlotLayout.from_json(body[16 : 16 + header_bytes])
    except DocumentError as problem:
        raise AdapterRejected(f"slot-layout file: {problem}", where=problem.where) from problem
    data = memoryview(body)[16 + header_bytes :]
    if len(data) != layout.data_bytes:
        raise AdapterRejected(
            f"slot-layout file: {len(data)} bytes of data, {layout.data_bytes} announced",
            where="data",
        )
    if layout.adapter_digest != adapter_digest:
        raise AdapterRejected("slot-layout file: made from another adapter file", where="digest")
    return layout, data
