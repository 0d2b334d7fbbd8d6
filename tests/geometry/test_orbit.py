"""Orbit poses and the moves between them are exact, for every shape and type of number."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deterministic import agree
from zero123.geometry.camera import Camera
from zero123.geometry.orbit import OrbitPose, RelativePose
from zero123.models.pose_conditioning import pose_vector

GOLDEN = Path(__file__).parents[1] / "golden"
ANGLE = st.floats(-3.1, 3.1)
HEIGHT = st.floats(-1.55, 1.55)


def _random(shape, dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)
    u, v, w = torch.rand(3, *shape, generator=generator, dtype=torch.float64)
    return OrbitPose(*(t.to(dtype) for t in ((u - 0.5) * 6.2, (v - 0.5) * 3.1, 1 + w)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(), (1,), (3, 2)])
def test_a_point_and_its_pose_are_one(shape, dtype):
    pose = _random(shape, dtype)
    back = OrbitPose.from_point(pose.point())
    assert back.shape == shape and pose.point().shape == (*shape, 3) and back.azimuth.dtype == dtype
    for name in ("azimuth", "elevation", "radius"):
        torch.testing.assert_close(getattr(back, name), getattr(pose, name), atol=2e-6, rtol=0)
    torch.testing.assert_close(back.point(), pose.point())


@given(ANGLE, HEIGHT, ANGLE, HEIGHT)
@settings(max_examples=50, deadline=None)
def test_moving_by_the_relative_pose_arrives(azimuth, elevation, azimuth2, elevation2):
    source = OrbitPose(torch.tensor(azimuth, dtype=torch.float64), elevation, 1.5)
    target = OrbitPose(torch.tensor(azimuth2, dtype=torch.float64), elevation2, 2.0)
    move = target.relative_to(source)
    assert -math.pi <= float(move.azimuth) < math.pi
    torch.testing.assert_close(source.moved(move).point(), target.point(), atol=1e-6, rtol=0)


def test_azimuth_turns_from_x_to_y_and_elevation_up():
    axes = OrbitPose.from_degrees([0, 90, 0], [0, 0, 90], 2.0).point()
    torch.testing.assert_close(axes, torch.tensor([[2.0, 0, 0], [0, 2, 0], [0, 0, 2]]), atol=1e-6, rtol=0)


def test_parts_broadcast_index_and_stack():
    pose = OrbitPose([0.0, 1.0], 0, 1.5)
    assert pose.shape == (2,) and len(pose) == 2 and pose.radius.dtype == torch.float32
    assert float(pose[1].azimuth) == 1.0
    assert OrbitPose.cat([pose, pose]).shape == (4,)
    move = RelativePose.from_degrees([90, 180], [10, 20])
    assert len(move) == 2 and float(move[0].azimuth) == pytest.approx(math.pi / 2)


def test_pose_vector_equals_the_originals_for_every_pair_of_stored_cameras():
    golden = np.load(GOLDEN / "get_T.npz")
    pose = Camera.from_blender_rt(torch.from_numpy(golden["RT_f64"])).orbit()
    torch.testing.assert_close(pose.point(), torch.from_numpy(golden["locations_f64"]), atol=1e-9, rtol=0)
    target, source = torch.from_numpy(golden["pairs_target_cond"]).T
    vector = pose_vector(pose[target].relative_to(pose[source]))
    agree("get_T", "pose vectors of 56 pairs", vector, golden["T"], 1e-6)


def test_pose_vector_equals_the_reconstructions():
    golden = np.load(GOLDEN / "rec_camera.npz")
    pose = Camera.from_opengl(torch.from_numpy(golden["poses_f64"])).orbit()
    target, source = torch.cartesian_prod(torch.arange(4), torch.arange(4)).T
    vector = pose_vector(pose[target].relative_to(pose[source]))
    np.testing.assert_allclose(vector.numpy(), golden["getT_target_i_cond_j"], atol=1e-6)


def test_pose_vector_of_float32_poses_stays_within_the_tolerance():
    golden = np.load(GOLDEN / "get_T.npz")
    pose = Camera.from_blender_rt(torch.from_numpy(golden["RT_f64"]).float()).orbit()
    target, source = torch.from_numpy(golden["pairs_target_cond"]).T
    vector = pose_vector(pose[target].relative_to(pose[source]))
    np.testing.assert_allclose(vector.numpy(), golden["T"], atol=2e-6)
