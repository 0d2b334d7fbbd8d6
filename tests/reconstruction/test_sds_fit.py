"""SDS: from much noise to little; a score that knows an object makes it; surfaces are where light stops."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_score_fit import Identity, Knowing, ball

from tiny_model import blobs, tiny_view_model
from zero123.diffusion.guidance import Guided, Pair
from zero123.fields.rendering import March
from zero123.fields.voxels import VoxelField
from zero123.geometry.camera import Camera
from zero123.geometry.orbit import RADIUS, OrbitPose
from zero123.geometry.paths import evenly_spread
from zero123.meshes.mesh import Mesh
from zero123.meshes.surface import is_watertight, volume
from zero123.reconstruction.score_gradient import inverted_noise, noise_free_gradient
from zero123.reconstruction.score_mesh import coloured_by_pictures, solid_surface, stopping_density
from zero123.reconstruction.sds_fit import SdsFit
from zero123.reconstruction.sds_settings import SdsSettings

TINY = SdsSettings(
    steps=8, sides=(8, 12), views=(2, 1), levels=3, first_levels=2, table=2**8, coarsest=4, finest=12, cells=6
)


def tiny_fit(**changes):
    photo = blobs(1)[0]
    rgba = torch.cat((photo, (photo.amin(0, keepdim=True) < 0.95).float()))
    return SdsFit(tiny_view_model(), rgba, 0.3, replace(TINY, **changes))


def test_noise_falls_and_renders_grow_with_the_steps():
    fit = tiny_fit(anneal_until=0.5, noise_first=(0.4, 0.8), noise_last=(0.1, 0.5))
    found = []
    for done in (0, 2, 4, 7):
        fit.done = done
        found.append((fit.noise_steps(), fit.resolution()))
    assert found == [((400, 799), (8, 2)), ((250, 649), (8, 2)), ((100, 500), (12, 1)), ((100, 500), (12, 1))]


def test_every_loss_is_there_and_levels_come_one_by_one():
    fit = tiny_fit()
    terms = fit.step()
    assert set(terms) == {"score", "input", "mask", "sparse", "opaque", "orientation", "smooth"}
    assert fit.field.levels == 2 and all(math.isfinite(value) for value in terms.values())
    for _ in range(5):
        fit.step()
    assert fit.field.levels == 3
    assert set(tiny_fit(orientation=0.0, normal_smoothness=0.0).step()) == {
        "score",
        "input",
        "mask",
        "sparse",
        "opaque",
    }


def test_the_score_passes_the_encoder_and_not_the_denoiser():
    fit = tiny_fit(inversion=2)
    pictures = torch.rand(1, 3, 8, 8, requires_grad=True)
    fit._score(pictures, fit.random_poses(1)).backward()
    assert pictures.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in fit.teacher.model.parameters())


class Painter(Knowing):
    """Knows a ball whose picture, in [-1, 1], is its own latent."""

    class settings:
        image_size, scale = 16, 1.0

    def __init__(self, source):
        super().__init__(source)
        self.autoencoder = Identity()

    def picture(self, pose):
        return super().picture(pose).clamp(-1, 1)


def test_a_denoiser_that_knows_an_object_makes_it():
    source = OrbitPose.from_degrees([0.0], [20.0], [RADIUS])
    model = Painter(source)
    photo = (model.picture(source)[0] + 1) / 2
    alpha = (photo.amin(0, keepdim=True) < 0.97).float()
    settings = replace(TINY, steps=60, sides=(12,), views=(2,), milestones=(), normal_smoothness=0.0, orientation=0.0)
    settings = replace(settings, score_weight=20.0, noise_last=(0.4, 0.85), learning_rate=0.03, seed=1)
    fit = SdsFit(model, torch.cat((photo, alpha)), math.radians(20), settings)
    pose = OrbitPose.from_degrees([130.0], [35.0], [RADIUS])
    truth = (model.picture(pose) + 1) / 2
    before = (fit.looks(pose)[0] - truth).square().mean()
    for _ in range(settings.steps):
        fit.step()
    assert (fit.looks(pose)[0] - truth).square().mean() < 0.6 * before
    assert is_watertight(fit.mesh(500))


@pytest.mark.parametrize(
    "wrong",
    [
        {"weight": "none"},
        {"steps": 0},
        {"sides": (8,)},
        {"first_levels": 9},
        {"noise_first": (0.9, 0.1)},
        {"elevations_deg": (-100.0, 0.0)},
        {"emptiest": 0.0},
        {"inversion": 2, "noise_free": True},
    ],
)
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SdsSettings(**wrong)


# Inverted noise


def gaussian(mean, deviation):
    """The denoiser of pictures that are normal: exact."""
    return lambda x, sigma, _: mean + deviation**2 / (deviation**2 + sigma.reshape(-1, 1, 1, 1) ** 2) * (x - mean)


def test_the_noise_behind_a_render_is_the_one_its_ode_would_have_had():
    """Of Gaussian data the ODE is x(sigma) = mean + (x0 - mean) sqrt(1 + sigma^2 / deviation^2)."""
    mean, deviation = 0.3, 0.5
    render = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    sigma = torch.tensor([1.0, 4.0])
    found = inverted_noise(gaussian(mean, deviation), render, sigma, None, 400)
    level = sigma.reshape(-1, 1, 1, 1)
    expected = (render - mean) * ((1 + level**2 / deviation**2).sqrt() - 1) / level
    torch.testing.assert_close(found, expected, atol=0.03, rtol=0.03)


def test_a_render_that_is_the_mean_hides_no_noise():
    render = torch.full((1, 1, 2, 2), 0.3)
    assert inverted_noise(gaussian(0.3, 0.5), render, torch.tensor([2.0]), None, 3).abs().max() < 1e-6
    with pytest.raises(ValueError, match="steps must be at least 1"):
        inverted_noise(gaussian(0.3, 0.5), render, torch.tensor([2.0]), None, 0)


def test_without_noise_s_part_a_picture_that_says_nothing_asks_for_nothing():
    """High noise: whatever the noise was, what the denoiser answers to it cancels; low noise: it pulls to the data."""

    def data(x, sigma, said):
        return gaussian(0.3, 0.5)(x, sigma, None) + (1.0 if said == "more" else 0.0)

    render, generator = torch.zeros(1, 1, 4, 4), torch.Generator().manual_seed(0)
    for _ in range(3):
        noise = torch.randn(render.shape, generator=generator)
        high = (torch.tensor([2.0]), Pair("nothing", "nothing"), noise, torch.ones_like)
        assert not noise_free_gradient(Guided(data, 3.0), render, *high).any()
        told = (torch.tensor([2.0]), Pair("more", "nothing"), noise, torch.ones_like)
        asked = noise_free_gradient(Guided(data, 3.0), render, *told)
        torch.testing.assert_close(asked, torch.full_like(render, -1.5))
    low = (torch.tensor([0.2]), Pair("nothing", "nothing"), torch.zeros_like(render), torch.ones_like)
    assert (noise_free_gradient(Guided(data, 3.0), render, *low) < 0).all()


# The surface


def cameras(hw=(48, 48)):
    return Camera.from_orbit(evenly_spread(8, radius=2.0), hw=hw)


class Sharp:
    """A ball of radius 0.4 with an edge a hundredth wide."""

    low, high = torch.full((3,), -1.0), torch.full((3,), 1.0)

    def sigma(self, points):
        return 40 * torch.sigmoid((0.4 - points.norm(dim=-1)) * 100)

    def features(self, points):
        return torch.zeros(len(points), 3)


def test_the_surface_is_where_light_stops():
    mesh = solid_surface(Sharp(), March(0.01), cameras(), 4000, cells=64, blur=0.5)
    assert is_watertight(mesh) and volume(mesh) == pytest.approx(4 / 3 * math.pi * 0.4**3, rel=0.06)
    np.testing.assert_allclose(np.linalg.norm(mesh.vertices, axis=1), 0.4, atol=0.02)
    assert 20 < stopping_density(Sharp(), March(0.01), cameras()) < 40  # half of the light goes within the edge


def test_fog_that_stops_nothing_has_no_surface():
    field = VoxelField((8,) * 3, 3, squash=False).requires_grad_(False)
    with torch.no_grad():
        field.density.fill_(-9.0)
    with pytest.raises(ValueError, match="the field is empty"):
        stopping_density(field, March(0.05), cameras())


def test_colours_are_those_of_the_pictures_that_see_them():
    mesh = solid_surface(ball(), March(0.02), cameras(), 3000, cells=48)
    poses = OrbitPose.from_degrees([0.0, 180.0], [0.0, 0.0], [2.0, 2.0])
    pictures = torch.zeros(2, 3, 32, 32)
    pictures[0, 0], pictures[1, 2] = 1.0, 1.0  # red from the front, blue from behind
    painted = coloured_by_pictures(mesh, pictures, Camera.from_orbit(poses, hw=(32, 32)))
    x, colours = painted.vertices[:, 0], painted.vertex_colours
    np.testing.assert_allclose(colours[x > 0.15], np.tile([1, 0, 0], ((x > 0.15).sum(), 1)), atol=1e-6)
    np.testing.assert_allclose(colours[x < -0.15], np.tile([0, 0, 1], ((x < -0.15).sum(), 1)), atol=1e-6)
    away = Mesh(mesh.vertices + np.float32(50), mesh.faces)
    with pytest.raises(ValueError, match="no picture sees the mesh"):
        coloured_by_pictures(away, pictures, Camera.from_orbit(poses, hw=(32, 32)))
