"""A drawer of plain arithmetic: what it draws shows which adapter, seed and scale drew it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from atelier.contracts.errors import AdapterRejected
from serving_image.artifact import Artifact
from serving_image.drawer import Drawing, Picture, Row, Staged
from serving_image.refusals import MemoryExhausted

BASE_DIGEST = ""


@dataclass(frozen=True)
class FakeStaged:
    digest: str
    bytes: int


@dataclass(eq=False)
class FakeRow:
    drawing: Drawing
    digest: str | None
    done: int = 0

    @property
    def left(self) -> int:
        return self.drawing.denoising_steps - self.done


@dataclass
class FakeDrawer:
    """Draws at once. `gate` closed holds every denoising step; `fault` may raise in any call."""

    slots: int = 2
    base: str = "tiny"
    resolution: int = 64
    host_bytes: int = 1000
    gate: threading.Event = field(default_factory=threading.Event)
    fault: Callable[[str, Sequence[Row]], None] = lambda *_: None
    most_rows: int = 1000
    batches: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.bank: list[str | None] = [None] * self.slots
        self.gate.set()

    def stage(self, artifact: Artifact) -> FakeStaged:
        if (artifact.card.base, artifact.card.base_digest) != (self.base, BASE_DIGEST):
            raise AdapterRejected("another base", where="base", found=artifact.card.base)
        self.fault("stage", [])
        return FakeStaged(artifact.card.file_digest, self.host_bytes)

    def clear(self, slot: int) -> None:
        self.bank[slot] = None

    def write(self, slot: int, staged: Staged) -> None:
        self.fault("write", [])
        assert isinstance(staged, FakeStaged)
        assert self.bank[slot] is None, "a slot is zeroed before it changes hands"
        self.bank[slot] = staged.digest

    def begin(self, drawings: Sequence[Drawing]) -> Sequence[Row]:
        rows = [FakeRow(d, None if d.slot is None else self.bank[d.slot]) for d in drawings]
        self.fault("begin", rows)
        return rows

    def advance(self, rows: Sequence[Row]) -> None:
        assert self.gate.wait(20)
        if len(rows) > self.most_rows:
            raise MemoryExhausted("too many rows", what="device")
        self.fault("advance", rows)
        self.batches.append(len(rows))
        for row in rows:
            assert isinstance(row, FakeRow)
            if row.drawing.slot is not None:
                assert self.bank[row.drawing.slot] == row.digest, "its slot changed in mid-flight"
            row.done += 1

    def finish(self, rows: Sequence[Row]) -> Sequence[Picture | None]:
        self.fault("finish", rows)
        return [_picture(row) for row in rows]


def _picture(row: Row) -> Picture | None:
    assert isinstance(row, FakeRow)
    assert not row.left
    drawing = row.drawing
    if "nan" in drawing.prompt:
        return None
    return Picture(drawing.width, drawing.height, rgb_of(drawing, row.digest))


def rgb_of(drawing: Drawing, digest: str | None) -> bytes:
    """One colour, derived from everything that makes the image but the slot's number."""
    adapter = digest if drawing.adapter_scale else None
    told = (drawing.prompt, drawing.seed, drawing.adapter_scale, drawing.guidance, adapter)
    colour = hashlib.sha256(repr(told).encode()).digest()[:3]
    return colour * (drawing.width * drawing.height)
