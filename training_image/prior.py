"""Prior preservation: what the base model draws for the class word, trained on beside the photos.

DreamBooth (Ruiz et al., arXiv 2208.12242) keeps the class from turning into the subject by a second
loss on images that the untouched base model made of "a photo of <class>". Their latents are all
that training needs; they are never decoded.
"""

from __future__ import annotations

import torch

from atelier.contracts.manifest import TrainingTask
from atelier.lora.bank import Bank
from atelier.lora.network import Network
from atelier.lora.sampling import Drawing, Hands, advance, begin
from training_image.data import TaskData
from training_image.draws import derived_seed

DENOISING_STEPS = 20
GUIDANCE = 4.0
DRAWN_AT_ONCE = 8


@torch.no_grad()
def draw_class(
    task: TrainingTask, *, network: Network, bank: Bank, hands: Hands | None
) -> TaskData:
    """Draw as many latents of the class as the task has photos, from seeds of its own."""
    prompt = f"a photo of {task.subject}"
    side = task.hyperparameters.resolution
    drawings = [
        Drawing(
            prompt=prompt,
            slot=bank.empty,
            seed=derived_seed(task.seed, "class", number),
            denoising_steps=DENOISING_STEPS,
            guidance=GUIDANCE,
            width=side,
            height=side,
        )
        for number in range(len(task.photos))
    ]
    latents: list[torch.Tensor] = []
    for first in range(0, len(drawings), DRAWN_AT_ONCE):
        rows = begin(network, drawings[first : first + DRAWN_AT_ONCE])
        while rows[0].left:
            advance(network, bank, rows, hands=hands)
        latents.extend(row.latent_CHW for row in rows)
    return TaskData(
        latents_MCHW=torch.stack(latents).to(network.dtype),
        mirrored_MCHW=None,
        captions=network.encode_prompts([prompt] * len(drawings)),
    )
