"""Outlines a model is unsure of: sure and unsure parts are cut at a share of what there is, and white paint is kept."""

import exact_scene
import pytest
import torch

from zero123.reconstruction.fit import FitSettings
from zero123.reconstruction.from_views import ReconstructionSettings, from_views
from zero123.reconstruction.hull import HullSettings
from zero123.reconstruction.outlines import hardened


def bell(height, middle, width=6.0):
    """A bump of belief along a row of 128 pixels, (1, 1, 128) repeated over 128 rows."""
    place = torch.arange(128) - middle
    return height * torch.exp(-((place / width) ** 2) / 2).expand(1, 128, 128)


@pytest.mark.parametrize("height", [1.0, 0.6, 0.4])
def test_a_part_is_as_wide_however_little_the_model_believes_in_it(height):
    inside = hardened(bell(height, 64.0), share=0.5)[0, 64] > 0.5
    assert int(inside.sum()) == pytest.approx(2 * 6.0 * 1.1774, abs=1)  # at half of its height, in closed form


def test_what_is_sure_keeps_its_outline_at_half_beside_what_is_not():
    both = torch.maximum(bell(1.0, 40.0), bell(0.4, 90.0))
    silhouette = hardened(both, share=0.5)[0, 64] > 0.5
    torch.testing.assert_close(silhouette[:60], bell(1.0, 40.0)[0, 64, :60] > 0.5)
    assert bool(silhouette[90]) and not bool((both > 0.5)[0, 64, 90])


def test_next_to_nothing_is_nothing_and_certainty_stays():
    assert not bool(hardened(torch.full((2, 64, 64), 0.04)).any())
    solid = torch.zeros(1, 64, 64)
    solid[:, 20:40, 10:50] = 1
    assert torch.equal(hardened(solid), solid)
    assert hardened(torch.zeros(0, 64, 64)).shape == (0, 64, 64)


def test_white_paint_on_white_is_kept_where_the_model_believes_in_the_object():
    camera = exact_scene.ring()
    truth = exact_scene.picture(camera)
    green = truth[:, 1] > truth[:, 0]  # the box below the ball
    images = torch.where((green & (truth[:, 3] > 0))[:, None], 1.0, exact_scene.on_white(truth))
    settings = ReconstructionSettings(
        hull=HullSettings(cells=32),
        fit=FitSettings(grids=(24,), steps=(60,), rays=1024),
        picture_size=48,
        faces=2000,
        texture=0,
        rim=1,
    )
    lowest = [
        float(from_views(images, camera, settings, None, outlines).mesh.vertices[:, 2].min())
        for outlines in (truth[:1, 3], truth[:, 3])
    ]
    assert lowest[0] > exact_scene.LOW[2] + 0.15  # the pictures alone have no box
    assert lowest[1] == pytest.approx(exact_scene.LOW[2], abs=0.08)
