"""The codec's basis is the principal components of patches, and white is nothing."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tiny_model import SIZE
from zero123.models.patch_codec import PatchCodec

PATCH, CHANNELS = 4, 8


def _pictures():
    """Smooth pictures without white, in [-1, 1]."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(6, 3, 8, 8, generator=generator) * 1.6 - 0.9
    return F.interpolate(coarse, (SIZE, SIZE), mode="bicubic").clamp(-1, 0.9)


def _fitted(exponent=0.5):
    codec = PatchCodec(PATCH, CHANNELS)
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
        error = (codec.decode(codec.encode(_pictures())) - _pictures()).square().mean()
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


def test_psnr_counts_the_objects_pixels_alone():
    codec, _ = _fitted()
    pixels = _pictures()
    with torch.no_grad():
        error = (codec.decode(codec.encode(pixels)).clamp(-1, 1) - pixels).square().mean() / 4
    assert codec.psnr(pixels) == pytest.approx(float(-10 * torch.log10(error)), abs=1e-3)
    wide = F.pad(pixels, (SIZE, SIZE, 0, 0), value=1.0)
    assert codec.psnr(wide) == pytest.approx(codec.psnr(pixels), abs=1e-3)
