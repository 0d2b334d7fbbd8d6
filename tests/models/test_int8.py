"""Weights in 8 bits are off by half a step at most, take half the memory of bfloat16, and draw nearly the same."""

import pytest
import torch
from torch import nn

from tiny_model import blobs, tiny_view_model
from zero123.geometry.orbit import RelativePose
from zero123.models.export import export_model
from zero123.models.int8 import is_int8, place_int8, quantise
from zero123.models.pretrained import load_model, save_model
from zero123.models.running import weights_bytes
from zero123.models.weights import WeightsError, build_component


@pytest.mark.parametrize("shape", [(5, 7), (4, 3, 2, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_weight_is_off_by_more_than_half_a_step(shape, dtype):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    weight[1] *= 1000  # a channel's size does not spoil the others
    weight[2] = 0
    whole, step = quantise(weight)
    assert whole.dtype == torch.int8
    assert step.shape == (shape[0], *[1] * (len(shape) - 1))
    error = (whole.float() * step.float() - weight.float()).abs()
    # the largest of a channel may lie beyond 127 rounded steps by the rounding of the step itself
    slack = weight.float().abs() * torch.finfo(dtype).eps
    assert (error <= step.float() / 2 * (1 + 1e-5) + slack).all()
    assert not whole[2].any()


def test_whole_multiples_are_kept_exactly():
    weight = torch.tensor([[127.0, -3.0, 0.0], [0.5, -63.5, 20.0]])
    whole, step = quantise(weight)
    assert torch.equal(whole * step, weight)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "tiny"
    save_model(tiny_view_model(), folder)
    return load_model(folder), load_model(folder, place=place_int8)


def test_large_weights_of_unet_and_encoder_are_eight_bits_and_the_decoder_is_not(pair):
    _, small = pair
    assert is_int8(small.unet)
    assert is_int8(small.image_encoder)
    assert not is_int8(small.autoencoder)
    assert small.dtype == torch.float32
    stored = small.unet.down_blocks[0].resnets[0].conv2.parametrizations.weight.original
    assert stored.dtype == torch.int8


def test_memory_of_the_networks_falls_to_little_over_a_quarter_of_float32(pair):
    full, small = pair
    large = sum(m.weight.nbytes for m in full.unet.modules() if is_large(m))
    saved = weights_bytes(full.unet) - weights_bytes(small.unet)
    assert saved == pytest.approx(0.75 * large, rel=0.02)


def is_large(module):
    return isinstance(module, nn.Linear | nn.Conv2d) and module.weight.numel() >= 1024


def test_the_network_says_nearly_the_same(pair):
    photo = blobs(1)
    move = RelativePose.from_degrees([40.0], [10.0], [0.0])
    x = torch.randn(1, *pair[0].latent_shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        full, small = (m.network(x, torch.tensor([500]), m.condition(photo, move)) for m in pair)
    assert (full - small).square().mean().sqrt() < 0.03 * full.std()
    assert not torch.equal(full, small)


def test_other_networks_are_loaded_as_ever():
    layer = build_component(nn.Linear, {"in_features": 80, "out_features": 80}, nn.Linear(80, 80).state_dict(), "layer")
    again = build_component(
        nn.Linear, {"in_features": 80, "out_features": 80}, layer.state_dict(), "layer", place=place_int8
    )
    assert torch.equal(again.weight, layer.weight)


def test_eight_bits_are_not_written_as_if_they_were_weights(pair, tmp_path):
    with pytest.raises(WeightsError, match="8 bits are for running, not for writing"):
        save_model(pair[1], tmp_path / "again")
    with pytest.raises(WeightsError, match="keeps its weights in 8 bits"):
        export_model(pair[1], tmp_path / "again.safetensors", "safetensors")
    assert not any(tmp_path.iterdir())
