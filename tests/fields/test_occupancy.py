"""What rays skip holds nothing, what they are shown behind the field depends on direction, and losses have minima."""

import math

import pytest
import torch

from zero123.fields.background import DirectionTexture
from zero123.fields.occupancy import OccupancyGrid
from zero123.fields.regularizers import orientation, sparsity
from zero123.fields.rendering import March, render


class Ball:
    """Dense within 0.4 of the origin, empty elsewhere."""

    low, high = torch.full((3,), -1.0), torch.full((3,), 1.0)

    def sigma(self, points):
        return 30.0 * (points.norm(dim=-1) < 0.4)

    def features(self, points):
        return points * 0 + 0.5


def test_nothing_is_skipped_before_the_first_look():
    assert OccupancyGrid(4).occupied(0.01, 0.02).all()


def test_rays_that_skip_empty_cells_see_the_same():
    grid, generator = OccupancyGrid(16), torch.Generator().manual_seed(0)
    for _ in range(4):
        grid.look(Ball(), generator)
    cells = grid.occupied(0.01, 0.02)
    assert 0.02 < cells.float().mean() < 0.3
    origins = torch.cat((torch.rand(200, 2, generator=generator) - 0.5, torch.full((200, 1), 2.0)), 1)
    rays, march = (origins, torch.tensor([[0.0, 0, -1]]).expand(200, 3), torch.ones(3)), March(0.02)
    torch.testing.assert_close(render(Ball(), *rays, march).colour, render(Ball(), *rays, march, None, cells).colour)


def test_cells_that_lost_what_they_held_are_forgotten():
    class Nothing(Ball):
        def sigma(self, points):
            return torch.zeros(len(points))

    grid, generator = OccupancyGrid(8), torch.Generator().manual_seed(0)
    grid.look(Ball(), generator)
    before = grid.density.max()
    grid.look(Nothing(), generator)
    assert grid.density.max() == pytest.approx(float(before) * 0.9)
    for _ in range(100):
        grid.look(Nothing(), generator)
    assert not grid.occupied(0.01, 0.02).any()


def test_the_samples_shown_are_those_that_count():
    origins = torch.tensor([[0.0, 0, 2], [0.9, 0.9, 2]])
    seen = render(Ball(), origins, torch.tensor([[0.0, 0, -1]] * 2), torch.ones(3), March(0.02))
    assert set(seen.ray.tolist()) == {0} and (seen.shown.norm(dim=-1) < 0.4).all()
    assert float(seen.share.sum()) == pytest.approx(float(seen.opacity[0]), abs=1e-2)


def test_a_background_is_one_colour_a_direction_whatever_its_length():
    behind = DirectionTexture(3, (4, 4), torch.Generator().manual_seed(0))
    directions = torch.randn(50, 3, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(behind(directions), behind(directions * 7), atol=1e-5, rtol=1e-5)
    up, down = behind(torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]))
    assert not torch.allclose(up, down)


def test_only_what_is_seen_from_behind_costs_and_weights_are_left_alone():
    weights = torch.tensor([1.0, 1.0, 0.5], requires_grad=True)
    normals = torch.tensor([[0.0, 0, 1], [0, 0, -1], [1, 0, 0]], requires_grad=True)
    loss = orientation(weights, normals, torch.tensor([[0.0, 0, -1]] * 3), 2)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.5) and weights.grad is None and normals.grad[0].abs().max() == 0


def test_sparsity_is_the_soft_size_of_opacity():
    assert float(sparsity(torch.tensor([0.0, 1.0]))) == pytest.approx((0.1 + math.sqrt(1.01)) / 2)


def test_grids_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="cells must be at least 1"):
        OccupancyGrid(0)
    with pytest.raises(ValueError, match="channels and hw must be"):
        DirectionTexture(0)
