"""Real adapters for the base model `tiny`, strong enough to change every picture."""

from __future__ import annotations

from pathlib import Path

import torch

from atelier.contracts import ids
from atelier.contracts.adapter import SLOT_LAYOUT_FILE
from atelier.contracts.base_models import BASE_MODELS
from atelier.contracts.checkpoints import ADAPTER_CARD, ADAPTER_FILE
from atelier.contracts.settings import Targets
from atelier.lora.adapter_file import write_adapter
from atelier.lora.bank import AdapterWeights, ModuleShape
from atelier.lora.slot_file import write_slots
from tests.serving.artifacts import card_of

REPOSITORY = Path(__file__).parents[2]
TINY = BASE_MODELS["tiny"]
STRENGTH = 0.15


def weights_of(
    shapes: dict[str, ModuleShape], *, seed: int, rank: int = 4, strength: float = STRENGTH
) -> AdapterWeights:
    generator = torch.Generator().manual_seed(seed)

    def matrix(shape: tuple[int, ...]) -> torch.Tensor:
        return (torch.randn(shape, generator=generator) * strength).half().float()

    own = [shape.at_rank(rank) for shape in shapes.values()]
    return AdapterWeights(rank, float(rank), {s.name: (matrix(s.a), matrix(s.b)) for s in own})


def artifact_files(
    owner: str, weights: AdapterWeights, *, slot_layout: bool = False
) -> dict[str, bytes]:
    body = write_adapter(weights)
    digest = ids.digest_of(body)
    slots = write_slots(weights, adapter_digest=digest) if slot_layout else None
    card = card_of(
        owner,
        body,
        base_digest=TINY.digest,
        rank=weights.rank,
        alpha=weights.alpha,
        targets=Targets.ALL,
        tensors=2 * len(weights.matrices),
        slot_layout_digest=None if slots is None else ids.digest_of(slots),
    )
    files = {ADAPTER_CARD: card.to_json(), ADAPTER_FILE: body}
    return files if slots is None else {**files, SLOT_LAYOUT_FILE: slots}
