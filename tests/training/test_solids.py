"""What outlines say is inside an object: a ball's in closed form, a mirror, and what no picture shows."""

import math

import torch

from zero123.data.pairs import Outlines
from zero123.geometry.camera import Camera
from zero123.geometry.orbit import OrbitPose
from zero123.models.frustum import HALF_DEPTH, cells
from zero123.training.solids import in_hull

SIDE = 128


def around(count=60):
    """Cameras evenly spread over the sphere, (1, count)."""
    place = (torch.arange(count) + 0.5) / count
    turn = math.pi * (1 + math.sqrt(5)) * torch.arange(count)
    return OrbitPose(turn[None] % (2 * math.pi), torch.asin(1 - 2 * place)[None], torch.full((1, count), 2.0))


def outlines_of_a_ball(centre, radius, poses):
    """A pixel sees a ball where its ray passes within the radius of the centre."""
    origins, directions = Camera.from_orbit(poses, hw=(SIDE, SIDE)).rays()
    to = torch.tensor(centre) - origins
    away = (to - (to * directions).sum(-1, keepdim=True) * directions).norm(dim=-1)
    return Outlines((away < radius).unflatten(-1, (SIDE, SIDE)), poses)


def test_the_hull_of_a_ball_is_the_ball():
    """Within the pixels' size at that distance, 2 tan(fov / 2) * 2 / 128 = 0.014, and what 60 tangent cones leave."""
    outlines = outlines_of_a_ball((0.1, -0.05, 0.2), 0.25, around())
    points = torch.rand(1, 4000, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    away = (points - torch.tensor((0.1, -0.05, 0.2))).norm(dim=-1)
    inside = in_hull(points, outlines)
    assert bool(inside[away < 0.23].all()) and not inside[away > 0.29].any()


def test_a_place_that_no_picture_shows_may_be_inside():
    outlines = outlines_of_a_ball((0.0, 0.0, 0.0), 0.2, around(1))
    behind_the_edge = torch.tensor([[[0.0, 0.0, 0.0], [3.0, 3.0, -3.0]]])
    away = behind_the_edge @ Camera.from_orbit(outlines.poses, hw=(2, 2)).world_from_camera[0, 0, :3, :3]
    assert abs(float(away[0, 1, 0])) > 1  # far to the side
    assert in_hull(behind_the_edge, outlines).tolist() == [[True, True]]


def test_mirrored_outlines_have_the_mirrored_hull():
    poses = around(9)
    outlines = outlines_of_a_ball((0.1, 0.2, 0.0), 0.2, poses)
    mirror = Outlines(outlines.masks.flip(-1), OrbitPose(-poses.azimuth, poses.elevation, poses.radius))
    points = torch.rand(1, 2000, 3, generator=torch.Generator().manual_seed(1)) - 0.5
    found = in_hull(points, outlines)
    differ = in_hull(points * torch.tensor([1.0, -1.0, 1.0]), mirror) != found
    assert found.any() and differ.float().mean() < 0.002  # points on the very edge of a pixel


def test_cells_of_a_volume_lie_behind_the_inputs_pixels():
    """A cell's middle, in the input camera's axes: on the ray of its pixel, at its layer's depth."""
    source = OrbitPose(torch.tensor([0.3, -1.0]), torch.tensor([0.5, -0.2]), torch.tensor([1.6, 2.0]))
    points = cells(source, 8, 4)
    assert points.shape == (2, 4, 8, 8, 3)
    camera = Camera.from_orbit(source, hw=(8, 8))
    seen = (
        torch.linalg.inv(camera.world_from_camera)[:, None, None, None]
        @ torch.cat((points, torch.ones_like(points[..., :1])), -1)[..., None]
    )
    depth = source.radius[:, None] + ((torch.arange(4) + 0.5) / 4 * 2 - 1) * HALF_DEPTH
    torch.testing.assert_close(seen[..., 2, 0], depth[:, :, None, None].expand(2, 4, 8, 8), atol=1e-5, rtol=0)
    pixels = seen[..., :2, 0] / seen[..., 2:3, 0] * camera.focal + 4
    rows, columns = torch.meshgrid(torch.arange(8) + 0.5, torch.arange(8) + 0.5, indexing="ij")
    torch.testing.assert_close(pixels, torch.stack((columns, rows), -1).expand_as(pixels), atol=1e-4, rtol=0)
