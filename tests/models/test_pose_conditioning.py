"""Pose numbers are the original's, rays are those of plain trigonometry, and the projection starts as the identity."""

import math

import numpy as np
import pytest
import torch

from deterministic import GOLDEN, agree
from zero123.geometry.orbit import OrbitPose, RelativePose
from zero123.models.pose_conditioning import RADIUS, PoseConditioning, pose_vector, ray_map


def test_pose_vector_equals_the_original():
    golden = np.load(GOLDEN / "cc_projection.npz")
    polar, azimuth, radius = torch.from_numpy(golden["poses_deg"]).T
    ours = pose_vector(RelativePose.from_degrees(azimuth, -polar, radius))
    agree("cc_projection", "pose vectors", ours, golden["T"], 1e-6)


def test_stable_zero123_is_told_the_polar_angle_of_the_input_camera_in_place_of_the_radius():
    move = RelativePose.from_degrees([30.0, -100.0], [20.0, -10.0], [0.3, 0.1])
    source = OrbitPose.from_degrees([0.0, 50.0], [5.0, 60.0], [1.8, 2.0])
    ours = pose_vector(move, source, "source_polar")
    assert torch.equal(ours[:, :3], pose_vector(move)[:, :3])
    torch.testing.assert_close(ours[:, 3], torch.deg2rad(torch.tensor([85.0, 30.0])))
    with pytest.raises(ValueError, match="source must be given"):
        pose_vector(move, None, "source_polar")


def test_the_context_of_a_half_precision_model_does_not_round_the_pose():
    layer = PoseConditioning(8)
    pose = torch.tensor([[1.234567, 0.0, 1.0, 0.0]])
    tokens = torch.zeros(1, 1, 8, dtype=torch.bfloat16)
    exact = layer(tokens.float(), pose)
    assert torch.equal(layer(tokens, pose), exact.bfloat16())
    assert layer(tokens, pose).dtype == torch.bfloat16


def camera(azimuth, elevation, radius):
    """Centre (3,) and rotation (3, 3), columns right, down, forward, of a camera that looks at the origin."""
    centre = radius * np.array(
        [math.cos(elevation) * math.cos(azimuth), math.cos(elevation) * math.sin(azimuth), math.sin(elevation)]
    )
    forward = -centre / np.linalg.norm(centre)
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    return centre, np.stack([right, np.cross(forward, right), forward], axis=1)


SOURCE = OrbitPose(torch.tensor([0.7, -2.0]), torch.tensor([0.3, -0.2]), torch.tensor([1.7, 2.1]))
MOVE = RelativePose(torch.tensor([1.1, -0.4]), torch.tensor([0.2, 0.9]), torch.tensor([0.1, -0.3]))


def test_ray_map_equals_rays_by_plain_trigonometry():
    height, width = 3, 4
    rays = ray_map(SOURCE, MOVE, (height, width)).double().numpy()
    assert rays.shape == (2, 6, height, width)
    focal = width / 2 / (16 / 35)
    for b in range(2):
        pose = [float(getattr(SOURCE, n)[b]) for n in ("azimuth", "elevation", "radius")]
        move = [float(getattr(MOVE, n)[b]) for n in ("azimuth", "elevation", "radius")]
        centre, rotation = camera(*pose)
        target, turn = camera(*(p + m for p, m in zip(pose, move, strict=True)))
        origin = rotation.T @ (target - centre)
        for i in range(height):
            for j in range(width):
                pixel = np.array([(j + 0.5 - width / 2) / focal, (i + 0.5 - height / 2) / focal, 1])
                direction = rotation.T @ turn @ pixel / np.linalg.norm(pixel)
                expected = np.concatenate([direction, np.cross(origin, direction)])
                np.testing.assert_allclose(rays[b, :, i, j], expected, atol=1e-5)


def test_a_target_pixel_is_seen_on_its_epipolar_line():
    rays = ray_map(SOURCE, MOVE, (3, 4)).double().numpy()
    for b in range(2):
        pose = [float(getattr(SOURCE, n)[b]) for n in ("azimuth", "elevation", "radius")]
        move = [float(getattr(MOVE, n)[b]) for n in ("azimuth", "elevation", "radius")]
        centre, rotation = camera(*pose)
        target, _ = camera(*(p + m for p, m in zip(pose, move, strict=True)))
        for depth in (0.5, 1.5, 4.0):
            point = rotation.T @ (target - centre) + depth * rays[b, :3, 1, 2]  # in the input camera's axes
            assert abs(point / np.linalg.norm(point) @ rays[b, 3:, 1, 2]) < 1e-5


def test_rays_do_not_depend_on_the_input_azimuth():
    turned = OrbitPose(SOURCE.azimuth + 1.3, SOURCE.elevation, SOURCE.radius)
    torch.testing.assert_close(ray_map(turned, MOVE, (4, 4)), ray_map(SOURCE, MOVE, (4, 4)), atol=2e-6, rtol=0)


def test_without_a_move_the_rays_start_at_the_input_camera():
    still = RelativePose(torch.zeros(2), torch.zeros(2), torch.zeros(2))
    assert ray_map(SOURCE, still, (4, 4))[:, 3:].abs().max() < 1e-6


@pytest.mark.parametrize("absolute", [False, True])
def test_projection_starts_as_the_identity_on_the_token(absolute):
    layer = PoseConditioning(8, absolute)
    tokens = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(layer(tokens, torch.zeros(2, layer.pose_width)), tokens)
    assert layer.projection.weight[:, 8:].abs().min() > 0  # and it can tell poses apart from the first step
    assert layer.vector(MOVE, SOURCE).shape == (2, layer.pose_width)


def test_absolute_pose_numbers_are_those_of_the_input_camera():
    numbers = PoseConditioning(8, absolute=True).vector(MOVE, SOURCE)[:, 4:]
    expected = torch.stack((SOURCE.elevation.sin(), SOURCE.elevation.cos(), SOURCE.radius - RADIUS), dim=1)
    torch.testing.assert_close(numbers, expected)
