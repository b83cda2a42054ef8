"""The networks of `tiny`: a Stable Diffusion pipeline's parts at their smallest useful size."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

MODEL = Path(__file__).parent / "model"
"""The committed base model, a pipeline folder."""

MAX_TOKENS = 48
MERGES = 280
START, END = "<|startoftext|>", "<|endoftext|>"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large the networks are."""

    vae: tuple[int, ...] = (32, 48, 64)
    latent_channels: int = 8
    unet: tuple[int, ...] = (64, 96)
    text_width: int = 96
    text_layers: int = 3
    norm_groups: int = 8


TINY = Sizes()
MINUTE = Sizes(vae=(8, 8, 16), unet=(16, 16), text_width=16, text_layers=1)
"""For tests: everything is there, nothing is learned."""


def build_vae(sizes: Sizes) -> AutoencoderKL:
    """64×64 RGB ↔ 16×16 latents of `sizes.latent_channels` channels."""
    levels = len(sizes.vae)
    return AutoencoderKL(
        block_out_channels=sizes.vae,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=1,
        latent_channels=sizes.latent_channels,
        norm_num_groups=sizes.norm_groups,
        sample_size=64,
        mid_block_add_attention=False,
        force_upcast=False,
    )


def build_unet(sizes: Sizes) -> UNet2DConditionModel:
    """Predicts the noise in 16×16 latents, steered by text embeddings."""
    levels = len(sizes.unet)
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=sizes.latent_channels,
        out_channels=sizes.latent_channels,
        layers_per_block=1,
        block_out_channels=sizes.unet,
        down_block_types=("CrossAttnDownBlock2D",) * levels,
        up_block_types=("CrossAttnUpBlock2D",) * levels,
        cross_attention_dim=sizes.text_width,
        attention_head_dim=4,
        norm_num_groups=sizes.norm_groups,
    )


def build_text_encoder(sizes: Sizes, tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """CLIP's text transformer for the vocabulary of `tokenizer`."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=sizes.text_width,
            intermediate_size=2 * sizes.text_width,
            projection_dim=sizes.text_width,
            num_hidden_layers=sizes.text_layers,
            num_attention_heads=4,
            max_position_embeddings=MAX_TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def build_scheduler() -> DDIMScheduler:
    """The noise schedule, with settings for sampling in 20 to 30 denoising steps.

    It ends noisier than Stable Diffusion's (0.015 instead of 0.012), because flat pictures of one
    bright or dark colour need it.
    """
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.015,
        beta_schedule="scaled_linear",
        prediction_type="epsilon",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="leading",
    )


def build_pipeline(
    vae: AutoencoderKL,
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
) -> StableDiffusionPipeline:
    """The parts as one pipeline, which can be saved and loaded."""
    return StableDiffusionPipeline(
        vae=vae,
        unet=unet,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def train_tokenizer(captions: Iterable[str], *, merges: int = MERGES) -> CLIPTokenizer:
    """Byte-pair encoding over the words of `captions` (Sennrich et al., arXiv 1508.07909).

    The alphabet is CLIP's: every byte, alone and at a word's end, so that any text can be told.
    """
    words = Counter(
        word
        for text in captions
        for word in text.lower().replace(",", " ,").replace("-", " - ").split()
    )
    alphabet = byte_alphabet()
    pieces = {word: (*word[:-1], f"{word[-1]}</w>") for word in words}
    found: list[tuple[str, str]] = []
    while len(found) < merges:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, split in pieces.items():
            for pair in pairwise(split):
                pairs[pair] += words[word]
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        found.append(best)
        pieces = {word: _merged(split, best) for word, split in pieces.items()}
    tokens = [*alphabet, *(f"{char}</w>" for char in alphabet), *("".join(pair) for pair in found)]
    vocabulary = {token: index for index, token in enumerate([*tokens, START, END])}
    return CLIPTokenizer(
        vocab=vocabulary,
        merges=found,
        bos_token=START,
        eos_token=END,
        unk_token=END,
        pad_token=END,
        model_max_length=MAX_TOKENS,
    )


def _merged(split: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    joined: list[str] = []
    index = 0
    while index < len(split):
        if split[index : index + 2] == pair:
            joined.append("".join(pair))
            index += 2
        else:
            joined.append(split[index])
            index += 1
    return tuple(joined)


def byte_alphabet() -> list[str]:
    """One printable character for every byte, as byte-level tokenizers write them."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in printable]
    table = {byte: chr(byte) for byte in printable}
    table |= {byte: chr(256 + place) for place, byte in enumerate(rest)}
    return [table[byte] for byte in range(256)]
