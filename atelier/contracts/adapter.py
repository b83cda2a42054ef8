"""The adapter's documents: adapter.json, the files of an artifact, and the rules of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from atelier.contracts import ids
from atelier.contracts.checkpoints import ADAPTER_CARD, ADAPTER_FILE
from atelier.contracts.documents import Document
from atelier.contracts.settings import Targets
from atelier.contracts.slot_layout import MAX_LAYOUT_HEADER_BYTES

SLOT_LAYOUT_FILE = "adapter.slots"
ARCHIVE_MEMBERS = (ADAPTER_CARD, ADAPTER_FILE, SLOT_LAYOUT_FILE)
"""The only names an artifact's archive may hold, in this order; the slot layout is optional.
A tar that other tools consume holds exactly one `.safetensors`."""

MAX_ADAPTER_BYTES = 512 * 1024 * 1024
MAX_CARD_BYTES = 64 * 1024
MAX_MEMBER_BYTES: Mapping[str, int] = {
    ADAPTER_CARD: MAX_CARD_BYTES,
    ADAPTER_FILE: MAX_ADAPTER_BYTES,
    SLOT_LAYOUT_FILE: MAX_ADAPTER_BYTES + MAX_LAYOUT_HEADER_BYTES,
}
"""How large each file of an artifact may be, wherever it lies."""


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """How an adapter came to be.

    Attributes:
        steps: optimiser steps made.
        final_loss: smoothed loss at the end.
        seconds: training time on the device, samples excluded.
        photos: number of instance images.
        device: what it ran on, for people.
    """

    steps: int
    final_loss: float
    seconds: float
    photos: int
    device: str


@dataclass(frozen=True, slots=True)
class AdapterCard(Document):
    """adapter.json: what an adapter file is and what it fits.

    Attributes:
        owner, model, request: whose it is. An endpoint refuses to serve it as another's.
        base, base_digest: the base model it was trained on, and fits.
        family: architecture of the base model.
        rank, alpha: of every target module.
        targets: which layers have an adapter.
        trigger, subject, instance_prompt: the words that call the subject.
        file_digest: SHA-256 of adapter.safetensors, which binds this card to it.
        file_bytes: its size.
        tensors: number of tensors in it.
        slot_layout_digest: SHA-256 of the slot-layout file, or None without one.
        resolution: side of the training images in pixels.
        seed: of training.
        report: how it came to be.
        created_at: UTC.
    """

    SCHEMA = "atelier.adapter"

    owner: str
    model: str
    request: str
    base: str
    base_digest: str
    family: str
    rank: int
    alpha: float
    targets: Targets
    trigger: str
    subject: str
    instance_prompt: str
    file_digest: str
    file_bytes: int
    tensors: int
    resolution: int
    seed: int
    report: TrainingReport
    created_at: datetime
    slot_layout_digest: str | None = None

    def __post_init__(self) -> None:
        """Check digests and sizes."""
        for name, digest in (
            ("file_digest", self.file_digest),
            ("slot_layout_digest", self.slot_layout_digest),
        ):
            if digest is not None and not ids.DIGEST_PATTERN.fullmatch(digest):
                raise ValueError(f"{name} {digest[:80]!r} is no SHA-256 in hex")
        if not 0 < self.file_bytes <= MAX_ADAPTER_BYTES:
            raise ValueError(f"file_bytes {self.file_bytes:,}; 1 to {MAX_ADAPTER_BYTES:,} allowed")
        if not 1 <= self.rank <= 128 or self.alpha <= 0 or self.tensors < 1:
            raise ValueError(f"rank {self.rank}, alpha {self.alpha}, {self.tensors} tensors")
