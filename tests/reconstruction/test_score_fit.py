"""SJC's loop: the original's terms to the digit, and an object out of a denoiser that knows it."""

import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from tiny_model import blobs, tiny_view_model
from zero123.diffusion.schedule import NoiseSchedule
from zero123.fields.rendering import March, render
from zero123.fields.voxels import VoxelField
from zero123.geometry.camera import Camera
from zero123.geometry.orbit import OrbitPose
from zero123.reconstruction.score_fit import ScoreFit, ScoreFitSettings

SMALL = ScoreFitSettings(grid=16, steps=10, scale=2.0)


def ball(side=24):
    """A ball with three colours that change from place to place."""
    field = VoxelField((side,) * 3, 3, squash=False)
    centres = field.centres()
    with torch.no_grad():
        field.density[0, 0] = 60 * ((0.4 - centres.norm(dim=-1)) * side / 2).clamp(-1, 1)
        field.colour[0] = torch.sin(4 * centres).movedim(-1, 0)
    return field.requires_grad_(False)


class Identity(nn.Module):
    """An autoencoder whose latents are pictures in [-1, 1]."""

    def encode(self, images):
        return images * 2 - 1

    def decode(self, latents):
        return (latents + 1) / 2


@dataclass(frozen=True)
class Said:
    """What the denoiser is told."""

    relative: object
    nothing: bool = False

    def without_image(self):
        return replace(self, nothing=True)


class Knowing(nn.Module):
    """In the place of a `ViewModel`: knows an object, and answers with its picture from the camera asked for."""

    latent_shape = (3, 16, 16)
    dtype = torch.float32
    device = torch.device("cpu")

    def __init__(self, source):
        super().__init__()
        self.object, self.source = ball(), source
        self.schedule, self.autoencoder = NoiseSchedule.stable_diffusion(), Identity()

    def look(self, photo, source):
        return source

    def noise_levels(self, walk):
        return walk

    def join(self, look, relative):
        return Said(relative)

    def picture(self, pose):
        rays = Camera.from_orbit(pose[0], hw=(16, 16)).rays()
        return render(self.object, *rays, torch.ones(3), March(0.04)).colour.T.unflatten(1, (16, 16))[None]

    def forward(self, x, sigma, condition):
        return torch.zeros_like(x) if condition.nothing else self.picture(self.source.moved(condition.relative))


@pytest.fixture(scope="module")
def knowing():
    source = OrbitPose.from_degrees([0.0], [20.0], [2.0])
    model = Knowing(source)
    photo = (model.picture(source) + 1) / 2
    settings = ScoreFitSettings(
        steps=150, grid=20, scale=1.0, input_weight=30.0, near_weight=0.0, depth_smoothness=0.0, learning_rate=0.3
    )
    fit = ScoreFit(model, photo, math.radians(20), settings)
    before = fit.view(OrbitPose.from_degrees([140.0], [35.0], [2.0])).latent.detach()
    for _ in range(settings.steps):
        fit.step()
    return model, fit, before


@pytest.mark.parametrize("azimuth", [0.0, 70.0, 140.0, -110.0])
def test_a_denoiser_that_knows_an_object_makes_it(knowing, azimuth):
    model, fit, before = knowing
    pose = OrbitPose.from_degrees([azimuth], [35.0], [2.0])
    truth = model.picture(pose)
    with torch.no_grad():
        error = (fit.view(pose).latent - truth).square().mean()
    assert error < 0.15 * (before - truth).square().mean()


def test_background_is_the_white_of_the_models_own_autoencoder():
    model = tiny_view_model()
    fit = ScoreFit(model, blobs(1), 0.3, SMALL)
    with torch.no_grad():
        fit.field.density.fill_(-100.0)
        seen = fit.view(fit.source).latent
    torch.testing.assert_close(seen, model.autoencoder.encode(torch.ones(1, 3, 32, 32)), atol=1e-5, rtol=0)


def test_the_terms_are_those_that_are_asked_for():
    model = tiny_view_model()
    fit = ScoreFit(model, blobs(1), 0.3, SMALL)
    assert set(fit.step()) == {"input", "input_smooth", "near", "score"}
    fit.done = 5
    assert set(fit.step()) == {"input", "input_smooth", "near", "score", "smooth"}
    bare = replace(SMALL, input_weight=0.0, near_weight=0.0, emptiness_weight=1.0)
    assert set(ScoreFit(model, blobs(1), 0.3, bare).step()) == {"score", "emptiness"}


def test_the_score_reaches_the_field_as_its_gradient():
    fit = ScoreFit(tiny_view_model(), blobs(1), 0.3, SMALL)
    view = fit.view(fit.source)
    cotangent = fit.gradient(view, fit.source)
    (cotangent * view.latent).sum().backward()
    field = fit.field
    expected = torch.autograd.grad(fit.view(fit.source).latent, field.density, cotangent)[0]
    torch.testing.assert_close(field.density.grad, expected)
    assert all(p.grad is None for p in fit.teacher.model.parameters())


def test_the_same_seed_makes_the_same_field_and_another_does_not():
    def made(seed):
        fit = ScoreFit(tiny_view_model(), blobs(1), 0.3, replace(SMALL, seed=seed))
        for _ in range(3):
            fit.step()
        return fit.field.density.detach()

    assert torch.equal(made(0), made(0)) and not torch.equal(made(0), made(1))


def test_random_cameras_stand_where_the_originals_do():
    fit = ScoreFit(tiny_view_model(), blobs(1), 0.3, SMALL)
    poses = OrbitPose.cat([fit.random_pose() for _ in range(400)])
    assert float(poses.radius.min()) >= 1.8 and float(poses.radius.max()) <= 2.2
    height = poses.point()[:, 2]
    assert float(height.min()) > -0.5 and float(poses.elevation.max()) > 1.2
    aside = OrbitPose.cat([fit.beside(poses[k : k + 1]) for k in range(50)])
    torch.testing.assert_close(
        (aside.point() - poses[:50].point()).norm(dim=-1), torch.full((50,), 0.05), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"learning_rate": 0.0}, {"noise_steps": (5, 2)}, {"half_side": math.inf}]
)
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ScoreFitSettings(**wrong)
