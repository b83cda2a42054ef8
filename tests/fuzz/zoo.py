"""Hostile artifacts: each is a good one with one thing made wrong on purpose.

`ARCHIVES` break the container: whoever unpacks them must refuse. `WEIGHTS` break the adapter file
and `SLOTS` the slot layout inside a sound container whose card agrees with them, so that only a
strict reader of tensors stands between them and a device.
"""

from __future__ import annotations

import gzip
import json
import pickle
import struct
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from atelier.contracts import ids
from atelier.contracts.adapter import MAX_MEMBER_BYTES, SLOT_LAYOUT_FILE, AdapterCard
from atelier.contracts.checkpoints import ADAPTER_CARD, ADAPTER_FILE
from atelier.contracts.slot_layout import MAGIC

Files = Mapping[str, bytes]
BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)


class Touch:
    """What a pickle may do when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def member(name: str, body: bytes = b"", **header: Any) -> bytes:
    """Return one member of a tar; `header` are fields of its TarInfo."""
    info = tarfile.TarInfo(name)
    info.size = len(body)
    for field, value in header.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT) + body + bytes(-len(body) % BLOCK)


def members(files: Files) -> bytes:
    return b"".join(member(name, body) for name, body in files.items())


def packed(*parts: bytes, end: bytes = END) -> bytes:
    return gzip.compress(b"".join(parts) + end, 1, mtime=0)


def _pax(files: Files, kind: bytes, record: str) -> bytes:
    line = f" {record}\n"
    size = len(line) + len(str(len(line) + 3))
    return packed(member("pax", f"{size}{line}".encode(), type=kind), members(files))


def _gnu(files: Files, **more: Any) -> bytes:
    return packed(members(files), member("adapter.slots", **more))


def _wrong_checksum(files: Files) -> bytes:
    plain = bytearray(members(files))
    plain[148] ^= 1
    return packed(bytes(plain))


ARCHIVES: Mapping[str, Callable[[Files], bytes]] = {
    "nothing": lambda _: b"",
    "no gzip": members,
    "a zip": lambda _: b"PK\x03\x04" + bytes(64),
    "a pickle": lambda _: pickle.dumps({"weights": [1.0]}),
    "gzip in gzip": lambda f: gzip.compress(packed(members(f))),
    "gzip ten deep": lambda f: _deep(packed(members(f)), 10),
    "an empty tar": lambda _: packed(),
    "no end": lambda f: packed(members(f), end=b""),
    "half an end": lambda f: packed(members(f), end=bytes(100)),
    "cut short": lambda f: packed(members(f))[:-12],
    "garbage behind": lambda f: packed(members(f)) + b"garbage",
    "a second archive behind": lambda f: packed(members(f)) + packed(member("../x", b"x")),
    "data after the end": lambda f: packed(members(f), END, member("../x", b"x")),
    "a million zeros behind": lambda f: packed(members(f), bytes(10**6)),
    "a wrong gzip checksum": lambda f: packed(members(f))[:-8] + bytes(8),
    "a wrong header checksum": _wrong_checksum,
    "traversal": lambda f: packed(members(f), member("../escaped", b"x")),
    "traversal inside": lambda f: packed(members(f), member("a/../../escaped", b"x")),
    "an absolute name": lambda f: packed(members(f), member("/escaped", b"x")),
    "a folder": lambda f: packed(member("model", type=tarfile.DIRTYPE), members(f)),
    "a name with a dot": lambda f: packed(members({f"./{n}": b for n, b in f.items()})),
    "a long name": lambda f: packed(members(f), member("a" * 5000, b"x")),
    "another file": lambda f: packed(members(f), member("weights.pkl", b"x")),
    "a name of a thousand members": lambda f: packed(members(f), *[member("x", b"x")] * 1000),
    "the same name twice": lambda f: packed(members(f), members(f)),
    "the other case of a name": lambda f: packed(members({n.upper(): b for n, b in f.items()})),
    "a NUL in a name": lambda f: packed(members(f), member("adapter.slots\0/../x", b"")),
    "no card": lambda f: packed(members({ADAPTER_FILE: f[ADAPTER_FILE]})),
    "no weights": lambda f: packed(members({ADAPTER_CARD: f[ADAPTER_CARD]})),
    "an empty card": lambda f: packed(members({**f, ADAPTER_CARD: b""})),
    "a symbolic link": lambda f: _gnu(f, type=tarfile.SYMTYPE, linkname="/etc/hostname"),
    "a hard link": lambda f: _gnu(f, type=tarfile.LNKTYPE, linkname="adapter.json"),
    "a device": lambda f: _gnu(f, type=tarfile.CHRTYPE, devmajor=1, devminor=5),
    "a block device": lambda f: _gnu(f, type=tarfile.BLKTYPE, devmajor=8),
    "a pipe": lambda f: _gnu(f, type=tarfile.FIFOTYPE),
    "a contiguous file": lambda f: _gnu(f, type=tarfile.CONTTYPE),
    "a sparse file": lambda f: _gnu(f, type=tarfile.GNUTYPE_SPARSE, size=8**10),
    "a kind nobody knows": lambda f: _gnu(f, type=b"Z"),
    "an announced terabyte": lambda f: packed(member("adapter.slots", size=2**40), members(f)),
    "a negative size": lambda f: packed(member("adapter.slots", size=-512), members(f)),
    "a card beyond its size": lambda f: packed(
        members({**f, ADAPTER_CARD: b" " * (MAX_MEMBER_BYTES[ADAPTER_CARD] + 1)})
    ),
    "a PAX path": lambda f: _pax(f, tarfile.XHDTYPE, "path=../escaped"),
    "a PAX size": lambda f: _pax(f, tarfile.XHDTYPE, "size=99999999999"),
    "a global PAX path": lambda f: _pax(f, tarfile.XGLTYPE, "path=/escaped"),
    "a GNU long name": lambda f: packed(
        member("././@LongLink", b"../escaped\0", type=tarfile.GNUTYPE_LONGNAME), members(f)
    ),
    "another owner's card": lambda f: packed(members({**f, ADAPTER_CARD: _card(f, owner="x")})),
    "another file than the card's": lambda f: packed(
        members({**f, ADAPTER_FILE: f[ADAPTER_FILE] + b"\0"})
    ),
    "a card of another size": lambda f: packed(
        members({**f, ADAPTER_CARD: _card(f, file_bytes=1)})
    ),
    "a slot layout that no card knows": lambda f: packed(
        members({**f, SLOT_LAYOUT_FILE: MAGIC + bytes(64)})
    ),
}
"""Name → the archive made of a good artifact's files."""
UNPACKS = frozenset(
    {
        *["another owner's card", "another file than the card's", "a card of another size"],
        "a slot layout that no card knows",
    }
)
"""Sound as archives; only who reads the card can tell."""
READS = frozenset({"another owner's card"})
"""Sound as artifacts; only who knows whom it is for can tell."""


def _deep(body: bytes, times: int) -> bytes:
    for _ in range(times):
        body = gzip.compress(body)
    return body


def _card(files: Files, **changes: Any) -> bytes:
    return replace(AdapterCard.from_json(files[ADAPTER_CARD]), **changes).to_json()


def parts_of(weights: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the header and the data of a safetensors file."""
    end = 8 + int.from_bytes(weights[:8], "little")
    return json.loads(weights[8:end]), weights[end:]


def joined(header: object, data: bytes, *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def _header(change: Callable[[dict[str, Any], str], object]) -> Callable[[bytes], bytes]:
    def changed(weights: bytes) -> bytes:
        header, data = parts_of(weights)
        change(header, min(name for name in header if name != "__metadata__"))
        return joined(header, data)

    return changed


def _values(raw: bytes) -> Callable[[bytes], bytes]:
    def changed(weights: bytes) -> bytes:
        header, data = parts_of(weights)
        return joined(header, raw + data[len(raw) :])

    return changed


def _duplicate(weights: bytes) -> bytes:
    header, data = parts_of(weights)
    text = json.dumps(header)
    name = min(name for name in header if name != "__metadata__")
    return joined(f'{text[:-1]}, "{name}": {json.dumps(header[name])}}}'.encode(), data)


def _float16(bits: int) -> bytes:
    return struct.pack("<H", bits)


WEIGHTS: Mapping[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"\0",
    "a pickle": lambda _: pickle.dumps(Touch(Path("pickled"))),
    "a zip of torch": lambda _: b"PK\x03\x04archive/data.pkl" + bytes(64),
    "a header of a terabyte": lambda w: joined(*parts_of(w), length=2**40),
    "a header of 5 MiB": lambda w: joined(
        {**parts_of(w)[0], "__metadata__": {"x": "y" * 5 * 2**20}}, parts_of(w)[1]
    ),
    "a header that is a list": lambda w: joined([], parts_of(w)[1]),
    "a header ten thousand deep": lambda w: joined(b"[" * 10_000, parts_of(w)[1]),
    "the same key twice": _duplicate,
    "overlapping offsets": _header(lambda h, n: h.update({f"{n}x": h[n]})),
    "offsets out of range": _header(lambda h, n: h[n].update(data_offsets=[0, 2**39])),
    "offsets backwards": _header(lambda h, n: h[n]["data_offsets"].reverse()),
    "a dtype that executes": _header(lambda h, n: h[n].update(dtype="OBJECT")),
    "a dtype of another size": _header(lambda h, n: h[n].update(dtype="F64")),
    "a shape that overflows": _header(lambda h, n: h[n].update(shape=[2**24] * 6)),
    "another shape of the same size": _header(lambda h, n: h[n].update(shape=h[n]["shape"][::-1])),
    "a rank of its own": _header(lambda h, n: h[n]["shape"].insert(0, 1)),
    "modules of another model": _header(lambda h, n: h.update({f"vae.{n}": h.pop(n)})),
    "a module that is nowhere": _header(lambda h, n: h.update({"unet.x.lora_A.weight": h.pop(n)})),
    "a name that is a path": _header(lambda h, n: h.update({"../../x": h.pop(n)})),
    "an A without its B": _header(lambda h, n: h.pop(n)),
    "a NaN": _values(_float16(0x7E00)),
    "an infinity": _values(_float16(0x7C00)),
    "a negative infinity": _values(_float16(0xFC00)),
    "a NaN that signals": _values(_float16(0x7C01)),
    "data left over": lambda w: w + b"\0",
    "data cut short": lambda w: w[:-1],
}
"""Name → the adapter file made of a good one in F16."""


def with_weights(files: Files, weights: bytes, **changes: Any) -> dict[str, bytes]:
    """Return an artifact of other weights whose card agrees with them."""
    facts = {"file_digest": ids.digest_of(weights), "file_bytes": len(weights), **changes}
    return {**files, ADAPTER_CARD: _card(files, **facts), ADAPTER_FILE: weights}


def with_slots(files: Files, slots: bytes) -> dict[str, bytes]:
    """Return an artifact of another slot layout whose card agrees with it."""
    card = _card(files, slot_layout_digest=ids.digest_of(slots))
    return {**files, ADAPTER_CARD: card, SLOT_LAYOUT_FILE: slots}


def _layout(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    def changed(slots: bytes) -> bytes:
        end = 16 + int.from_bytes(slots[8:16], "little")
        header = json.loads(slots[16:end])
        change(header)
        text = json.dumps(header).encode()
        return MAGIC + len(text).to_bytes(8, "little") + text + slots[end:]

    return changed


SLOTS: Mapping[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"\0",
    "another magic": lambda s: b"ATSLOTS2" + s[8:],
    "a header of a terabyte": lambda s: s[:8] + (2**40).to_bytes(8, "little") + s[16:],
    "made from another file": _layout(lambda h: h.update(adapter_digest="0" * 64)),
    "another rank": _layout(lambda h: h.update(rank=h["rank"] + 1)),
    "another alpha": _layout(lambda h: h.update(alpha=h["alpha"] * 2)),
    "a module that is nowhere": _layout(lambda h: h["matrices"][0].update(module="x")),
    "an offset elsewhere": _layout(lambda h: h["matrices"][1].update(offset=0)),
    "a negative offset": _layout(lambda h: h["matrices"][0].update(offset=-64)),
    "a shape of its own": _layout(lambda h: h["matrices"][0]["shape"].append(1)),
    "a NaN": lambda s: s[:-2] + _float16(0x7E00),
    "data left over": lambda s: s + bytes(64),
    "data cut short": lambda s: s[:-64],
}
"""Name → the slot layout made of a good one in F16."""
