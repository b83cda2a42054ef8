"""Fine-tune `tiny` on evaluated subjects with PEFT and let the judge say how well it worked.

    python -m examples.tiny.recipe --subjects 6 --workers 2

This is the experiment behind the product's presets, and a reference that shares no code with the
product's own trainer: ten drawn photos, latents and text embeddings computed once, LoRA on the
UNet alone, then new scenes with several seeds.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig
from PIL import Image
from torch import Tensor

from examples.tiny.captions import TRIGGER_WORD, place_words
from examples.tiny.fit_unet import SNR_CAP
from examples.tiny.fit_vae import encode
from examples.tiny.fitting import pixels_of
from examples.tiny.judge import Judge, copies
from examples.tiny.networks import MODEL
from examples.tiny.places import PLACES
from examples.tiny.scenes import (
    NEW_PLACES,
    PHOTO_PIXELS,
    PHOTO_PLACES,
    photos_of,
    render,
    scenes_of,
)
from examples.tiny.subjects import Creature, evaluated_subjects

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
FEED_FORWARD = ("ff.net.0.proj", "ff.net.2")
CONVOLUTIONS = ("proj_in", "proj_out", "conv1", "conv2", "conv_in", "conv_out")
SHORTCUTS = ("conv_shortcut", "conv", "time_emb_proj")
TARGETS = {
    "attention": ATTENTION,
    "attention+ff": (*ATTENTION, *FEED_FORWARD),
    "all": (*ATTENTION, *FEED_FORWARD, *CONVOLUTIONS),
    "everything": (*ATTENTION, *FEED_FORWARD, *CONVOLUTIONS, *SHORTCUTS),
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to fine-tune and how to draw afterwards.

    Attributes:
        rank: LoRA rank; alpha is `alpha_ratio` times the rank.
        alpha_ratio: The scale `alpha / rank`.
        targets: A key of `TARGETS`.
        peak: Highest learning rate; falls to zero by cosine after `warm_up` steps.
        warm_up: Steps of rising learning rate.
        steps: Optimiser steps.
        batch: Instance rows of a step.
        captions: `place` names each photo's place, `bare` does not.
        prior: Weight of prior preservation; 0 turns it off.
        class_images: Base-model pictures for prior preservation.
        prior_rows: Rows of them in a step.
        flip: Whether half of the rows are mirrored.
        weight_decay: AdamW's.
        snr_cap: Min-SNR gamma; 0 turns the weighting off.
        guidance: Classifier-free guidance when drawing.
        denoising_steps: Denoising steps when drawing.
    """

    rank: int = 16
    alpha_ratio: float = 1.0
    targets: str = "all"
    peak: float = 5e-3
    warm_up: int = 10
    steps: int = 100
    batch: int = 4
    captions: str = "bare"
    prior: float = 0.0
    class_images: int = 8
    prior_rows: int = 1
    flip: bool = True
    weight_decay: float = 0.01
    snr_cap: float = SNR_CAP
    guidance: float = 2.5
    denoising_steps: int = 25


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the judge says about one fine-tuned subject.

    Attributes:
        retrieval: Share of new pictures that are recognised among all evaluated subjects.
        likeness: Mean share of the subject's parts that the new pictures show.
        following: Share of new pictures that are in the place asked for.
        copies: New pictures that are near-duplicates of an instance image.
        nearest: Smallest distance to an instance image.
        seconds: Training time.
        loss: Mean training loss of the last 50 steps.
    """

    retrieval: float
    likeness: float
    following: float
    copies: int
    nearest: float
    seconds: float
    loss: float


def galleries(pictures: int = 8) -> dict[str, list[Image.Image]]:
    """True pictures of every evaluated subject, which are in no training set."""
    places = tuple(PLACES)[:pictures]
    return {
        name: [render(scene) for scene in scenes_of(subject, places=places, seed=99)]
        for name, subject in evaluated_subjects().items()
    }


def instance_images(subject: Creature) -> list[Image.Image]:
    """The ten photos of `subject`, reduced to the model's size as the product would."""
    photos = [render(scene, pixels=PHOTO_PIXELS) for scene in photos_of(subject)]
    return [photo.resize((64, 64), Image.Resampling.LANCZOS) for photo in photos]


def instance_captions(subject: Creature, *, scheme: str) -> list[str]:
    """What is said about each of the photos."""
    scenes = photos_of(subject)
    start = f"a photo of {TRIGGER_WORD} creature"
    if scheme == "bare":
        return [start] * len(scenes)
    return [f"{start} {place_words(s.place, plain_colour=s.plain_colour)}" for s in scenes]


@torch.no_grad()
def embed(pipeline: StableDiffusionPipeline, captions: Sequence[str]) -> Tensor:
    """Text embeddings, `[n, tokens, width]`."""
    tokens = pipeline.tokenizer(
        list(captions),
        padding="max_length",
        truncation=True,
        max_length=pipeline.tokenizer.model_max_length,
        return_tensors="pt",
    ).input_ids
    return pipeline.text_encoder(tokens)[0]


def draw(
    pipeline: StableDiffusionPipeline, prompts: Sequence[str], *, recipe: Recipe, seed: int
) -> list[Image.Image]:
    """One picture per prompt, each with its own seed."""
    return pipeline(
        list(prompts),
        num_inference_steps=recipe.denoising_steps,
        guidance_scale=recipe.guidance,
        generator=[torch.Generator().manual_seed(seed + i) for i in range(len(prompts))],
    ).images


@dataclass(frozen=True, slots=True)
class Rows:
    """What a training step draws its rows from: latents, the same mirrored, text embeddings."""

    latents: Tensor
    mirrored: Tensor
    texts: Tensor


def rows_of(
    pipeline: StableDiffusionPipeline, images: Sequence[Image.Image], captions: Sequence[str]
) -> Rows:
    """Everything that training needs of captioned pictures, computed once."""
    pixels = pixels_of(images)
    return Rows(
        latents=encode(pipeline.vae, pixels).float(),
        mirrored=encode(pipeline.vae, pixels.flip(2)).float(),
        texts=embed(pipeline, captions),
    )


def class_rows(pipeline: StableDiffusionPipeline, *, recipe: Recipe) -> Rows:
    """What the base model draws for the class, for prior preservation."""
    said = [
        f"a photo of a creature {place_words(place)}"
        if recipe.captions == "place"
        else "a photo of a creature"
        for place in PHOTO_PLACES[: recipe.class_images]
    ]
    return rows_of(pipeline, draw(pipeline, said, recipe=recipe, seed=500), said)


def fine_tune(
    pipeline: StableDiffusionPipeline, subject: Creature, *, recipe: Recipe
) -> tuple[float, float]:
    """Add an adapter to the pipeline's UNet and train it; returns seconds and the last loss."""
    torch.manual_seed(0)
    mine = rows_of(
        pipeline, instance_images(subject), instance_captions(subject, scheme=recipe.captions)
    )
    prior = class_rows(pipeline, recipe=recipe) if recipe.prior else None
    unet: UNet2DConditionModel = pipeline.unet
    unet.requires_grad_(False)
    unet.add_adapter(
        LoraConfig(
            r=recipe.rank,
            lora_alpha=round(recipe.rank * recipe.alpha_ratio),
            target_modules=list(TARGETS[recipe.targets]),
        )
    )
    weights = [each for each in unet.parameters() if each.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=recipe.peak, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, partial(_cosine, recipe=recipe))
    kept = pipeline.scheduler.alphas_cumprod
    began = time.monotonic()
    losses = []
    order: list[int] = []
    for _ in range(recipe.steps):
        while len(order) < recipe.batch:
            order += torch.randperm(len(mine.latents)).tolist()
        rows, order = order[: recipe.batch], order[recipe.batch :]
        clean, text = mine.latents[rows], mine.texts[rows]
        if recipe.flip:
            clean = torch.where(torch.rand(len(rows), 1, 1, 1) < 0.5, mine.mirrored[rows], clean)
        if prior is not None:
            chosen = torch.randint(len(prior.latents), (recipe.prior_rows,))
            clean = torch.cat([clean, prior.latents[chosen]])
            text = torch.cat([text, prior.texts[chosen]])
        per_row = row_losses(unet, clean, text, kept=kept, snr_cap=recipe.snr_cap)
        loss = per_row[: recipe.batch].mean()
        losses.append(loss.item())
        if prior is not None:
            loss = loss + recipe.prior * per_row[recipe.batch :].mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        schedule.step()
    last = losses[-50:]
    return time.monotonic() - began, sum(last) / len(last)


def row_losses(
    unet: UNet2DConditionModel, clean: Tensor, text: Tensor, *, kept: Tensor, snr_cap: float
) -> Tensor:
    """`min(snr, cap)/snr · mean (ε_θ - ε)²` of each row, [n]; the rows share out the timesteps."""
    count = len(clean)
    strata = (torch.randperm(count) + torch.rand(count)) / count
    times = (strata * 1000).long().clamp(max=999)
    share = kept[times][:, None, None, None]
    noise = torch.randn_like(clean)
    predicted = unet(share.sqrt() * clean + (1 - share).sqrt() * noise, times, text).sample
    ratio = kept[times] / (1 - kept[times])
    weight = ratio.clamp(max=snr_cap) / ratio if snr_cap else torch.ones_like(ratio)
    return weight * (predicted - noise).pow(2).mean(dim=(1, 2, 3))


def _cosine(step: int, *, recipe: Recipe) -> float:
    if step < recipe.warm_up:
        return (step + 1) / recipe.warm_up
    done = (step - recipe.warm_up) / max(1, recipe.steps - recipe.warm_up)
    return 0.5 * (1 + float(torch.cos(torch.tensor(done * torch.pi))))


def try_recipe(
    name: str, *, recipe: Recipe, seeds: int, model: Path, sheets: Path | None
) -> Outcome:
    """Fine-tune on the subject called `name` and judge pictures of it in new places."""
    torch.set_num_threads(1)
    subject = evaluated_subjects()[name]
    pipeline = StableDiffusionPipeline.from_pretrained(model, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    prompts = [
        f"a photo of {TRIGGER_WORD} creature {place_words(place)}"
        for place in NEW_PLACES
        for _ in range(seeds)
    ]
    before = draw(pipeline, prompts[::seeds], recipe=recipe, seed=1000) if sheets else []
    seconds, loss = fine_tune(pipeline, subject, recipe=recipe)
    images = draw(pipeline, prompts, recipe=recipe, seed=1000)
    judge = Judge.load()
    recognised = judge.retrieve(images, galleries())
    seen = judge.background_of(images)
    wanted = [place for place in NEW_PLACES for _ in range(seeds)]
    nearest = copies(images, instance_images(subject))
    if sheets:
        sheets.mkdir(parents=True, exist_ok=True)
        rows = [instance_images(subject)[: len(NEW_PLACES)], before]
        rows += [images[first::seeds] for first in range(seeds)]
        contact_sheet(rows).save(sheets / f"{name}.png")
    return Outcome(
        retrieval=sum(each == name for each in recognised) / len(images),
        likeness=sum(judge.likeness(images, subject)) / len(images),
        following=sum(a == b for a, b in zip(seen, wanted, strict=True)) / len(images),
        copies=sum(each.is_copy for each in nearest),
        nearest=min(each.distance for each in nearest),
        seconds=seconds,
        loss=loss,
    )


def contact_sheet(rows: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """Pictures of one size in rows."""
    side = rows[0][0].width
    sheet = Image.new("RGB", (max(map(len, rows)) * side, len(rows) * side))
    for down, row in enumerate(rows):
        for across, image in enumerate(row):
            sheet.paste(image, (across * side, down * side))
    return sheet


def _job(task: tuple[str, Recipe, int, Path, Path | None]) -> tuple[str, Recipe, Outcome]:
    name, recipe, seeds, model, sheets = task
    return name, recipe, try_recipe(name, recipe=recipe, seeds=seeds, model=model, sheets=sheets)


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line, try every recipe on every subject, print one line of JSON each."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--subjects", type=int, default=6, help="how many, the mascot first")
    parser.add_argument("--seeds", type=int, default=2, help="pictures for each new place")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--sheets", type=Path, help="folder for contact sheets")
    parser.add_argument(
        "--vary",
        action="append",
        default=[],
        help='a recipe as JSON of what differs from the default, such as {"steps": 200}',
    )
    given = parser.parse_args(argv)
    known = {field.name for field in fields(Recipe)}
    changes = [json.loads(text) for text in given.vary] or [{}]
    if any(set(change) - known for change in changes):
        parser.error(f"a recipe has {', '.join(sorted(known))}")
    names = list(evaluated_subjects())[: given.subjects]
    tasks = [
        (name, replace(Recipe(), **change), given.seeds, given.model, sheets_of(given.sheets, i))
        for i, change in enumerate(changes)
        for name in names
    ]
    with get_context("spawn").Pool(given.workers) as pool:
        for name, recipe, outcome in pool.imap(_job, tasks):
            line = {"subject": name, "recipe": asdict(recipe), "outcome": asdict(outcome)}
            print(json.dumps(line), flush=True)


def sheets_of(folder: Path | None, recipe: int) -> Path | None:
    """Every recipe's own folder of contact sheets."""
    return folder / f"recipe-{recipe}" if folder else None


if __name__ == "__main__":
    main()
