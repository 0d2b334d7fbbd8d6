"""The field of the original's 3D reconstruction, reproduced to the digit."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from zero123.fields.regularizers import depth_smoothness, emptiness, emptiness_growth
from zero123.fields.rendering import March, ray_box, render
from zero123.fields.voxels import VoxelField
from zero123.geometry.camera import Camera

GOLDEN = Path(__file__).parents[1] / "golden"
FIELD_OF_VIEW = np.deg2rad(49.1)


def z(name, shape):
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    draw = np.random.Generator(np.random.PCG64(seed)).standard_normal(size=int(np.prod(shape)), dtype=np.float32)
    return torch.from_numpy(draw.reshape(shape))


@pytest.fixture
def field():
    field = VoxelField((20, 20, 20), channels=4, density_shift=-1.0, squash=False)
    g = (torch.arange(20, dtype=torch.float64) + 0.5) / 20 * 2 - 1
    bump = torch.exp(-((g / 0.55) ** 2 + (g[:, None] / 0.45) ** 2 + (g[:, None, None] / 0.65) ** 2))
    with torch.no_grad():
        field.density.copy_((6 * bump - 3).float() + 0.5 * z("vox.density", (1, 1, 20, 20, 20)))
        field.colour.copy_(z("vox.color", (1, 4, 20, 20, 20)))
        field.log_gain.fill_(0.25)
    return field


def camera(pose, size=32):
    return Camera.from_opengl(torch.from_numpy(pose).float(), FIELD_OF_VIEW, (size, size))


def render_pose(field, pose, size=32):
    background = z("vox.white_bg", (4, 32, 32))
    if size != 32:
        background = torch.nn.functional.interpolate(
            background[None], (size, size), mode="bilinear", align_corners=False
        )[0]
    return render(field, *camera(pose, size).rays(), background.reshape(4, -1).T, March(0.05))


def picture(values, size=32):
    return values.detach().reshape(size, size, -1).permute(2, 0, 1).squeeze(0).numpy()


def test_density_and_features_equal_the_originals_at_64_points(field):
    golden = np.load(GOLDEN / "rec_vox_query.npz")
    points = torch.from_numpy(golden["pts"])
    np.testing.assert_allclose(field.sigma(points).detach(), golden["sigma"], atol=2e-6)
    np.testing.assert_allclose(field.features(points).detach(), golden["color"], atol=5e-6)


def test_slab_test_equals_the_originals_entry_and_exit():
    golden = np.load(GOLDEN / "rec_camera.npz")
    view = Camera.from_opengl(torch.from_numpy(golden["poses_f64"][1]), FIELD_OF_VIEW, (32, 32))
    near, far = ray_box(*view.rays(), -torch.ones(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64))
    assert int((far > near).sum()) == golden["n_hit"]
    np.testing.assert_allclose(near.reshape(32, 32)[::4, ::4], golden["t_min_f64"], atol=1e-6)
    np.testing.assert_allclose(far.reshape(32, 32)[::4, ::4], golden["t_max_f64"], atol=1e-6)


def test_render_equals_the_originals_colour_depth_and_opacity(field):
    golden, poses = np.load(GOLDEN / "free_vox_render.npz"), np.load(GOLDEN / "rec_camera.npz")["poses_f64"]
    seen = render_pose(field, poses[1])
    np.testing.assert_allclose(picture(seen.colour), golden["rgb"][0], atol=1e-5)
    np.testing.assert_allclose(picture(seen.depth), golden["depth"], atol=2e-5)
    np.testing.assert_allclose(picture(seen.opacity), golden["weights_sum"], atol=1e-5)


def test_render_at_48_pixels_equals_the_originals(field):
    golden, poses = np.load(GOLDEN / "free_vox_render.npz"), np.load(GOLDEN / "rec_camera.npz")["poses_f64"]
    seen = render_pose(field, poses[3], 48)
    np.testing.assert_allclose(picture(seen.colour, 48), golden["rgb48"][0], atol=2e-5)
    np.testing.assert_allclose(picture(seen.depth, 48), golden["depth48"], atol=5e-5)


def test_emptiness_and_depth_smoothness_equal_the_originals(field):
    golden, poses = np.load(GOLDEN / "rec_losses.npz"), np.load(GOLDEN / "rec_camera.npz")["poses_f64"]
    with torch.no_grad():
        seen = render_pose(field, poses[1])
    loss = float(emptiness(seen.weights))
    assert loss == pytest.approx(float(golden["emptiness_i0"]), rel=1e-4)
    assert loss * emptiness_growth(250, 1000) == pytest.approx(float(golden["emptiness_i250_of_1000"]), rel=1e-4)
    assert float(depth_smoothness(seen.depth.reshape(32, 32))) == pytest.approx(float(golden["depth_smooth"]), rel=1e-5)
