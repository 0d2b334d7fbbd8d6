"""The square a model sees: centred, of the stated size, and for the released models as the original makes it."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from zero123.images.alpha import composite
from zero123.images.framing import ORIGINAL, ORIGINAL_STRETCH, Framing, frame, placement
from zero123.images.io import PictureError

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "preprocess.npz")
WHITE = torch.ones(3)
INPUTS = {"pre_A": (300, 400, False), "pre_B": (700, 500, True), "pre_C": (120, 90, False)}


def golden_input(name):
    """The RGBA input of the golden run, made by its published rule; (4, H, W)."""
    h, w, hard = INPUTS[name]
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    u = np.random.Generator(np.random.PCG64(seed)).random(h * w * 3).reshape(h, w, 3)
    y, x = np.mgrid[:h, :w].astype(np.float64)
    waves = np.stack([0.5 + 0.5 * np.sin(2 * np.pi * (x * (k + 1) / w + y / h)) for k in range(3)], -1)
    rgb = np.floor(waves * 200 + u * 55)
    r = np.sqrt(((y - 0.55 * h) / (0.30 * h)) ** 2 + ((x - 0.45 * w) / (0.20 * w)) ** 2)
    alpha = np.floor(255 * ((r < 1) if hard else np.clip((1.15 - r) / 0.3, 0, 1)))
    assert rgb.sum() == GOLDEN[f"{name}_rgb_in_sum"] and alpha.sum() == GOLDEN[f"{name}_alpha_in_sum"]
    return torch.from_numpy(np.concatenate([rgb, alpha[..., None]], -1).transpose(2, 0, 1) / 255).float()


def disc(side, centre, radius):
    """A red disc with a soft edge on transparent black."""
    y, x = torch.meshgrid(torch.arange(side) + 0.5, torch.arange(side) + 0.5, indexing="ij")
    alpha = (radius - ((x - centre[0]) ** 2 + (y - centre[1]) ** 2).sqrt() + 0.5).clamp(0, 1)
    return torch.stack([alpha.gt(0).float(), 0 * alpha, 0 * alpha, alpha])


@pytest.mark.parametrize("name", INPUTS)
def test_the_original_framing_is_reproduced_within_one_level(name):
    ours = composite(frame(golden_input(name), ORIGINAL), WHITE) * 255
    theirs = torch.from_numpy(GOLDEN[f"{name}_auto_u8"]).permute(2, 0, 1).float()
    assert (ours - theirs).abs().max() <= 1.01
    assert (ours.round() - theirs).abs().gt(0).float().mean() < 0.03


@pytest.mark.parametrize("name", INPUTS)
def test_the_original_stretch_is_reproduced_within_one_level(name):
    ours = composite(frame(golden_input(name), ORIGINAL_STRETCH), WHITE)[:, ::2, ::2]
    theirs = torch.from_numpy(GOLDEN[f"{name}_noauto_f16sub"]).permute(2, 0, 1)
    assert (ours - theirs).abs().max() * 255 <= 1.01


@pytest.mark.parametrize("fraction", [0.4, 0.6, 1.0])
@pytest.mark.parametrize("radius", [9.0, 70.0])
def test_the_object_is_centred_and_fills_the_stated_fraction(fraction, radius):
    framed = frame(disc(200, (90.0, 110.0), radius), Framing(128, fraction))
    rows, columns = framed[3].sum(1), framed[3].sum(0)
    position = torch.arange(128) + 0.5
    assert (rows * position).sum() / rows.sum() == pytest.approx(64, abs=0.55)
    assert (columns * position).sum() / columns.sum() == pytest.approx(64, abs=0.55)
    assert 2 * (framed[3].sum() / torch.pi).sqrt() == pytest.approx(
        128 * fraction, rel=0.03, abs=1.5 * fraction * 64 / radius
    )


def test_aspect_is_kept():
    rgba = torch.zeros(4, 90, 120)
    rgba[:, 10:40, 20:110] = 1
    assert placement(rgba[3], Framing(64, 0.5))[1] == (11, 32)
    assert placement(rgba[3].T, Framing(64, 0.5))[1] == (32, 11)
    assert placement(rgba[3], Framing(256, 1.0, enlarge=False))[1] == (30, 90)


def test_framing_a_framed_picture_changes_nothing():
    framing = Framing(64, 0.5, enlarge=False, hard_mask=True)
    rgba = torch.zeros(4, 64, 64)
    rgba[:, 20:44, 16:48] = torch.rand(4, 24, 32, generator=torch.Generator().manual_seed(1)) * 0.4 + 0.6
    once = frame(rgba, framing)
    torch.testing.assert_close(frame(once, framing), once)


def test_colours_hidden_under_transparent_pixels_do_not_bleed():
    rgba = disc(150, (75.0, 75.0), 60.0)
    rgba[1] = rgba[3].eq(0).float()  # loud green outside
    framed = frame(rgba, Framing(48, 0.8))
    assert (framed[1] * framed[3]).max() == 0
    assert framed[0][framed[3] > 0.02].min() > 0.97


def test_a_thin_object_keeps_at_least_a_pixel():
    rgba = torch.zeros(4, 400, 20)
    rgba[:, :, 10] = 1
    assert frame(rgba, Framing(32, 0.5))[3].max() > 0


@pytest.mark.parametrize("framing", [ORIGINAL, ORIGINAL_STRETCH, Framing(128, 0.6)])
def test_an_all_transparent_picture_is_refused(framing):
    with pytest.raises(PictureError, match="transparent everywhere"):
        frame(torch.zeros(4, 32, 32), framing)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="rgba must be"):
        frame(torch.zeros(3, 32, 32), ORIGINAL)
    with pytest.raises(ValueError, match="foreground_fraction"):
        Framing(128, 1.2)
    with pytest.raises(ValueError, match="size"):
        Framing(0)
