"""Compositing, the march and the regularisers against slow references, laws and closed forms."""

import math

import numpy as np
import pytest
import torch

from zero123.fields.regularizers import depth_smoothness, emptiness, opacity_entropy, total_variation
from zero123.fields.rendering import March, cells_at, composite, occupied_span, ray_box, render, render_picture
from zero123.fields.voxels import VoxelField
from zero123.geometry.camera import Camera
from zero123.geometry.orbit import OrbitPose


def slow_composite(optical):
    weights, through = np.zeros_like(optical), np.ones(len(optical))
    for k in range(optical.shape[1]):
        alpha = 1 - np.exp(-optical[:, k])
        weights[:, k] = alpha * through
        through = through * (1 - alpha)
    return weights, through


def sphere_field(radius=0.35, grid=40, density=20000.0):
    field = VoxelField((grid,) * 3, box=((-0.5,) * 3, (0.5,) * 3), density_shift=0.0)
    with torch.no_grad():
        field.density.copy_((density * (radius - field.centres().norm(dim=-1)) * grid).clamp(-density, density))
    return field


def view(azimuth_deg=30.0, elevation_deg=20.0, size=48):
    return Camera.from_orbit(OrbitPose.from_degrees(azimuth_deg, elevation_deg, 1.85), hw=(size, size))


def test_compositing_equals_a_plain_loop():
    optical = torch.from_numpy(np.random.default_rng(0).exponential(0.3, (20, 30)))
    weights, behind = composite(optical)
    slow_weights, slow_behind = slow_composite(optical.numpy())
    np.testing.assert_allclose(weights, slow_weights, atol=1e-12)
    np.testing.assert_allclose(behind, slow_behind, atol=1e-12)


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0, 1e3, 1e8])
def test_weights_and_background_sum_to_one_at_any_density(scale):
    weights, behind = composite(torch.rand(10, 50, generator=torch.Generator().manual_seed(1)) * scale)
    torch.testing.assert_close(weights.sum(dim=1) + behind, torch.ones(10), atol=1e-6, rtol=0)


@pytest.mark.parametrize("raw", [-1e4, -50.0, 0.0, 50.0, 1e4])
def test_gradients_stay_finite_at_extreme_densities(raw):
    field = VoxelField((8, 8, 8), density_shift=-1.0)
    with torch.no_grad():
        field.density.fill_(raw)
    seen = render(field, *view(size=12).rays(), torch.ones(3), March(0.1))
    (seen.colour.square().sum() + seen.depth.sum() + opacity_entropy(seen.opacity) + emptiness(seen.weights)).backward()
    for value in (field.density, field.colour, field.log_gain):
        assert value.grad is not None
        assert torch.isfinite(value.grad).all()


def test_a_share_of_the_colours_gradient_reaches_density_and_all_of_the_opacitys():
    field, rays = VoxelField((8, 8, 8), box=((-0.5,) * 3, (0.5,) * 3)), view(size=12).rays()
    with torch.no_grad():
        field.density.normal_(generator=torch.Generator().manual_seed(0))
        field.colour.normal_(generator=torch.Generator().manual_seed(1))

    def asked(what, share):
        seen = render(field, *rays, torch.tensor([0.2, 0.4, 0.6]), March(0.05, colours_shape=share))
        value = getattr(seen, what).square().sum()
        return value, *torch.autograd.grad(value, (field.density, field.colour), allow_unused=True)

    whole = asked("colour", 1.0)
    for share in (0.0, 0.3):
        told = asked("colour", share)
        torch.testing.assert_close(told[0], whole[0])
        torch.testing.assert_close(told[1], share * whole[1])
        torch.testing.assert_close(told[2], whole[2])
        torch.testing.assert_close(asked("opacity", share)[1], asked("opacity", 1.0)[1])
    assert whole[1].abs().max() > 1e-3


def test_rays_that_miss_the_box_see_only_the_background():
    field = VoxelField((4, 4, 4), box=((-0.5,) * 3, (0.5,) * 3))
    origins, directions = (
        torch.tensor([[2.0, 0.0, 0.9], [2.0, 0.0, 0.0]]),
        torch.tensor([[-1.0, 0.0, 0.0]]).repeat(2, 1),
    )
    seen = render(field, origins, directions, torch.tensor([0.2, 0.4, 0.6]), March(0.05, far_depth=7.0))
    assert seen.opacity[0] == 0
    assert seen.opacity[1] > 0.2
    assert seen.depth[0] == 7
    torch.testing.assert_close(seen.colour[0], torch.tensor([0.2, 0.4, 0.6]))


def test_a_uniform_fog_dims_by_the_exponential_law():
    field = VoxelField((16, 16, 16), box=((-1.0,) * 3, (1.0,) * 3), density_shift=0.0)
    seen = render(
        field, torch.tensor([[3.0, 0.01, 0.01]]), torch.tensor([[-1.0, 0.0, 0.0]]), torch.ones(3), March(0.005)
    )
    assert float(seen.opacity.detach()) == pytest.approx(1 - math.exp(-2 * math.log(2)), abs=3e-3)


def test_slab_test_handles_rays_along_the_axes_and_from_inside():
    low, high = -torch.ones(3), torch.ones(3)
    origins = torch.tensor([[0.0, 0.0, 3.0], [0.0, 0.0, 0.0], [2.0, 0.0, 3.0], [1.0, 0.0, 3.0]])
    near, far = ray_box(origins, torch.tensor([[0.0, 0.0, -1.0]]).repeat(4, 1), low, high)
    assert torch.isfinite(near).all()
    assert torch.isfinite(far).all()
    assert near[:2].tolist() == [2.0, 0.0]
    assert far[:2].tolist() == [4.0, 1.0]
    assert far[2] <= near[2]


def test_a_dense_sphere_renders_to_its_exact_silhouette_and_depth():
    camera = view(size=64)
    origins, directions = camera.rays()
    seen = render_picture(sphere_field(), origins, directions, torch.ones(3), March(0.006))
    along = -(origins * directions).sum(dim=-1)
    miss = (origins + along[:, None] * directions).norm(dim=-1)
    inside = miss < 0.35
    # Only pixels within half a voxel of the outline may differ.
    sure = (miss - 0.35).abs() > 0.0125
    assert ((seen[:, 3] > 0.5) == inside)[sure].all()
    expected = along - torch.sqrt((0.35**2 - miss**2).clamp(min=0))
    core = miss < 0.3
    assert (seen[:, 4] - expected)[core].abs().max() < 0.0125


def test_skipping_empty_cells_changes_nothing_but_the_time():
    field = sphere_field()
    origins, directions = view().rays()
    occupied = field.centres().norm(dim=-1) < 0.35 + 0.08
    near, far = occupied_span(occupied, origins, directions, (field.low, field.high))
    march = March(0.01)
    plain = render(field, origins, directions, torch.ones(3), march)
    spared = render(field, origins, directions, torch.ones(3), march, occupied=occupied)
    torch.testing.assert_close(spared.colour, plain.colour, atol=1e-5, rtol=0)
    torch.testing.assert_close(spared.depth, plain.depth, atol=1e-4, rtol=0)
    met = plain.opacity > 1e-3
    assert (far > near)[met].all()
    assert (near[met] <= plain.depth[met] + 1e-3)[plain.opacity[met] > 0.99].all()
    assert (far > near).float().mean() < 0.5


def test_cells_are_looked_up_where_they_are_and_nowhere_outside():
    occupied = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(0)) > 0.5
    low, high = torch.tensor([-1.0, 0.0, 2.0]), torch.tensor([1.5, 2.0, 5.0])
    z, y, x = torch.meshgrid(torch.arange(3), torch.arange(4), torch.arange(5), indexing="ij")
    centres = low + (torch.stack((x, y, z), dim=-1) + 0.5) * (high - low) / torch.tensor([5, 4, 3])
    assert torch.equal(cells_at(occupied, centres.reshape(-1, 3), low, high), occupied.reshape(-1))
    outside = torch.tensor([[-1.01, 1.0, 3.0], [0.0, 2.01, 3.0], [0.0, 1.0, 99.0]])
    assert not cells_at(torch.ones(3, 4, 5, dtype=torch.bool), outside, low, high).any()


def test_a_finer_grid_of_a_linear_field_is_the_same_field():
    field = VoxelField((6, 6, 6), squash=False)
    with torch.no_grad():
        field.density.copy_(field.centres().sum(dim=-1))
    points = torch.rand(50, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    torch.testing.assert_close(field.resized((12, 12, 12)).sigma(points), field.sigma(points), atol=1e-5, rtol=1e-5)


def test_regularisers_have_their_closed_forms():
    ramp = torch.arange(5.0).expand(4, 5)
    assert float(depth_smoothness(ramp)) == pytest.approx(0.5)
    assert float(total_variation(torch.arange(6.0).expand(1, 2, 3, 4, 6))) == pytest.approx(1 / 3)
    assert float(opacity_entropy(torch.tensor([0.5]))) == pytest.approx(math.log(2))
    assert float(opacity_entropy(torch.tensor([0.0, 1.0]))) < 0.01
    assert float(emptiness(torch.tensor([1.0]))) == pytest.approx(-0.5 * math.log(11))


def test_an_empty_grid_or_box_is_refused():
    with pytest.raises(ValueError, match="grid and box"):
        VoxelField((0, 4, 4))
    with pytest.raises(ValueError, match="grid and box"):
        VoxelField((4, 4, 4), box=((0.0,) * 3, (0.0,) * 3))
