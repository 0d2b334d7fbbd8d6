"""Outlines a model is unsure of: the level at which the object is as long as it is known to be, in closed form."""

from dataclasses import replace

import exact_scene
import pytest
import torch

from zero123.geometry.camera import Camera
from zero123.geometry.orbit import RADIUS
from zero123.geometry.paths import evenly_spread
from zero123.reconstruction.fit import FitSettings
from zero123.reconstruction.from_views import ReconstructionSettings, from_views
from zero123.reconstruction.hull import HullSettings, reached
from zero123.reconstruction.outlines import hardened, level_of_length

AROUND = Camera.from_orbit(evenly_spread(24, RADIUS), hw=(64, 64))
HULL = HullSettings(cells=48, levels=(0.1, 0.9))


def passing(camera):
    """How near the world's origin the rays of V cameras pass, (V, H, W)."""
    origins, directions = camera.rays()
    return torch.linalg.cross(origins, directions).norm(dim=-1).reshape(-1, *camera.hw)


def ball_of(radius):
    """A belief that falls evenly from the middle of a ball to its rim: where it is at least L, the radius is 1 - L."""
    belief = (1 - passing(AROUND) / radius).clamp(0, 1)
    belief[0] = (passing(AROUND)[0] < radius / 2).float()
    return belief


def test_hardened_outlines_are_half_at_the_level_and_certain_a_little_beside_it():
    assert hardened(torch.tensor([0.0, 0.24, 0.3, 0.36, 1.0]), 0.3).tolist() == pytest.approx([0, 0, 0.5, 1, 1])


@pytest.mark.parametrize("length", [0.7, 0.9])
def test_the_level_is_that_at_which_a_ball_of_fog_is_as_long_as_it_is_known_to_be(length):
    level = level_of_length(ball_of(0.9), AROUND, replace(HULL, length=length))
    assert level == pytest.approx(1 - length / 1.8, abs=0.06)


def test_the_level_keeps_within_its_bounds_and_is_their_middle_where_no_length_is_known():
    assert level_of_length(ball_of(0.6), AROUND, replace(HULL, length=1.5)) < 0.15
    assert level_of_length(ball_of(0.6), AROUND, replace(HULL, length=0.1)) > 0.85
    assert level_of_length(ball_of(0.6), AROUND, replace(HULL, levels=(0.2, 0.5))) == pytest.approx(0.35)


def test_what_outlines_share_reaches_as_far_as_they_do():
    assert reached((passing(AROUND) < 0.3).float(), AROUND, HULL) == pytest.approx(0.6, abs=0.07)
    assert reached(torch.zeros(24, 64, 64), AROUND, HULL) == 0


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
