"""Cameras: their axes, rays and projection against the original's numbers, laws and closed forms."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from zero123.geometry.camera import FIELD_OF_VIEW, Camera
from zero123.geometry.orbit import OrbitPose

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "rec_camera.npz")
EYES = torch.from_numpy(GOLDEN["eyes_f64"])
ORIGINAL_LENS = math.radians(49.1)


def _some(dtype=torch.float64, hw=(24, 32)):
    pose = OrbitPose(*torch.tensor([[0.3, -2.0, 3.0], [0.2, -0.9, 1.5], [1.5, 1.9, 2.2]], dtype=dtype))
    return Camera.from_orbit(pose, hw=hw)


def test_orbit_cameras_equal_the_originals_poses():
    camera = Camera.from_orbit(OrbitPose.from_point(EYES))
    np.testing.assert_allclose(camera.to_opengl().numpy(), GOLDEN["poses_f64"], atol=1e-9)


def test_rays_equal_the_originals():
    camera = Camera.from_orbit(OrbitPose.from_point(EYES), ORIGINAL_LENS, (32, 32))[1]
    origins, directions = camera.rays()
    np.testing.assert_allclose(directions.reshape(32, 32, 3)[::8, ::8].numpy(), GOLDEN["rays_pose1_rd_f64"], atol=1e-9)
    np.testing.assert_allclose(origins[0].numpy(), GOLDEN["ro_pose1_f64"], atol=1e-9)
    assert camera.focal == pytest.approx(GOLDEN["K_f64"][0, 0])


def test_the_default_lens_is_35_mm_on_a_32_mm_sensor():
    assert math.degrees(FIELD_OF_VIEW) == pytest.approx(49.13, abs=0.005)
    assert Camera.from_orbit(OrbitPose(0, 0, 2), hw=(64, 64)).focal == pytest.approx(64 * 35 / 32)


def test_projection_inverts_rays():
    camera = _some()
    origins, directions = camera.rays()
    pixels, depth = camera.project(origins + 1.7 * directions)
    expected = camera.pixel_centres().reshape(-1, 2).expand_as(pixels)
    torch.testing.assert_close(pixels, expected, atol=1e-9, rtol=0)
    assert bool((depth > 0).all()) and bool((depth <= 1.7).all())
    torch.testing.assert_close(directions.norm(dim=-1), torch.ones_like(depth))


def test_rays_through_chosen_pixels_equal_those_of_the_grid():
    camera = _some()[0]
    _, every = camera.rays()
    _, one = camera.rays(torch.tensor([[5.5, 2.5]], dtype=torch.float64))
    torch.testing.assert_close(one[0], every[2 * 32 + 5])


def test_x_is_right_y_is_down_and_the_origin_is_in_the_middle():
    camera = Camera.from_orbit(OrbitPose(0.0, 0.0, 2.0), hw=(20, 40))  # on +x: world y is right, world z up
    pixels, depth = camera.project(torch.tensor([[0.0, 0, 0], [0, 0.1, 0], [0, 0, 0.1]]))
    torch.testing.assert_close(pixels[0], torch.tensor([20.0, 10.0]))
    assert pixels[1, 0] > 20 and pixels[1, 1] == 10
    assert pixels[2, 0] == 20 and pixels[2, 1] < 10
    torch.testing.assert_close(depth, torch.full((3,), 2.0))


def test_pixel_centres_are_at_half():
    centres = _some().pixel_centres()
    assert centres.shape == (24, 32, 2)
    assert centres[0, 0].tolist() == [0.5, 0.5] and centres[3, 7].tolist() == [7.5, 3.5]


def test_a_point_at_the_edge_of_the_lens_is_at_the_edge_of_the_picture():
    camera = Camera.from_orbit(OrbitPose(0.0, 0.0, 2.0), hw=(64, 64))
    pixels, _ = camera.project(torch.tensor([[0, 2 * 16 / 35, 0]]))
    assert float(pixels[0, 0]) == pytest.approx(64, abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_opengl_and_blender_matrices_round_trip(dtype):
    camera = _some(dtype)
    tolerance = {"atol": 1e-12 if dtype == torch.float64 else 1e-6, "rtol": 0}
    again = Camera.from_opengl(camera.to_opengl()).world_from_camera
    torch.testing.assert_close(again, camera.world_from_camera, **tolerance)
    again = Camera.from_blender_rt(camera.to_blender_rt()).world_from_camera
    torch.testing.assert_close(again, camera.world_from_camera, **tolerance)


def test_cameras_are_rigid_even_straight_above():
    pose = OrbitPose.from_degrees(torch.tensor([0.0, 70, 70], dtype=torch.float64), torch.tensor([90.0, 90, -90]), 2.0)
    rotation = Camera.from_orbit(pose).world_from_camera[..., :3, :3]
    eye = torch.eye(3, dtype=torch.float64).expand(3, 3, 3)
    torch.testing.assert_close(rotation @ rotation.transpose(-1, -2), eye, atol=1e-7, rtol=0)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(3, dtype=torch.float64), atol=1e-7, rtol=0)


def test_the_orbit_of_a_camera_is_the_pose_it_was_made_from():
    pose = OrbitPose(*torch.tensor([[0.3, -2.0], [0.2, -0.9], [1.5, 1.9]]))
    torch.testing.assert_close(Camera.from_orbit(pose).orbit().point(), pose.point())


def test_resizing_keeps_where_things_are_as_a_fraction():
    small = _some()
    large = small.resized((48, 64))
    point = torch.tensor([[0.1, -0.2, 0.3]], dtype=torch.float64)
    torch.testing.assert_close(small.project(point)[0] * 2, large.project(point)[0])
    with pytest.raises(ValueError, match="proportions"):
        small.resized((64, 64))


def test_wrong_shapes_and_lenses_are_refused():
    with pytest.raises(ValueError, match=r"\(\.\.\., 4, 4\), got \(3, 4\)"):
        Camera(torch.zeros(3, 4))
    with pytest.raises(ValueError, match="field_of_view"):
        Camera(torch.eye(4), 3.2)
