"""The codec's basis is the principal components of patches; training its residual changes only what is decoded."""

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from torch.nn import functional as F

from tiny_model import SIZE, blobs, tiny_codec
from zero123.models.patch_codec import PatchCodec
from zero123.training.codec import CodecSettings, codec_errors, codec_loss, train_codec

PATCH, CHANNELS = 4, 8


def _pictures():
    """Smooth pictures without white, in [-1, 1]."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(6, 3, 8, 8, generator=generator) * 1.6 - 0.9
    return F.interpolate(coarse, (SIZE, SIZE), mode="bicubic").clamp(-1, 0.9)


def _fitted(exponent=0.5):
    codec = PatchCodec(PATCH, CHANNELS, (16, 16))
    codec.fit(_pictures(), exponent)
    patches = F.pixel_unshuffle(_pictures() - 1, PATCH).permute(0, 2, 3, 1).flatten(0, 2)
    return codec, patches.double().numpy()


def test_the_basis_is_the_principal_components():
    codec, patches = _fitted()
    vectors = np.linalg.svd(patches, full_matrices=False)[2]
    basis = codec.basis.double().numpy()
    np.testing.assert_allclose(np.abs((basis * vectors[:CHANNELS]).sum(1)), 1, atol=1e-4)
    np.testing.assert_allclose(basis @ basis.T, np.eye(CHANNELS), atol=1e-5)


def test_the_linear_error_is_the_variance_left_out():
    codec, patches = _fitted()
    values = np.linalg.svd(patches, compute_uv=False)
    with torch.no_grad():
        error = (codec.decode_linear(codec.encode(_pictures())) - _pictures()).square().mean()
    assert float(error) == pytest.approx((values[CHANNELS:] ** 2).sum() / patches.size, rel=1e-3)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_latents_have_unit_variance_overall_and_each_at_exponent_one(exponent):
    codec, _ = _fitted(exponent)
    with torch.no_grad():
        power = codec.encode(_pictures()).square().mean((0, 2, 3))
    assert float(power.mean()) == pytest.approx(1, rel=1e-3)
    assert (float(power.max() - power.min()) < 1e-2) == (exponent == 1.0)


def test_white_is_zero_and_stays_white():
    codec, _ = _fitted()
    white = torch.ones(1, 3, SIZE, SIZE)
    with torch.no_grad():
        assert float(codec.encode(white).abs().max()) == 0
        assert torch.equal(codec.decode(torch.zeros(1, CHANNELS, 8, 8)), white)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    AcceleratorState._reset_state(True)  # one process trains with one precision; others' tests may have chosen theirs
    images = (blobs(16) * 255).round().to(torch.uint8).numpy()
    codec = tiny_codec()
    before = {k: v.clone() for k, v in codec.state_dict().items()}
    settings = CodecSettings(steps=60, batch=8, learning_rate=3e-3, precision="no", noise=0.01)
    seen = []
    train_codec(codec, images, tmp_path_factory.mktemp("codec"), settings, lambda *p: seen.append(p))
    return codec, before, images, seen


def test_training_never_changes_latents(trained):
    codec, before, images, _ = trained
    fresh = tiny_codec()
    pixels = torch.from_numpy(images) / 127.5 - 1
    with torch.no_grad():
        assert torch.equal(codec.encode(pixels), fresh.encode(pixels))
    assert torch.equal(codec.basis, before["basis"]) and torch.equal(codec.spread, before["spread"])


def test_training_sharpens_what_is_decoded(trained):
    codec, _, images, seen = trained
    errors = codec_errors(codec, images)
    assert errors["full"] > errors["linear"] + 0.3
    untrained = codec_errors(tiny_codec(), images)
    assert untrained["full"] == pytest.approx(untrained["linear"])
    assert seen[-1] == (60, 60)
    assert not codec.training and not any(p.requires_grad for p in codec.parameters())


def test_fewer_pictures_than_a_batch_will_do(tmp_path):
    AcceleratorState._reset_state(True)
    images = (blobs(2) * 255).to(torch.uint8).numpy()
    train_codec(tiny_codec(), images, tmp_path, CodecSettings(steps=1, batch=8, precision="no"))


def test_the_objects_pixels_weigh_four_times_the_backgrounds():
    truth = torch.ones(1, 3, 4, 4)
    truth[..., :2] = 0.0
    settings = CodecSettings(edges=0.0)
    inside, outside = truth.clone(), truth.clone()
    inside[..., 0] += 0.5
    outside[..., 3] -= 0.5
    ratio = codec_loss(inside, truth, settings) / codec_loss(outside, truth, settings)
    assert float(ratio) == pytest.approx(4)
    assert float(codec_loss(truth, truth, CodecSettings())) == 0
