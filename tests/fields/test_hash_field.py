"""Hashed grids: exact where they are whole, continuous everywhere, and able to hold what they are taught."""

import math

import pytest
import torch
from torch.nn import functional

from zero123.fields.hashgrid import HashEncoding, HashField
from zero123.fields.rendering import March, render


def test_a_grid_that_fits_its_table_is_read_trilinearly():
    torch.manual_seed(0)
    encoding = HashEncoding(levels=1, width=2, table=1024, coarsest=5, finest=5)
    with torch.no_grad():
        encoding.entries.normal_()
    points = torch.rand(200, 3)
    grid = encoding.entries.detach().view(1, 6, 6, 6, 2).movedim(-1, 1)
    expected = functional.grid_sample(grid, points[None, :, None, None] * 2 - 1, align_corners=True)[0, :, :, 0, 0].T
    torch.testing.assert_close(encoding(points).detach(), expected, atol=1e-5, rtol=1e-5)


def test_hashed_levels_are_continuous_across_cells():
    torch.manual_seed(0)
    encoding = HashEncoding(levels=1, width=1, table=64, coarsest=20, finest=20)
    with torch.no_grad():
        encoding.entries.normal_()
    assert not encoding.dense[0]
    start = torch.rand(50, 3)
    start[:, 0] = torch.randint(1, 20, (50,)) / 20  # on a face between two cells
    step = torch.tensor([1e-5, 0.0, 0.0])
    assert (encoding(start + step) - encoding(start - step)).abs().max() < 5e-3


def test_the_ends_of_the_cube_are_its_first_and_last_vertices():
    encoding = HashEncoding(levels=1, width=1, table=1024, coarsest=4, finest=4)
    with torch.no_grad():
        encoding.entries[:, 0] = torch.arange(125.0)
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1], [2.0, 0, 0]])
    assert encoding(corners)[:, 0].tolist() == [0, 4, 20, 100, 124, 4]


def test_levels_grow_by_a_constant_factor_and_may_be_left_out():
    encoding = HashEncoding(levels=4, width=2, table=2**14, coarsest=8, finest=64)
    assert encoding.sides.tolist() == [8, 16, 32, 64] and encoding.dense == [True, True, False, False]
    points = torch.rand(7, 3)
    whole, half = encoding(points), encoding(points, 2)
    assert torch.equal(whole[:, :4], half[:, :4]) and not half[:, 4:].any() and whole.shape == half.shape == (7, 8)


def test_it_learns_a_ball_of_two_colours():
    torch.manual_seed(0)
    field = HashField(HashEncoding(levels=6, table=2**12, coarsest=4, finest=32), blob=0.0)
    optimiser = torch.optim.Adam(field.parameters(), 1e-2)
    for _ in range(200):
        points = torch.rand(1024, 3) * 2 - 1
        inside, red = (points.norm(dim=-1) < 0.5).float(), (points[:, :1] > 0).float()
        colour = torch.cat((red, torch.zeros_like(red), 1 - red), dim=1)
        density = functional.mse_loss(1 - torch.exp(-field.sigma(points)), inside)
        loss = density + (inside[:, None] * (field.features(points) - colour)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        middle = torch.tensor([[0.2, 0.0, 0.0], [-0.2, 0.1, 0.0], [0.8, 0.0, 0.5]])
        assert (1 - torch.exp(-field.sigma(middle))).tolist() == pytest.approx([1, 1, 0], abs=0.2)
        assert field.features(middle[:2]).flatten().tolist() == pytest.approx([1, 0, 0, 0, 0, 1], abs=0.25)
    out = field.normals(torch.tensor([[0.5, 0.0, 0.0], [0.0, -0.5, 0.0]]))
    assert (out * torch.tensor([[1.0, 0, 0], [0, -1.0, 0]])).sum(-1).min() > 0.7


def test_a_fresh_field_is_a_blob_in_the_middle_that_rays_can_see():
    torch.manual_seed(0)
    field = HashField(HashEncoding(levels=4, table=2**10, coarsest=4, finest=16), blob=10.0)
    origins, directions = torch.tensor([[0.0, 0.0, 2.0], [0.9, 0.9, 2.0]]), torch.tensor([[0.0, 0, -1], [0, 0, -1]])
    with torch.no_grad():
        seen = render(field, origins, directions, torch.ones(3), March(0.02))
    assert float(seen.opacity[0]) > 0.9 > 0.3 > float(seen.opacity[1]) and seen.colour.shape == (2, 3)
    assert math.isclose(field.voxel, 2 / 16)


@pytest.mark.parametrize("wrong", [{"levels": 0}, {"table": 100}, {"coarsest": 9, "finest": 8}])
def test_encodings_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match="table a power of 2"):
        HashEncoding(**wrong)


def test_vertices_share_entries_by_the_hash_of_the_paper():
    encoding = HashEncoding(levels=1, table=2**19, coarsest=200, finest=200)
    low = torch.randint(0, 200, (500, 3), generator=torch.Generator().manual_seed(0))
    rows = encoding._rows(low.int(), 200, False)
    for k in range(8):
        x, y, z = (low + torch.tensor([k & 1, k >> 1 & 1, k >> 2])).unbind(-1)
        expected = (x ^ y * 2654435761 ^ z * 805459861) % 2**19
        assert torch.equal(rows[:, k].long(), expected)
