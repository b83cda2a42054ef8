"""Reading an artifact as strictly as publishing and serving do, without torch and without a disk.

The archive's own reader refuses everything but its few plain files; the adapter file is read by the
strict safetensors reader, every value finite, and its card binds it by digest.
"""

from __future__ import annotations

import hashlib
from datetime import datetime

from atelier.contracts import archive, slot_layout
from atelier.contracts.adapter import SLOT_LAYOUT_FILE, AdapterCard
from atelier.contracts.checkpoints import ADAPTER_CARD, ADAPTER_FILE
from atelier.contracts.documents import DocumentError
from atelier.contracts.errors import AdapterRejected
from atelier.contracts.safetensors import check_finite, read_header
from infra.doctor.evidence import ArtifactSeen


def look_at(key: str, body: bytes, *, modified_at: datetime) -> ArtifactSeen:
    """Return what is to be known of an artifact; `problem` says why it does not read."""
    seen_digest = hashlib.sha256(body).hexdigest()
    members: dict[str, bytes] = {}
    card: AdapterCard | None = None
    problem: str | None = None
    try:
        for member in archive.read(body):
            members[member.name] = b"".join(member.chunks)
        card = AdapterCard.from_json(members[ADAPTER_CARD])
        problem = _flaw(members, card)
    except AdapterRejected as refused:
        problem = refused.message
    except DocumentError as refused:
        problem = f"adapter.json: {refused}"
    file = members.get(ADAPTER_FILE, b"")
    return ArtifactSeen(
        key=key,
        bytes=len(body),
        modified_at=modified_at,
        digest=seen_digest,
        adapter_digest=hashlib.sha256(file).hexdigest() if file else "",
        card=card,
        problem=problem,
    )


def _flaw(members: dict[str, bytes], card: AdapterCard) -> str | None:
    """Return in what files and card disagree, or None.

    Raises:
        AdapterRejected: a file breaks the rules of adapter files.
    """
    file = members[ADAPTER_FILE]
    header = read_header(file)
    check_finite(file, header)
    if (len(file), len(header.tensors)) != (card.file_bytes, card.tensors):
        return (
            f"{len(file):,} bytes with {len(header.tensors)} tensors; its card says "
            f"{card.file_bytes:,} with {card.tensors}"
        )
    slots = members.get(SLOT_LAYOUT_FILE)
    if (slots is None) != (card.slot_layout_digest is None):
        return "slot layout and card disagree on whether there is one"
    if slots is not None:
        if hashlib.sha256(slots).hexdigest() != card.slot_layout_digest:
            return "the slot layout has another digest than its card says"
        slot_layout.unpack(slots, adapter_digest=card.file_digest)
    return None
