"""A strict reader of safetensors files, on the standard library alone.

The format (github.com/huggingface/safetensors): 8 bytes little-endian header length, a JSON header
naming dtype, shape and data offsets of every tensor, then the data without gaps. We read less than
the format allows: bounded header, few dtypes, no holes, no overlap, finite values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from atelier.contracts.documents import DocumentError, parse_json
from atelier.contracts.errors import AdapterRejected

MAX_HEADER_BYTES = 4 * 1024 * 1024
MAX_TENSORS = 10_000
MAX_DIMENSIONS = 6
MAX_DIMENSION = 2**24
ITEM_BYTES = {"F16": 2, "BF16": 2, "F32": 4}
_CHUNK_BYTES = 4 * 1024 * 1024


def _where_ones(mask: int) -> bytes:
    return bytes(byte & mask == mask for byte in range(256))


_EXPONENT: Mapping[str, tuple[tuple[int, bytes], ...]] = {
    "F32": ((3, _where_ones(0x7F)), (2, _where_ones(0x80))),
    "BF16": ((1, _where_ones(0x7F)), (0, _where_ones(0x80))),
    "F16": ((1, _where_ones(0x7C)),),
}
"""Where the exponent's bits lie in a little-endian item: (byte, table that marks all ones)."""
_KEY = re.compile(r"[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+){0,31}")


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor of a file: dtype (F16, BF16, F32), shape, and its bytes in the whole file."""

    key: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """The header of a file that passed: tensors in the order of their data, and metadata."""

    tensors: tuple[TensorEntry, ...]
    metadata: Mapping[str, str]


def read_header(body: bytes | memoryview) -> SafetensorsHeader:
    """Read and check the header against the whole file in `body`.

    Raises:
        AdapterRejected: with where, what was found and what is allowed.
    """
    if len(body) < 8:
        raise _rejected("the file", f"{len(body)} bytes", "at least the 8 bytes of a header length")
    header_bytes = int.from_bytes(body[:8], "little")
    if not 2 <= header_bytes <= min(MAX_HEADER_BYTES, len(body) - 8):
        raise _rejected(
            "the header length",
            f"{header_bytes:,}",
            f"2 to {min(MAX_HEADER_BYTES, len(body) - 8):,} bytes in a file of {len(body):,}",
        )
    try:
        header = parse_json(bytes(body[8 : 8 + header_bytes]), max_bytes=MAX_HEADER_BYTES)
    except DocumentError as problem:
        raise _rejected("the header", problem.problem, "JSON") from problem
    if not isinstance(header, dict):
        raise _rejected("the header", type(header).__name__, "an object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _rejected("__metadata__", "other than texts", "an object of texts")
    if not 1 <= len(header) <= MAX_TENSORS:
        raise _rejected("the header", f"{len(header)} tensors", f"1 to {MAX_TENSORS}")
    start = 8 + header_bytes
    entries = sorted((_entry(k, v, start) for k, v in header.items()), key=lambda e: e.begin)
    position = start
    for entry in entries:
        if entry.begin != position:
            raise _rejected(entry.key, f"data at byte {entry.begin}", f"at {position}, no gaps")
        position = entry.end
    if position != len(body):
        raise _rejected("the file", f"{len(body)} bytes", f"{position}, where the data ends")
    return SafetensorsHeader(tuple(entries), metadata)


def check_finite(body: bytes | memoryview, header: SafetensorsHeader) -> None:
    """Check that every value of every tensor is a finite number.

    Raises:
        AdapterRejected: naming the first tensor with a NaN or an infinity.
    """
    for entry in header.tensors:
        if not _all_finite(memoryview(body)[entry.begin : entry.end], entry.dtype):
            raise _rejected(entry.key, "NaN or infinity", "finite values")


def _all_finite(raw: memoryview, dtype: str) -> bool:
    # A float is not finite exactly when all bits of its exponent are ones. One column of bytes per
    # part of the exponent, each byte turned into 1 where its part is all ones, then both together:
    # as fast as memory, without a third-party library.
    size = ITEM_BYTES[dtype]
    for start in range(0, len(raw), _CHUNK_BYTES):
        chunk = raw[start : start + _CHUNK_BYTES]
        suspects = -1
        for byte, all_ones in _EXPONENT[dtype]:
            suspects &= int.from_bytes(chunk[byte::size].tobytes().translate(all_ones), "little")
        if suspects:
            return False
    return True


def _entry(key: str, given: object, start: int) -> TensorEntry:
    if not _KEY.fullmatch(key) or len(key) > 256:
        raise _rejected(f"tensor {key[:80]!r}", "its name", "dotted words of A-Z a-z 0-9 _")
    if not isinstance(given, dict) or set(given) != {"dtype", "shape", "data_offsets"}:
        raise _rejected(key, "its entry", "dtype, shape and data_offsets")
    dtype, shape, offsets = given["dtype"], given["shape"], given["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise _rejected(key, f"dtype {dtype!r}"[:80], f"one of {sorted(ITEM_BYTES)}")
    if not _whole_numbers(shape, MAX_DIMENSIONS, 1, MAX_DIMENSION):
        raise _rejected(key, f"shape {shape!r}"[:80], f"up to {MAX_DIMENSIONS} sizes of 1 or more")
    if not _whole_numbers(offsets, 2, 0, 2**40) or len(offsets) != 2:
        raise _rejected(key, f"offsets {offsets!r}"[:80], "two whole numbers")
    size = prod(shape) * ITEM_BYTES[dtype]
    if offsets[1] - offsets[0] != size:
        raise _rejected(key, f"{offsets[1] - offsets[0]} bytes", f"{size} for {dtype} {shape}")
    return TensorEntry(key, dtype, tuple(shape), start + offsets[0], start + offsets[1])


def _whole_numbers(given: object, most_items: int, least: int, most: int) -> bool:
    return (
        isinstance(given, list)
        and 1 <= len(given) <= most_items
        and all(isinstance(n, int) and not isinstance(n, bool) for n in given)
        and all(least <= n <= most for n in given)
    )


def _rejected(where: str, found: str, allowed: str) -> AdapterRejected:
    return AdapterRejected(
        f"adapter file: {where}: found {found}; allowed: {allowed}",
        where=where,
        found=found,
        allowed=allowed,
    )
