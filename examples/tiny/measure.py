"""Measure the committed base model: the numbers of its model card.

    python -m examples.tiny.measure --to examples/tiny/measured.json

Scenes come from numbers that training never drew; the judge knows nothing of the model.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random

import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from examples.tiny.captions import creature_parts, place_words
from examples.tiny.dataset import render_chunk
from examples.tiny.fit_vae import measure_psnr
from examples.tiny.judge import Judge
from examples.tiny.networks import MODEL
from examples.tiny.places import PLACES
from examples.tiny.subjects import Creature, random_creature

UNTRAINED = 5_000_000
SCENES = tuple(place for place in PLACES if place != "plain")


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--to", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--pictures", type=int, default=96, help="pictures for each number")
    given = parser.parse_args(argv)
    numbers = measure(given.model, pictures=given.pictures)
    given.to.write_text(json.dumps(numbers, indent=2) + "\n")
    print(json.dumps(numbers, indent=2))


def measure(model: Path, *, pictures: int) -> dict[str, float]:
    """The numbers, by name: see the model card for what each means."""
    pipeline = StableDiffusionPipeline.from_pretrained(model, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    judge = Judge.load()
    drawings = torch.from_numpy(render_chunk(UNTRAINED, 256).images)

    places = [SCENES[i % len(SCENES)] for i in range(pictures)]
    somewhere = sample(pipeline, [f"a photo of a creature {place_words(p)}" for p in places])
    followed = [a == b for a, b in zip(judge.background_of(somewhere), places, strict=True)]

    random = Random("described creatures")
    creatures = [random_creature(random) for _ in range(pictures)]
    described = sample(
        pipeline,
        [
            f"{described_creature(c)} {place_words(p)}"
            for c, p in zip(creatures, places, strict=True)
        ],
    )
    likeness = [
        judge.likeness([image], creature)[0]
        for image, creature in zip(described, creatures, strict=True)
    ]
    return {
        "vae_psnr_db": round(measure_psnr(pipeline.vae, drawings), 2),
        "place_accuracy": round(sum(followed) / pictures, 4),
        "described_parts_shown": round(sum(likeness) / pictures, 4),
        "pictures": pictures,
    }


def described_creature(creature: Creature) -> str:
    """A prompt that names every part."""
    parts = creature_parts(creature)
    listed = f"{', '.join(parts[:-1])} and {parts[-1]}"
    return f"a photo of a {creature.body} {creature.colour} creature with {listed}"


def sample(
    pipeline: StableDiffusionPipeline, prompts: Sequence[str], *, batch: int = 16
) -> list[Image.Image]:
    """One picture per prompt: DDIM, 25 denoising steps, guidance 2.5."""
    images: list[Image.Image] = []
    for first in range(0, len(prompts), batch):
        part = list(prompts[first : first + batch])
        seeds = [torch.Generator().manual_seed(first + i) for i in range(len(part))]
        images += pipeline(part, num_inference_steps=25, guidance_scale=2.5, generator=seeds).images
    return images


if __name__ == "__main__":
    main()
