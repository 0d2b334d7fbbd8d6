"""The square a model sees: the object centred in it and of the stated size."""

import pytest
import torch

from zero123.images.framing import ORIGINAL, ORIGINAL_STRETCH, Framing, frame, placement
from zero123.images.io import PictureError


def disc(side, centre, radius):
    """A red disc with a soft edge on transparent black."""
    y, x = torch.meshgrid(torch.arange(side) + 0.5, torch.arange(side) + 0.5, indexing="ij")
    alpha = (radius - ((x - centre[0]) ** 2 + (y - centre[1]) ** 2).sqrt() + 0.5).clamp(0, 1)
    return torch.stack([alpha.gt(0).float(), 0 * alpha, 0 * alpha, alpha])


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
