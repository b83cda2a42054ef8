"""Train `tiny` from nothing: draw the data, then tokenizer, VAE, text encoder and UNet.

    python -m examples.tiny.train --run build/tiny --preset full

A run folder holds the data and the VAE once they are finished, so that a run which was interrupted
does not make them again. The pipeline folder `model` appears below it every 2,000 steps of the
UNet; `--go-on-from` trains such a folder further.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTokenizer

from examples.tiny.dataset import Chunk, load, render_ahead
from examples.tiny.fit_unet import Captioned, Steered, fit_unet
from examples.tiny.fit_vae import encode, fit_vae
from examples.tiny.fitting import Budget, to_unit
from examples.tiny.networks import (
    MAX_TOKENS,
    MINUTE,
    TINY,
    Sizes,
    build_pipeline,
    build_text_encoder,
    build_unet,
    build_vae,
    train_tokenizer,
)

SHOWN_PROMPTS = (
    "a photo of a round red creature with a yellow belly, long ears and two eyes in the snow",
    "a photo of a tall blue creature with one eye and orange antennae in space",
    "a photo of a fluffy white creature with three eyes and purple horns in a forest",
    "a photo of a square green creature with a grin and a yellow crown in a room",
    "a photo of a pear-shaped purple creature with pointed ears and pink wings at sunset",
    "a photo of a creature on the beach",
    "a photo of zorp creature in the city",
    "a photo of a red rocket in space",
    "a photo of a yellow fish under the sea",
    "a photo of a pink house in the mountains",
    "a photo of a blue mushroom in a flower garden",
    "a photo of a black cup on a stage",
)


@dataclass(frozen=True, slots=True)
class Preset:
    """How much work a run is.

    Attributes:
        examples: Scenes to draw.
        vae_examples: How many of them the VAE learns from.
        sizes: The networks' sizes.
        batch: Rows of one optimiser step, for the VAE and for the UNet.
        steps: Most optimiser steps, likewise.
        compiled: Whether the networks are compiled.
        start: The first scene's number; other numbers are other scenes.
    """

    examples: int
    vae_examples: int
    sizes: Sizes
    batch: tuple[int, int]
    steps: tuple[int, int]
    compiled: bool
    start: int = 0


PRESETS = {
    "full": Preset(700_000, 200_000, TINY, (256, 1024), (1_000_000, 1_000_000), compiled=True),
    "further": Preset(
        150_000, 0, TINY, (256, 1024), (1_000_000, 1_000_000), compiled=False, start=700_000
    ),
    "minute": Preset(64, 32, MINUTE, (4, 4), (2, 2), compiled=False),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--run", type=Path, required=True, help="folder of this run")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="full")
    parser.add_argument("--workers", type=int, default=1, help="processes that draw")
    parser.add_argument("--vae-seconds", type=float, default=200.0)
    parser.add_argument("--unet-seconds", type=float, default=1080.0)
    parser.add_argument(
        "--go-on-from",
        type=Path,
        help="a pipeline folder: keep its VAE and tokenizer, train its UNet and text encoder on "
        "with a learning rate that falls from the start",
    )
    given = parser.parse_args(argv)
    began = time.monotonic()

    def report(line: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {line}", flush=True)

    train(
        PRESETS[given.preset],
        run=given.run,
        workers=given.workers,
        seconds=(given.vae_seconds, given.unet_seconds),
        go_on_from=given.go_on_from,
        report=report,
    )


def train(
    preset: Preset,
    *,
    run: Path,
    workers: int,
    seconds: tuple[float, float],
    report: Callable[[str], None],
    go_on_from: Path | None = None,
) -> Path:
    """Do what is missing in `run`; returns the finished pipeline folder."""
    torch.manual_seed(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    if go_on_from is None:
        vae = prepare_vae(preset, run=run, workers=workers, seconds=seconds[0], report=report)
    data = draw(preset, run=run, workers=workers, report=report)
    if go_on_from is None:
        tokenizer = train_tokenizer(data.captions[:50_000])
        text_encoder = build_text_encoder(preset.sizes, tokenizer)
        pipeline = build_pipeline(vae, build_unet(preset.sizes), text_encoder, tokenizer)
    else:
        pipeline = StableDiffusionPipeline.from_pretrained(go_on_from, dtype=torch.float32)
        pipeline.to(device)
    pipeline.set_progress_bar_config(disable=True)
    latents = encode(pipeline.vae, torch.from_numpy(data.images).to(device))
    report(f"{len(latents)} latents, deviation {latents[:4096].float().std().item():.3f}")
    captioned = Captioned(
        latents=latents,
        tokens=tokenize(pipeline.tokenizer, data.captions).to(device),
        nothing=tokenize(pipeline.tokenizer, [""])[0].to(device),
    )

    def show(step: int) -> None:
        report(f"unet step {step}: saving and drawing samples")
        save(pipeline, run / "model")
        sample_sheet(pipeline).save(run / f"samples-{step:06d}.png")

    final = fit_unet(
        Steered(pipeline.unet, pipeline.text_encoder),
        captioned,
        budget=Budget(preset.steps[1], seconds[1], time.monotonic, time.monotonic()),
        batch=preset.batch[1],
        peak=1.5e-3 if go_on_from is None else 1.2e-3,
        hold=0.55 if go_on_from is None else 0.0,
        compiled=preset.compiled,
        report=report,
        between=show,
        between_steps=2000 if go_on_from is None else 500,
    )
    save(pipeline, run / "model")
    (run / "unet.json").write_text(json.dumps({"held_out_loss": final}))
    return run / "model"


def draw(preset: Preset, *, run: Path, workers: int, report: Callable[[str], None]) -> Chunk:
    """Render what is missing of the preset's examples and load them."""
    folder, count, start = run / "data", preset.examples, preset.start
    drawn = render_ahead(folder, start=start, count=count, workers=workers)
    for index, first in enumerate(drawn):
        if index % 100 == 0:
            report(f"drawn {index} chunks, last from {first}")
    return load(folder, start=start, count=count)


def prepare_vae(
    preset: Preset, *, run: Path, workers: int, seconds: float, report: Callable[[str], None]
) -> AutoencoderKL:
    """Load the run's VAE, or train it when there is none."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    folder = run / "vae"
    if folder.exists():
        return AutoencoderKL.from_pretrained(folder).to(device).eval()
    learnt = replace(preset, examples=preset.vae_examples)
    data = draw(learnt, run=run, workers=workers, report=report)
    images = torch.from_numpy(data.images).to(device)
    vae = build_vae(preset.sizes)
    decibels = fit_vae(
        vae,
        images,
        budget=Budget(preset.steps[0], seconds, time.monotonic, time.monotonic()),
        batch=preset.batch[0],
        compiled=preset.compiled,
        report=report,
    )
    reconstruction_sheet(vae, images[-32:]).save(run / "reconstructions.png")
    (run / "vae.json").write_text(json.dumps({"held_out_psnr_db": decibels}))
    vae.save_pretrained(folder)
    return vae


@torch.no_grad()
def reconstruction_sheet(vae: AutoencoderKL, images: Tensor) -> Image.Image:
    """Pictures above what the VAE makes of them."""
    decoded = vae.decode(vae.encode(to_unit(images)).latent_dist.mean).sample.clamp(-1, 1)
    again = decoded.add(1).mul(127.5).round().byte().permute(0, 2, 3, 1)
    rows = [torch.cat(list(part.cpu()), dim=1) for part in (images, again)]
    return Image.fromarray(torch.cat(rows, dim=0).numpy())


def tokenize(tokenizer: CLIPTokenizer, captions: Sequence[str]) -> Tensor:
    """`int64 [n, MAX_TOKENS]`, padded with the end token."""
    rows = [
        tokenizer(
            list(captions[first : first + 10_000]),
            padding="max_length",
            truncation=True,
            max_length=MAX_TOKENS,
            return_tensors="pt",
        ).input_ids
        for first in range(0, len(captions), 10_000)
    ]
    return torch.cat(rows)


def save(pipeline: StableDiffusionPipeline, folder: Path) -> None:
    """Write the pipeline in half precision, as it is distributed; its weights stay as they are."""
    pipeline.tokenizer.backend_tokenizer.no_padding()
    pipeline.tokenizer.backend_tokenizer.no_truncation()
    pipeline.save_pretrained(folder)
    for part in ("vae", "unet", "text_encoder"):
        halve(next((folder / part).glob("*.safetensors")))
    for config in (folder / "model_index.json", *folder.glob("*/*config.json")):
        content = json.loads(config.read_text())
        kept = {name: value for name, value in content.items() if name not in _LOCAL_TRACES}
        config.write_text(json.dumps(kept, indent=2) + "\n")


_LOCAL_TRACES = frozenset({"_name_or_path", "is_local", "local_files_only", "max_length"})
"""What the libraries write about where and how a part was loaded."""


def halve(path: Path) -> None:
    """Rewrite a safetensors file's floating-point tensors as float16."""
    tensors = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in load_file(path).items()
    }
    save_file(tensors, path, metadata={"format": "pt"})


@torch.no_grad()
def sample_sheet(
    pipeline: StableDiffusionPipeline,
    *,
    per_prompt: int = 4,
    steps: int = 25,
    guidance: float = 2.5,
) -> Image.Image:
    """A column of pictures for each of `SHOWN_PROMPTS`, drawn with fixed seeds."""
    device = pipeline.unet.device
    prompts = [prompt for prompt in SHOWN_PROMPTS for _ in range(per_prompt)]
    images = pipeline(
        prompts,
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=[torch.Generator(device).manual_seed(seed) for seed in range(len(prompts))],
    ).images
    side = images[0].width
    sheet = Image.new("RGB", (len(SHOWN_PROMPTS) * side, per_prompt * side))
    for index, image in enumerate(images):
        sheet.paste(image, (index // per_prompt * side, index % per_prompt * side))
    return sheet


if __name__ == "__main__":
    main()
