"""The object is cut out: by its alpha, from plain grounds, and from busy ones; the same way every time."""

import importlib.util

import pytest
import torch

from zero123.images.alpha import composite
from zero123.images.io import PictureError
from zero123.images.matting import foreground, has_meaning

SIDE = 120


def circle(radius, centre=(60, 60), side=SIDE):
    """A soft disc, (H, W)."""
    y, x = torch.meshgrid(torch.arange(side) + 0.5, torch.arange(side) + 0.5, indexing="ij")
    return (radius - ((x - centre[0]) ** 2 + (y - centre[1]) ** 2).sqrt() + 0.5).clamp(0, 1)


def ring_of_colours():
    """A coloured ring with a real hole, straight alpha, (4, H, W)."""
    y, x = torch.meshgrid(torch.linspace(0, 1, SIDE), torch.linspace(0, 1, SIDE), indexing="ij")
    return torch.stack([0.7 + 0.2 * x, 0.15 + 0.2 * y, 0.2 + 0 * x, circle(40) * (1 - circle(14))])


def noise(scale, seed=0):
    return scale * torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def overlap(rgba, truth):
    ours, theirs = rgba[3] > 0.5, truth > 0.5
    return float((ours & theirs).sum() / (ours | theirs).sum())


def test_a_meaningful_alpha_is_kept_untouched():
    rgba, matte = foreground(ring_of_colours())
    torch.testing.assert_close(rgba, ring_of_colours())
    assert matte.method == "alpha" and not matte.cropped
    assert matte.coverage == pytest.approx(float(ring_of_colours()[3].mean()))


def test_an_opaque_alpha_is_not_taken_for_a_mask():
    truth = ring_of_colours()
    opaque = torch.cat((composite(truth, torch.ones(3)), torch.ones(1, SIDE, SIDE)))
    assert not has_meaning(opaque)
    rgba, matte = foreground(opaque)
    assert matte.method == "plain" and overlap(rgba, truth[3]) > 0.97


@pytest.mark.parametrize("ground", [(1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (0.1, 0.7, 0.3), (0.5, 0.5, 0.5)])
@pytest.mark.parametrize("grain", [0.0, 0.01])
def test_a_plain_ground_is_keyed_out_with_the_hole(ground, grain):
    truth = ring_of_colours()
    picture = (composite(truth, torch.tensor(ground)) + noise(grain)).clamp(0, 1)
    rgba, matte = foreground(picture)
    assert matte.method == "plain"
    assert overlap(rgba, truth[3]) > 0.97
    assert rgba[3, 60, 60] == 0 and rgba[3, :4].max() == 0


def test_a_gradient_still_counts_as_plain():
    y, x = torch.meshgrid(torch.linspace(0, 1, SIDE), torch.linspace(0, 1, SIDE), indexing="ij")
    ground = torch.stack([0.5 + 0.3 * y, 0.55 + 0.2 * y - 0.1 * x, 0.9 - 0.2 * x * x])
    truth = ring_of_colours()
    rgba, matte = foreground((composite(truth, ground) + noise(0.005)).clamp(0, 1))
    assert matte.method == "plain" and overlap(rgba, truth[3]) > 0.96


def test_edge_colours_are_freed_of_the_ground():
    truth = ring_of_colours()
    rgba, _ = foreground(composite(truth, torch.tensor([0.0, 1.0, 0.0])))
    seen = rgba[3] > 0.3
    assert rgba[1][seen].max() < 0.5
    assert (rgba[3] - truth[3]).abs().mean() < 0.005


def test_white_parts_inside_the_object_survive_on_white():
    eye = circle(10, (60, 50))
    colour = torch.tensor([0.2, 0.3, 0.6])[:, None, None] * (1 - eye) + 0.97 * eye
    truth = circle(40)
    picture = composite(torch.cat((colour, truth[None])), torch.ones(3))
    rgba, _ = foreground(picture)
    assert rgba[3, 50, 60] == 1 and overlap(rgba, truth) > 0.97


def test_specks_are_dropped():
    picture = composite(ring_of_colours(), torch.ones(3))
    picture[:, 5:8, 5:8] = 0
    rgba, _ = foreground(picture)
    assert rgba[3, :12, :12].max() == 0


def busy(seed=0):
    """A table and a wall of two colours with grain."""
    ground = torch.empty(3, SIDE, SIDE)
    ground[:, :70] = torch.tensor([0.4, 0.6, 0.75])[:, None, None]
    ground[:, 70:] = torch.tensor([0.35, 0.3, 0.2])[:, None, None]
    return (ground + noise(0.04, seed)).clamp(0, 1)


def test_grabcut_separates_an_object_from_a_busy_ground():
    truth = torch.cat((torch.tensor([0.85, 0.2, 0.15])[:, None, None].expand(3, SIDE, SIDE), circle(36)[None]))
    rgba, matte = foreground((composite(truth, busy()) + noise(0.03, 1)).clamp(0, 1))
    assert matte.method == "grabcut" and not matte.cropped
    assert overlap(rgba, truth[3]) > 0.93


def test_the_same_picture_gives_the_same_mask():
    picture = composite(torch.cat((torch.rand(3, SIDE, SIDE), circle(36)[None])), busy())
    for method in ("plain", "grabcut"):
        assert torch.equal(foreground(picture, method)[0], foreground(picture, method)[0])


def test_an_object_cut_by_the_edge_is_reported():
    truth = torch.cat((torch.full((3, SIDE, SIDE), 0.2), circle(40, (60, 100))[None]))
    rgba, matte = foreground(composite(truth, torch.ones(3)), "plain")
    assert matte.cropped and overlap(rgba, truth[3]) > 0.95


@pytest.mark.parametrize("size", [(16, 16), (16, 300), (300, 16)])
def test_odd_sizes_work(size):
    picture = torch.ones(3, *size)
    picture[:, 5:11, 5:11] = 0.3
    assert foreground(picture)[0].shape == (4, *size)


def test_bad_input_is_named():
    with pytest.raises(PictureError, match="transparent everywhere"):
        foreground(torch.zeros(4, 32, 32))
    with pytest.raises(PictureError, match="no transparency"):
        foreground(torch.ones(3, 32, 32), "alpha")
    with pytest.raises(PictureError, match="no object could be told"):
        foreground(torch.ones(3, 32, 32))
    with pytest.raises(ValueError, match="image must be"):
        foreground(torch.ones(1, 32, 32))
    with pytest.raises(ValueError, match="method must be"):
        foreground(torch.ones(3, 32, 32), "magic")


@pytest.mark.skipif(importlib.util.find_spec("rembg") is not None, reason="the extra is installed")
def test_a_missing_extra_is_named():
    with pytest.raises(ImportError, match=r"zero123\[matting\]"):
        foreground(torch.rand(3, 32, 32), "rembg")
