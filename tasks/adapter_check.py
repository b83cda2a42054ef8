"""What a trained adapter must be before it is published: read strictly, and who it says it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from atelier.contracts import slot_layout
from atelier.contracts.adapter import AdapterCard
from atelier.contracts.base_models import base_model
from atelier.contracts.documents import DocumentError
from atelier.contracts.errors import AdapterRejected
from atelier.contracts.ids import digest_of
from atelier.contracts.request import OnboardingRequest
from atelier.contracts.safetensors import SafetensorsHeader, check_finite, read_header

_KEY = re.compile(r"(?P<module>(?:unet|transformer)\.[A-Za-z0-9_.]+)\.lora_(?P<part>[AB])\.weight")


@dataclass(frozen=True, slots=True)
class TrainedAdapter:
    """A trained adapter as it lies in the checkpoint tree: card, file, optional slot layout."""

    card: bytes
    file: bytes
    slots: bytes | None = None


def check_adapter(adapter: TrainedAdapter, given: OnboardingRequest, *, digest: str) -> AdapterCard:
    """Return the card of an adapter that may be published for `given`; `digest` is progress's.

    Raises:
        AdapterRejected: with where, what was found and what is allowed.
    """
    card = read_card(adapter.card)
    found_digest = digest_of(adapter.file)
    _agree("adapter.json file_digest", found_digest, card.file_digest)
    _agree("progress.json adapter.digest", found_digest, digest)
    _agree("adapter.json file_bytes", len(adapter.file), card.file_bytes)
    for name, said, asked in _claims(card, given):
        _agree(f"adapter.json {name}", said, asked)
    header = read_header(adapter.file)
    _agree("adapter.json tensors", len(header.tensors), card.tensors)
    _check_pairs(header, card.rank)
    check_finite(adapter.file, header)
    _check_slots(adapter.slots, card)
    return card


def read_card(body: bytes) -> AdapterCard:
    """Return adapter.json.

    Raises:
        AdapterRejected: it does not read.
    """
    try:
        return AdapterCard.from_json(body)
    except DocumentError as problem:
        raise AdapterRejected(f"adapter.json: {problem}", where=problem.where) from problem


def _claims(card: AdapterCard, given: OnboardingRequest) -> tuple[tuple[str, object, object], ...]:
    tuned, base = given.hyperparameters, base_model(given.base)
    return (
        ("owner", card.owner, given.owner),
        ("model", card.model, given.model),
        ("request", card.request, given.request),
        ("base", card.base, given.base),
        ("base_digest", card.base_digest, base.digest or card.base_digest),
        ("family", card.family, base.family.value),
        ("rank", card.rank, tuned.rank),
        ("alpha", card.alpha, tuned.alpha),
        ("targets", card.targets, tuned.targets),
        ("instance_prompt", card.instance_prompt, given.instance_prompt),
        ("trigger", card.trigger, given.trigger),
        ("subject", card.subject, given.subject),
        ("resolution", card.resolution, tuned.resolution),
    )


def _check_pairs(header: SafetensorsHeader, rank: int) -> None:
    """Check that every module has an A of `rank` rows and a B of `rank` columns."""
    parts: dict[str, set[str]] = {}
    for tensor in header.tensors:
        key = _KEY.fullmatch(tensor.key)
        if key is None or len(tensor.shape) < 2:
            raise _rejected(
                tensor.key, f"shape {tensor.shape}", "<module>.lora_A.weight or .lora_B.weight"
            )
        rows_or_columns = tensor.shape[0 if key["part"] == "A" else 1]
        if rows_or_columns != rank:
            raise _rejected(tensor.key, f"rank {rows_or_columns}", f"rank {rank}")
        parts.setdefault(key["module"], set()).add(key["part"])
    lone: Mapping[str, set[str]] = {m: found for m, found in parts.items() if len(found) != 2}
    for module, found in lone.items():
        raise _rejected(module, f"lora_{found.pop()} alone", "lora_A and lora_B")


def _check_slots(slots: bytes | None, card: AdapterCard) -> None:
    _agree("slot layout", slots is not None, card.slot_layout_digest is not None)
    if slots is not None:
        _agree("adapter.json slot_layout_digest", digest_of(slots), card.slot_layout_digest)
        layout, _ = slot_layout.unpack(slots, adapter_digest=card.file_digest)
        _agree("slot layout rank", layout.rank, card.rank)


def _agree(where: str, found: object, allowed: object) -> None:
    if found != allowed:
        raise _rejected(where, str(found)[:80], str(allowed)[:80])


def _rejected(where: str, found: str, allowed: str) -> AdapterRejected:
    return AdapterRejected(
        f"{where}: found {found}; allowed: {allowed}", where=where, found=found, allowed=allowed
    )
