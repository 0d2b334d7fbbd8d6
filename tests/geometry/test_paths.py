"""Paths of cameras go where they say and share the sphere fairly."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from zero123.geometry.paths import evenly_spread, random_views, spiral, turntable

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "rec_camera.npz")


def test_the_spiral_equals_the_originals():
    point = spiral(100, 3, 2.0).point()[[0, 1, 50, 98, 99]]
    np.testing.assert_allclose(point.numpy(), GOLDEN["spiral_first_last_f64"][:, :3, 3], atol=1e-9)


def test_a_turntable_is_one_closed_turn_counter_clockwise_at_one_height():
    views = turntable(8, 0.3, 2.0, start=0.1)
    torch.testing.assert_close(views.azimuth.diff(), torch.full((7,), math.pi / 4))
    assert float(views.azimuth[0]) == pytest.approx(0.1)
    assert views.shape == (8,) and bool((views.elevation == 0.3).all()) and bool((views.radius == 2.0).all())


def test_random_views_are_uniform_in_area_and_radius():
    count = 40_000
    views = random_views(count, torch.Generator().manual_seed(1), (-0.3, 1.2), (1.5, 2.2))
    height = torch.sin(views.elevation)
    low, high = math.sin(-0.3), math.sin(1.2)
    for values, a, b in (
        (height, low, high),
        (views.radius, 1.5, 2.2),
        (views.azimuth, -math.pi, math.pi),
    ):
        error = (b - a) / math.sqrt(12 * count)
        assert float(values.min()) >= a - 1e-6 and float(values.max()) <= b + 1e-6
        assert abs(float(values.mean()) - (a + b) / 2) < 4 * error
        assert float(values.std()) == pytest.approx((b - a) / math.sqrt(12), rel=0.02)


def test_random_views_are_the_same_for_the_same_seed():
    first, second = (random_views(5, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first.point(), second.point())


def test_evenly_spread_views_leave_no_gap_and_do_not_crowd():
    count = 50
    points = evenly_spread(count, radius=1.0).point()
    somewhere = random_views(2000, torch.Generator().manual_seed(0), radius_range=(1.0, 1.0)).point()
    share = math.sqrt(4 * math.pi / count)  # side of the square each view would have
    assert float(torch.cdist(somewhere, points).min(1).values.max()) < share
    apart = torch.cdist(points, points) + 10 * torch.eye(count)
    assert float(apart.min()) > 0.6 * share


def test_evenly_spread_views_stay_in_their_band():
    views = evenly_spread(20, (-0.2, 0.9), 1.85)
    assert float(views.elevation.min()) > -0.2 and float(views.elevation.max()) < 0.9


@pytest.mark.parametrize("path", [turntable, spiral, evenly_spread])
def test_no_views_are_refused(path):
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        path(0)
