"""Base models: what loads, what it gives, and what is said when it does not load."""

import json
import shutil

import pytest
import torch

from atelier.contracts.base_models import Family
from atelier.contracts.errors import ContractBroken
from atelier.contracts.settings import Targets
from atelier.lora.families import family_of, load_network
from atelier.lora.network import Conditioning, Prediction
from atelier.lora.stable_diffusion import NEEDED_FILES


def test_a_folder_becomes_a_frozen_network(base):
    assert base.family is Family.STABLE_DIFFUSION
    assert (base.resolution, base.latent_factor, base.latent_channels) == (16, 2, 4)
    assert base.schedule.prediction is Prediction.EPSILON
    assert base.schedule.timesteps == 1000
    assert not any(p.requires_grad for p in base.denoiser.parameters())
    assert not base.denoiser.training


def test_shapes_of_text_latents_and_pictures(base):
    texts = base.encode_prompts(["a", "a much longer prompt than the tokenizer takes at once"])
    assert texts.tokens_NTD.shape == (2, 12, 16)
    z = base.encode_images(torch.zeros(3, 3, 16, 16))
    assert z.shape == (3, 4, 8, 8)
    assert base.decode_latents(z).shape == (3, 3, 16, 16)
    assert base.denoise(z[:2], torch.tensor([3, 700]), texts).shape == (2, 4, 8, 8)


def test_a_network_computes_in_the_dtype_it_was_loaded_in(base_folder):
    base = load_network(base_folder, dtype=torch.float64)
    assert base.encode_prompts(["a"]).tokens_NTD.dtype == torch.float64
    assert base.encode_images(torch.zeros(1, 3, 16, 16)).dtype == torch.float64


def test_conditioning_rows_are_chosen_and_joined():
    texts = Conditioning(torch.arange(6.0).view(3, 2, 1), torch.arange(3.0).view(3, 1))
    joined = Conditioning.join([texts.rows([2, 0]), texts.rows([2])])
    assert len(joined) == 3
    assert joined.pooled_NP.flatten().tolist() == [2, 0, 2]


def test_wider_targets_contain_the_narrower_in_the_networks_order(base):
    attention, more, everything = (base.target_modules(targets) for targets in Targets)
    assert set(attention) < set(more) < set(everything)
    assert all(name.split(".")[-1] != "conv1" for name in more)
    assert "conv_in" in everything
    assert "down_blocks.0.resnets.0.conv1" in everything
    assert any(name.endswith("attn2.to_out.0") for name in attention)


@pytest.mark.parametrize("name", NEEDED_FILES)
def test_a_folder_that_lacks_a_file_is_refused_by_its_name(base_folder, tmp_path, name):
    copy = shutil.copytree(base_folder, tmp_path / "base")
    (copy / name).unlink()
    with pytest.raises(ContractBroken, match=name):
        load_network(copy)


@pytest.mark.parametrize("text", [None, "{", "[]", "{}", '{"_class_name": "FluxPipeline"}'])
def test_a_folder_of_no_family_is_refused(tmp_path, text):
    if text is not None:
        (tmp_path / "model_index.json").write_text(text)
    with pytest.raises(ContractBroken, match=r"model_index\.json"):
        family_of(tmp_path)


def test_weights_that_are_cut_short_are_refused_by_their_part(base_folder, tmp_path):
    copy = shutil.copytree(base_folder, tmp_path / "base")
    weights = copy / "unet/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ContractBroken, match="unet does not load"):
        load_network(copy)


@pytest.mark.parametrize("change", [{"prediction_type": "sample"}, {"clip_sample": True}])
def test_a_schedule_that_we_cannot_follow_is_refused(base_folder, tmp_path, change):
    copy = shutil.copytree(base_folder, tmp_path / "base")
    path = copy / "scheduler/scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ContractBroken, match=r"prediction_type|clip_sample"):
        load_network(copy)
