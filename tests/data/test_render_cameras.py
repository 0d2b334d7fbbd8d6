"""Camera samplers by name: each puts its cameras where it says, from its generator alone."""

import json
import math

import numpy as np
import pytest
import torch

from zero123.data.render.cameras import draw_cameras, read_cameras
from zero123.data.render.settings import CameraSettings, GivenCamera, RenderSettings
from zero123.geometry.camera import Camera
from zero123.geometry.orbit import OrbitPose


def _draw(settings, seed=0):
    return draw_cameras(settings, 32, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("sampler", ["band", "sphere", "original", "rings"])
def test_cameras_look_at_the_origin_and_follow_their_seed(sampler):
    settings = CameraSettings(sampler=sampler, views=50, azimuths=5)
    camera = _draw(settings)
    pixels, depth = camera.project(torch.zeros(1, 3))
    torch.testing.assert_close(pixels, torch.full_like(pixels, 16.0), atol=1e-3, rtol=0)
    assert bool((depth > 1.4).all())
    assert torch.equal(camera.world_from_camera, _draw(settings).world_from_camera)
    assert (sampler == "rings") == torch.equal(camera.world_from_camera, _draw(settings, 1).world_from_camera)


def test_the_original_is_uniform_in_the_cube_and_in_radius():
    """Per axis, the normalised cube has E[x^2] = 1/3, and E[x^4] below the sphere's 1/5: it is dense at the corners."""
    pose = _draw(CameraSettings(sampler="original", views=60_000)).orbit()
    point = (pose.point() / pose.radius[:, None]).numpy().astype(np.float64)
    assert np.allclose((point**2).mean(0), 1 / 3, atol=0.005) and np.allclose(point.mean(0), 0, atol=0.01)
    independent = np.random.default_rng(0).uniform(-1, 1, (400_000, 3))
    independent /= np.linalg.norm(independent, axis=1, keepdims=True)
    expected = (independent**4).mean()
    assert expected < 0.19 and np.allclose((point**4).mean(0), expected, atol=0.003)
    radius = pose.radius.numpy()
    assert 1.5 <= radius.min() < 1.501 and 2.199 < radius.max() <= 2.2001
    assert radius.mean() == pytest.approx(1.85, abs=0.003)


def test_the_sphere_is_covered_evenly():
    pose = _draw(CameraSettings(sampler="sphere", views=60_000)).orbit()
    point = (pose.point() / pose.radius[:, None]).numpy()
    assert np.allclose((point**4).mean(0), 1 / 5, atol=0.005) and np.allclose(point.mean(0), 0, atol=0.01)


def test_rings_are_closed_turns_ring_by_ring():
    pose = _draw(CameraSettings(sampler="rings", rings_deg=(-10.0, 30.0), azimuths=4, radius=(2.0, 2.0))).orbit()
    np.testing.assert_allclose(torch.rad2deg(pose.elevation), [-10] * 4 + [30] * 4, atol=1e-4)
    np.testing.assert_allclose(torch.rad2deg(pose.azimuth) % 360, [0, 90, 180, 270] * 2, atol=1e-3)
    np.testing.assert_allclose(pose.radius, 2.0, atol=1e-5)


def test_a_list_is_read_as_angles_or_matrices_and_comes_back_as_given(tmp_path):
    angles = {"azimuth_deg": 30.0, "elevation_deg": 20.0, "radius": 1.8}
    camera = Camera.from_orbit(OrbitPose.from_degrees(*(torch.tensor([float(v)]) for v in angles.values())))
    path = tmp_path / "cameras.json"
    matrix = {"world_from_camera": camera.world_from_camera[0].tolist()}
    path.write_text(json.dumps({"field_of_view_deg": 60, "cameras": [angles, matrix]}))
    drawn = _draw(CameraSettings(sampler="list", given=read_cameras(path)))
    assert drawn.field_of_view == pytest.approx(math.radians(60)) and drawn.hw == (32, 32)
    for index in range(2):
        torch.testing.assert_close(drawn.world_from_camera[index], camera.world_from_camera[0], atol=1e-6, rtol=0)
    path.write_text(json.dumps([angles]))
    assert read_cameras(path)[0].field_of_view == pytest.approx(math.radians(49.13), abs=1e-4)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("{", "not a JSON file"),
        ("[]", "expected a list of cameras"),
        ('{"field_of_view_deg": 200, "cameras": [{}]}', "field_of_view_deg must be between 0 and 180"),
        ('[{"azimuth_deg": 1}]', "camera 0: needs azimuth_deg, elevation_deg and radius"),
        ('[{"azimuth_deg": NaN, "elevation_deg": 0, "radius": 1}]', "camera 0: expected 4x4 finite numbers"),
        ('[{"world_from_camera": [[1, 0], [0, 1]]}]', "got shape"),
        ('[{"world_from_camera": [[2,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0,1]]}]', "not a rotation and a place"),
        ('[{"world_from_camera": [[-1,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0,1]]}]', "not a rotation and a place"),
    ],
)
def test_a_bad_list_is_told_in_one_line(tmp_path, content, line):
    path = tmp_path / "cameras.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=line):
        read_cameras(path)


@pytest.mark.parametrize(
    ("bad", "line"),
    [
        ({"sampler": "spiral"}, "sampler must be one of"),
        ({"views": 0}, "at least 1"),
        ({"elevation_deg": (50.0, 10.0)}, "elevations must rise"),
        ({"radius": (0.0, 1.0)}, "radii must be positive"),
        ({"sampler": "rings", "rings_deg": (95.0,)}, "rings need elevations"),
        ({"sampler": "list"}, "needs at least one"),
        ({"given": (GivenCamera((0.0,) * 16),)}, "go with the sampler 'list'"),
    ],
)
def test_impossible_cameras_are_refused(bad, line):
    with pytest.raises(ValueError, match=line):
        CameraSettings(**bad)


@pytest.mark.parametrize(
    ("bad", "line"),
    [
        ({"renderer": "eevee"}, "renderer must be one of embree, blender"),
        ({"light": "original"}, "rendered by Blender only"),
        ({"size": 4}, "size must be 8 to"),
        ({"samples": 3}, "samples must be 1 or 4"),
    ],
)
def test_impossible_renders_are_refused(bad, line):
    with pytest.raises(ValueError, match=line):
        RenderSettings(**bad)
