"""`ViewModel` with the released layout computes what the original computed, and its conditions obey their laws."""

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor
from safetensors.torch import save_file

from deterministic import GOLDEN, agree, disc_image, normal, tiny_state
from tiny_model import blobs, tiny_view_model
from zero123.diffusion.guidance import Guided, Pair
from zero123.diffusion.samplers import ancestral, euler, exploding, preserving
from zero123.geometry.orbit import OrbitPose, RelativePose
from zero123.models.patch_codec import PatchCodec
from zero123.models.pretrained import load_model
from zero123.models.view_model import Condition, ViewModel, ViewModelSettings

PHOTO = ((disc_image(64) + 1) / 2)[None]
MOVE = RelativePose.from_degrees([45.0], [30.0], [0.3])  # polar angle -30
MOVES = RelativePose.from_degrees([0.0, 90.0, -30.0], [10.0, 0.0, 40.0], [0.0, 0.1, -0.1])
SOURCE = OrbitPose.from_degrees([0.0], [20.0], [1.9])


@functools.cache
def golden():
    return {key: torch.from_numpy(value) for key, value in np.load(GOLDEN / "tiny_forward.npz").items()}


def released(path):
    """The tiny copy of the released model, read from its checkpoint."""
    model = load_model(path).requires_grad_(False)
    model.settings = replace(model.settings, image_size=64)  # the goldens' pictures; released models have 256
    return model


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    path = tmp_path_factory.mktemp("original") / "tiny.ckpt"
    torch.save({"state_dict": tiny_state(), "global_step": 3}, path)
    return released(path)


@functools.cache
def mini():
    return tiny_view_model().requires_grad_(False)


def close(ours, name, tolerance=2e-5):
    agree("tiny_forward", name, ours, golden()[name], tolerance)


def test_tokens_latents_and_context_equal_the_original(original):
    look = original.look(PHOTO)
    close(look.tokens, "emb")
    close(look.latent, "mode")
    condition = original.condition(PHOTO, MOVE)
    close(condition.tokens, "c_crossattn")
    close(condition.latent, "mode")
    assert condition.rays is None
    assert condition.pose is None


@pytest.mark.parametrize("step", [1, 261, 981])
def test_noise_equals_the_original(original, step):
    condition = original.condition(PHOTO, MOVE)
    close(original.network(normal("tiny_x", (1, 4, 8, 8)), torch.tensor([step]), condition), f"t{step}")


def test_unconditional_noise_equals_the_original(original):
    condition = original.condition(PHOTO, MOVE).without_image()
    close(original.network(normal("tiny_x", (1, 4, 8, 8)), torch.tensor([261]), condition), "uncond_t261")


def test_decoded_picture_equals_the_original(original):
    close(original.autoencoder.decode(0.8 * normal("tiny_x", (1, 4, 8, 8))) * 2 - 1, "decoded")


def test_encoding_scales_the_mode_and_draws_with_the_posterior_deviation(original):
    close(original.autoencoder.encode(PHOTO) / 0.18215, "mode")
    drawn = original.autoencoder.encode(PHOTO, torch.Generator().manual_seed(0)) / 0.18215
    deviation = (golden()["moments"][:, 4:].clamp(-30, 20) / 2).exp()
    unit = (drawn - golden()["mode"]) / deviation
    torch.testing.assert_close(unit, torch.randn(unit.shape, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("eta", [0, 1])
def test_ddim_trajectories_equal_the_original(original, eta):
    condition = original.condition(PHOTO, MOVE)
    pair, guided = Pair(condition, condition.without_image()), Guided(original, 3.0)
    sigmas = original.schedule.sampling_sigmas(10, "original")
    assert len(sigmas) == 10
    x = exploding(normal("tiny_x_T", (1, 4, 8, 8)), sigmas[0])
    noise = normal("tiny_noise", (16, 1, 4, 8, 8))
    x = euler(guided, x, sigmas, pair) if eta == 0 else ancestral(guided, x, sigmas, pair, noise=lambda k: noise[k])
    x = preserving(x, sigmas[-1])
    close(x, f"ddim10_cfg3_eta{eta}", 5e-4)
    if eta:
        picture = original.autoencoder.decode(x)
        agree("tiny_forward", "ddim10_eta1_image", picture, (golden()["ddim10_eta1_image"] + 1) / 2, 1e-4)


def test_safetensors_in_the_original_layout_give_the_same_model(original, tmp_path):
    save_file({k: v.contiguous() for k, v in tiny_state().items() if "model_ema" not in k}, tmp_path / "t.safetensors")
    again = released(tmp_path / "t.safetensors").state_dict()
    assert all(torch.equal(again[key], value) for key, value in original.state_dict().items())


def test_look_and_join_are_condition():
    for source in (None, SOURCE):
        whole = mini().condition(blobs(1), MOVES, source)
        parts = mini().join(mini().look(blobs(1), source), MOVES)
        assert all(torch.equal(getattr(whole, n), v) for n, v in given(parts).items())


def test_conditions_have_one_row_per_view():
    condition = mini().condition(blobs(1), MOVES, SOURCE)
    assert len(condition) == 3
    assert condition.tokens.shape == (3, 16, 16)
    assert condition.latent.shape == (3, *mini().latent_shape)
    assert condition.rays.shape == (3, 6, 8, 8)
    assert condition.projected.shape == (3, 8 + 4 * 8, 8, 8)
    assert condition.pose.shape == (3, 7)


def test_cross_attention_to_one_token_is_the_constant_it_is_taken_for(original):
    """The library's own attention, asked for every query, gives what is computed once per picture."""
    with torch.no_grad():
        constant = original.condition(PHOTO, MOVES)
    asked = replace(constant, added=None, added_without=None)
    x, step = normal("tiny_x_b3", (3, 4, 8, 8)), torch.tensor([500])
    for ours, theirs in ((constant, asked), (constant.without_image(), asked.without_image())):
        assert ours.added.shape == (3, 1, 5 * 32 + 5 * 64 + 6 * 128)
        with torch.no_grad():
            torch.testing.assert_close(
                original.network(x, step, ours), original.network(x, step, theirs), atol=2e-5, rtol=0
            )


def test_the_constant_is_not_used_where_gradients_or_other_processors_need_the_attention_itself(original):
    assert original.condition(PHOTO, MOVE).added is None
    processors = dict(original.unet.attn_processors)
    original.unet.set_attn_processor(AttnProcessor())
    with torch.no_grad():
        condition = original.condition(PHOTO, MOVE)
        assert condition.added is None
        close(original.network(normal("tiny_x", (1, 4, 8, 8)), torch.tensor([261]), condition), "t261")
    original.unet.set_attn_processor(processors)


def given(condition):
    return {name: value for name, value in vars(condition).items() if value is not None}


def test_photos_one_per_view_are_conditioned_each_on_its_own():
    together = mini().condition(blobs(3), MOVES, SOURCE)
    for k in range(3):
        alone = mini().condition(blobs(3)[k : k + 1], MOVES[k : k + 1], SOURCE)
        for name, value in given(alone).items():
            torch.testing.assert_close(getattr(together[k : k + 1], name), value, msg=name)


def test_joined_conditions_come_apart_again():
    condition = mini().condition(blobs(1), MOVES, SOURCE)
    joined = condition[:2].join(condition[2:])
    assert all(torch.equal(getattr(joined, n), v) for n, v in given(condition).items())
    bare = Condition(torch.zeros(2, 1, 4), torch.zeros(2, 4, 2, 2))
    assert len(bare.join(bare)) == 4
    assert bare.join(bare).rays is None


def test_without_image_only_the_poses_are_left():
    condition = mini().condition(blobs(1), MOVES, SOURCE)
    bare = condition.without_image()
    assert not bare.tokens.any()
    assert not bare.latent.any()
    assert not bare.projected.any()
    assert torch.equal(bare.rays, condition.rays)
    assert torch.equal(bare.pose, condition.pose)


def test_dropped_tokens_pass_the_projection_only_where_the_original_did():
    drop = torch.tensor([[True, False], [False, True], [False, False]])
    model = tiny_view_model()
    with torch.no_grad():
        look = model.look(blobs(1), SOURCE)
        kept = model.join(look, MOVES)
    with torch.no_grad():
        for projected in (False, True):
            model.settings = replace(model.settings, null_projected=projected)
            found = model.join(look, MOVES, drop)
            nothing = model.pose_conditioning(torch.zeros_like(look.tokens), found.pose[:1])[0]
            torch.testing.assert_close(found.tokens[0], nothing if projected else torch.zeros_like(nothing))
            torch.testing.assert_close(found.tokens[1:], kept.tokens[1:])
            assert not found.latent[1].any()
            assert torch.equal(found.latent[[0, 2]], kept.latent[[0, 2]])
            assert not found.projected[1].any()
            assert torch.equal(found.projected[[0, 2]], kept.projected[[0, 2]])
            assert torch.equal(found.rays, kept.rays)


def test_photos_of_another_size_or_number_are_refused_in_one_line():
    with pytest.raises(ValueError, match=r"photo must be \(B, 3, 32, 32\), got \(1, 3, 16, 16\)"):
        mini().look(torch.zeros(1, 3, 16, 16))
    with pytest.raises(ValueError, match="moves must be as many for each of 2 photos, got 3"):
        mini().condition(blobs(2), MOVES, SOURCE)


def test_parts_that_do_not_go_together_are_refused():
    good = tiny_view_model()
    parts = good.unet, good.autoencoder, good.image_encoder, good.pose_conditioning
    with pytest.raises(ValueError, match="place_reader must be given"):
        ViewModel(*parts, None, good.settings)
    with pytest.raises(ValueError, match="volume_depth must be the feature_volume's, or 0 for none, got 6"):
        ViewModel(*parts, good.place_reader, good.settings)
    with pytest.raises(ValueError, match="unet must take 22 channels, takes 62"):
        ViewModel(*parts, good.place_reader, replace(good.settings, volume_depth=0))
    with pytest.raises(ValueError, match="unet must take 56 channels, takes 62"):
        without_rays = replace(good.settings, rays=False)
        ViewModel(*parts, good.place_reader, without_rays, feature_volume=good.feature_volume)
    with pytest.raises(ValueError, match="feature_volume must be of 64 pixels and 32 cells a side, is of 32 and 16"):
        large = replace(good.settings, image_size=64)
        ViewModel(*parts, good.place_reader, large, feature_volume=good.feature_volume)
    with pytest.raises(ValueError, match="tokens must have one width"):
        narrow = *parts[:3], type(parts[3])(24, True)
        ViewModel(*narrow, good.place_reader, good.settings, feature_volume=good.feature_volume)


@pytest.mark.parametrize(
    "wrong", [{"prediction": "x0"}, {"tokens": "all"}, {"image_size": 0}, {"steps": 1.5}, {"scale": float("nan")}]
)
def test_wrong_settings_are_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ViewModelSettings(**wrong)


def test_a_codec_that_keeps_every_coefficient_is_exact():
    codec = PatchCodec(patch=4, latent_channels=48, decoder_channels=(16, 16))
    pixels = torch.rand(40, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    codec.fit(pixels)
    latents = codec.encode(pixels)
    torch.testing.assert_close(codec.decode(latents), pixels, atol=1e-3, rtol=0)
    assert latents.square().mean() == pytest.approx(1, abs=1e-3)
    assert codec.encode(torch.ones(1, 3, 8, 8)).abs().max() == 0


def test_a_codec_cannot_be_fitted_to_white():
    with pytest.raises(ValueError, match="pixels must show 8 patches or more, got 0"):
        PatchCodec(patch=4, latent_channels=8, decoder_channels=(16, 16)).fit(torch.ones(2, 3, 8, 8))
