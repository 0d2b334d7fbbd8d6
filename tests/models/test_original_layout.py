"""The released key layout, loaded into library networks, computes what the original computed."""

import functools
import re

import numpy as np
import pytest
import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from torch.nn.functional import interpolate
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from deterministic import GOLDEN, disc_image, manifest, normal, seed, tiny_state
from zero123.models.weights import StoredTensor, WeightsError, build_component, build_part, from_original

CLASSES = {
    "unet": UNet2DConditionModel,
    "vae": AutoencoderKL,
    "image_encoder": CLIPVisionModelWithProjection,
    "pose_conditioning": nn.Linear,
}
TOLERANCE = 2e-5

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).reshape(3, 1, 1)
DEVIATION = torch.tensor([0.26862954, 0.26130258, 0.27577711]).reshape(3, 1, 1)


@functools.cache
def tiny_network(name):
    part = getattr(from_original(tiny_state()), name)
    return build_component(CLASSES[name], part.config, part.tensors, name).requires_grad_(False)


@functools.cache
def golden():
    return {key: torch.from_numpy(value) for key, value in np.load(GOLDEN / "tiny_forward.npz").items()}


def assert_golden(result, name):
    assert (result - golden()[name]).abs().max() <= TOLERANCE


def unet(x, concat, step, token):
    return tiny_network("unet")(torch.cat([x, concat], 1), step, token).sample


def test_names_make_the_numbers_the_goldens_were_made_of():
    check = np.load(GOLDEN / "rng_check.npz")
    for name, number, first in zip(check["names"], check["seeds"], check["first16"], strict=True):
        assert seed(str(name)) == int(number)
        np.testing.assert_array_equal(normal(str(name), (16,)), first)


def test_clip_embedding_equals_the_original():
    photo = interpolate(disc_image(64)[None], (224, 224), mode="bicubic", align_corners=True)
    pixels = ((photo + 1) / 2 - MEAN) / DEVIATION
    assert_golden(tiny_network("image_encoder")(pixels).image_embeds[:, None], "emb")


def test_pose_conditioning_equals_the_original():
    x, y, z = np.radians(-30), np.radians(45), 0.3
    pose = torch.tensor([[[x, np.sin(y), np.cos(y), z]]], dtype=torch.float32)
    assert_golden(tiny_network("pose_conditioning")(torch.cat([golden()["emb"], pose], -1)), "c_crossattn")


def test_autoencoder_moments_and_mode_equal_the_original():
    posterior = tiny_network("vae").encode(disc_image(64)[None]).latent_dist
    assert_golden(posterior.parameters, "moments")
    assert_golden(posterior.mode(), "mode")


def test_autoencoder_decoding_equals_the_original():
    latent = 0.8 * normal("tiny_x", (1, 4, 8, 8))
    vae = tiny_network("vae")
    assert_golden(vae.decode(latent / vae.config.scaling_factor).sample, "decoded")


@pytest.mark.parametrize("step", [1, 261, 981])
def test_unet_equals_the_original(step):
    x = normal("tiny_x", (1, 4, 8, 8))
    assert_golden(unet(x, golden()["mode"], step, golden()["c_crossattn"]), f"t{step}")


def test_unconditional_unet_equals_the_original():
    x = normal("tiny_x", (1, 4, 8, 8))
    assert_golden(unet(x, torch.zeros_like(x), 261, torch.zeros(1, 1, 768)), "uncond_t261")


def test_unet_on_a_rectangle_with_two_steps_equals_the_original():
    shape = (2, 4, 16, 24)
    token = golden()["c_crossattn"].expand(2, -1, -1)
    result = unet(normal("tiny_x_rect", shape), normal("tiny_cat_rect", shape), torch.tensor([50, 700]), token)
    assert_golden(result, "rect_t50_700")


def empty_network(cls, config):
    with init_empty_weights():
        if cls is CLIPVisionModelWithProjection:
            return cls(CLIPVisionConfig.from_dict(config))
        return cls(**config) if cls is nn.Linear else cls.from_config(config)


def test_every_full_size_tensor_has_exactly_one_place():
    state = {key: torch.empty(shape, device="meta") for key, shape in manifest("manifest.json").items()}
    parts = from_original(state)
    for name, cls in CLASSES.items():
        part = getattr(parts, name)
        expected = {key: tensor.shape for key, tensor in empty_network(cls, part.config).state_dict().items()}
        assert {key: tensor.shape for key, tensor in part.tensors.items()} == expected, name


def test_nothing_is_left_over_but_schedule_averages_and_text_tower():
    state = {key: torch.empty(shape, device="meta") for key, shape in manifest("manifest.json").items()}
    left = [
        key
        for key in state
        if not key.startswith(("model.", "first_stage_model.", "cond_stage_model.model.visual.", "cc_projection."))
    ]
    text = {
        "positional_embedding",
        "text_projection",
        "logit_scale",
        "token_embedding.weight",
        "ln_final.weight",
        "ln_final.bias",
    }
    averages = [key for key in left if key.startswith("model_ema.")]
    rest = {key for key in left if "." in key} - set(averages)
    assert rest == {f"cond_stage_model.model.{name}" for name in text}
    assert len([key for key in left if "." not in key]) == 12
    assert len(averages) == 688
    used = sum(len(getattr(from_original(state), name).tensors) for name in CLASSES)
    fused_splits = 24 * 2 * 2  # query, key and value become three, for weight and bias
    assert used == len(state) - len(left) + fused_splits


def test_averaged_weights_replace_the_raw_ones_only_when_wanted():
    state = tiny_state()
    average = torch.full_like(state["model.diffusion_model.out.2.bias"], 7.0)
    state["model_ema.diffusion_modelout2bias"] = average
    assert torch.equal(from_original(state).unet.tensors["conv_out.bias"].read(), average)
    raw = from_original(state, ema=False).unet.tensors["conv_out.bias"].read()
    assert torch.equal(raw, state["model.diffusion_model.out.2.bias"])


def test_half_precision_tensors_load_into_float_networks():
    state = {key: value.half() if key.startswith("cond_stage") else value for key, value in tiny_state().items()}
    part = from_original(state).image_encoder
    network = build_component(CLIPVisionModelWithProjection, part.config, part.tensors, "image_encoder")
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def built(state, name):
    part = getattr(from_original(state), name)
    return build_part(CLASSES[name], part, name)


def test_bad_tensors_are_named_as_in_the_file():
    key = "model.diffusion_model.middle_block.1.proj_in.weight"
    good = {name: value for name, value in tiny_state().items() if not name.startswith("model_ema.")}
    without = {name: value for name, value in good.items() if name != key}
    with pytest.raises(WeightsError, match=rf"^unet: missing tensor {re.escape(key)}$"):
        built(without, "unet")
    with pytest.raises(WeightsError, match=r"proj_in.weight must have shape \(128, 128, 1, 1\), got \(128, 64, 1, 1\)"):
        built(good | {key: good[key][:, :64]}, "unet")
    poisoned = good[key].clone()
    poisoned[3, 4] = torch.nan
    with pytest.raises(WeightsError, match=r"proj_in.weight holds values that are not finite"):
        built(good | {key: poisoned}, "unet")
    with pytest.raises(WeightsError, match=r"^unet: unknown tensor model.diffusion_model.input_blocks.99.0.op.weight$"):
        built(good | {"model.diffusion_model.input_blocks.99.0.op.weight": torch.zeros(1)}, "unet")
    fused = "cond_stage_model.model.visual.transformer.resblocks.1.attn.in_proj_weight"
    with pytest.raises(WeightsError, match=rf"^image_encoder: missing tensor {re.escape(fused)}$"):
        built({name: value for name, value in good.items() if name != fused}, "image_encoder")
    with pytest.raises(WeightsError, match=rf"^image_encoder: tensor {re.escape(fused)} must have shape"):
        built(good | {fused: good[fused][:-1]}, "image_encoder")


def test_bad_averages_are_named_as_in_the_file():
    state = tiny_state()
    average = "model_ema.diffusion_modelmiddle_block1proj_inweight"
    without = {name: value for name, value in state.items() if name != average}
    with pytest.raises(WeightsError, match=rf"^unet: missing tensor {average}: some averaged weights are there"):
        built(without, "unet")
    with pytest.raises(WeightsError, match=rf"^unet: tensor {average} holds values that are not finite"):
        built(state | {average: torch.full_like(state[average], torch.inf)}, "unet")


def test_what_no_network_needs_is_never_read():
    wanted = from_original(tiny_state())
    needed = {
        key
        for key in tiny_state()
        if key.startswith(("model_ema.diffusion", "first_stage", "cond_stage_model.model.visual.", "cc_projection."))
    }

    def refuse():
        raise AssertionError("read")

    state = {
        key: StoredTensor.of(value) if key in needed else StoredTensor(value.shape, value.dtype, refuse)
        for key, value in tiny_state().items()
    }
    for name in CLASSES:
        built(state, name)
        assert getattr(from_original(state), name).tensors.keys() == getattr(wanted, name).tensors.keys()


def test_a_start_for_training_is_known_by_its_first_layer():
    state = {key: value for key, value in tiny_state().items() if not key.startswith("cc_projection")}
    for key in ("model.diffusion_model.input_blocks.0.0.weight", "model_ema.diffusion_modelinput_blocks00weight"):
        state[key] = state[key][:, :4]
    parts = from_original(state)
    assert parts.pose_conditioning is None
    assert parts.unet.config["in_channels"] == 4


def test_a_checkpoint_of_another_model_is_refused():
    with pytest.raises(WeightsError, match="no Zero-1-to-3 weights"):
        from_original({"conv.weight": torch.zeros(1)})
    state = {key: value for key, value in tiny_state().items() if not key.startswith("cc_projection")}
    with pytest.raises(WeightsError, match=r"misses tensor cc_projection\.weight"):
        from_original(state)
