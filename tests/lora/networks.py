"""Tiny random base models made from configurations, for tests."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from atelier.lora.families import load_network
from atelier.lora.network import Network

TEXT_WIDTH = 16
TOKENS = 12


def tokenizer() -> CLIPTokenizer:
    alphabet = [chr(code) for code in range(33, 127)]
    tokens = [*alphabet, *(f"{char}</w>" for char in alphabet), "<|start|>", "<|end|>"]
    return CLIPTokenizer(
        vocab={token: index for index, token in enumerate(tokens)},
        merges=[],
        bos_token="<|start|>",
        eos_token="<|end|>",
        unk_token="<|end|>",
        pad_token="<|end|>",
        model_max_length=TOKENS,
    )


def save_pipeline(folder: Path, *, prediction: str = "epsilon", seed: int = 0) -> Path:
    """A Stable Diffusion pipeline that is whole and has learned nothing: 16×16 pixels."""
    torch.manual_seed(seed)
    words = tokenizer()
    pipeline = StableDiffusionPipeline(
        vae=AutoencoderKL(
            block_out_channels=(8, 8),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=4,
            sample_size=16,
            mid_block_add_attention=False,
            force_upcast=False,
        ),
        unet=UNet2DConditionModel(
            sample_size=8,
            in_channels=4,
            out_channels=4,
            layers_per_block=1,
            block_out_channels=(16, 16),
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=TEXT_WIDTH,
            attention_head_dim=4,
            norm_num_groups=4,
        ),
        text_encoder=CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(words),
                hidden_size=TEXT_WIDTH,
                intermediate_size=32,
                num_hidden_layers=1,
                num_attention_heads=2,
                max_position_embeddings=TOKENS,
                bos_token_id=words.bos_token_id,
                eos_token_id=words.eos_token_id,
                pad_token_id=words.pad_token_id,
            )
        ),
        tokenizer=words,
        scheduler=DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.015,
            beta_schedule="scaled_linear",
            prediction_type=prediction,
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


def network(folder: Path, dtype: torch.dtype = torch.float32) -> Network:
    return load_network(folder, dtype=dtype)
