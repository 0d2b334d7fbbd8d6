"""Sides that a photo does not show are tinted by what it shows in front of them."""

import math

import numpy as np
import torch

from zero123.geometry.camera import Camera
from zero123.geometry.orbit import OrbitPose
from zero123.reconstruction.photo_colours import tinted

CAMERA = Camera.from_orbit(OrbitPose.from_degrees(torch.tensor([0.0]), torch.tensor([0.0]), 1.85), hw=(64, 64))[0]
RED, BLUE, GREY = ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.5, 0.5, 0.5))
BESIDE = torch.arange(64)[None].expand(64, 64)


def _photo():
    """A disc, red on the left and blue on the right; what lies beside it is green and transparent."""
    colour = torch.where(BESIDE[None] < 32, torch.tensor(RED)[:, None, None], torch.tensor(BLUE)[:, None, None])
    alpha = (torch.hypot(BESIDE - 31.5, BESIDE.T - 31.5) < 20).float()[None]
    green = torch.tensor((0.0, 1.0, 0.0))[:, None, None]
    return torch.cat((colour * alpha + green * (1 - alpha), alpha))


def _grey(points, normals):
    return np.full((len(points), 3), 0.5, np.float32)


def _at(column, depth):
    """A point in the middle row of a column, so far behind the world's middle."""
    side = (column + 0.5 - 32) / 32 * math.tan(CAMERA.field_of_view / 2) * (1.85 + depth)
    return np.array([[-depth, side, 0.0]], np.float32)


def _tinted(points, share=0.5):
    return tinted(_grey, _photo(), CAMERA, share)(points, np.zeros_like(points))


def test_a_point_takes_its_share_of_the_colour_that_is_shown_in_front_of_it_however_deep_it_lies():
    for depth in (-0.3, 0.0, 0.4):
        np.testing.assert_allclose(_tinted(_at(15, depth)), [np.add(RED, GREY) / 2], atol=1e-3)
        np.testing.assert_allclose(_tinted(_at(48, depth), 0.2), [0.2 * np.array(BLUE) + 0.4], atol=1e-3)


def test_what_lies_beside_the_object_gives_no_colour():
    """Neither at its rim, into which the blur reaches, nor beyond."""
    np.testing.assert_allclose(_tinted(_at(13, 0.2)), [np.add(RED, GREY) / 2], atol=1e-3)
    np.testing.assert_array_equal(_tinted(_at(2, 0.2)), [GREY])
    np.testing.assert_array_equal(_tinted(_at(200, 0.2)), [GREY])


def test_colours_are_blurred_by_a_sixteenth_of_the_picture():
    """Half way between two colours both count alike, and a standard deviation aside 84 to 16, as a normal law says."""
    np.testing.assert_allclose(_tinted(_at(31.5, 0.0), 1.0), [[0.5, 0, 0.5]], atol=1e-3)
    np.testing.assert_allclose(_tinted(_at(35.5, 0.0), 1.0), [[0.1587, 0, 0.8413]], atol=0.02)


def test_no_share_leaves_the_paint_alone():
    assert tinted(_grey, _photo(), CAMERA, 0.0) is _grey
