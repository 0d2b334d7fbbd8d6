"""Views of one object agree along its surface, shuffled ones do not; constant views by their closed form."""

import numpy as np
import pytest
import torch
import trimesh

from zero123.data.procedural import generate
from zero123.evaluation.consistency import depth_consistency, view_consistency
from zero123.geometry.camera import Camera
from zero123.geometry.paths import turntable
from zero123.images.alpha import composite
from zero123.meshes.mesh import Mesh
from zero123.meshes.raster import draw_picture, rasterise


def cameras(count=8, size=96):
    return Camera.from_orbit(turntable(count, elevation=0.4), hw=(size, size))


def drawn(mesh, camera):
    pictures = [torch.from_numpy(draw_picture(mesh, camera[v])) for v in range(len(camera.world_from_camera))]
    return composite(torch.stack(pictures), torch.ones(3))


def ball(colour=None):
    solid = trimesh.creation.icosphere(4, 0.4)
    vertices = np.asarray(solid.vertices, np.float32)
    waves = 0.5 + 0.4 * np.sin(6 * vertices + np.float32([0, 1, 2])).astype(np.float32)
    colours = waves if colour is None else np.full_like(vertices, colour)
    return Mesh(vertices, np.asarray(solid.faces, np.int64), colours)


@pytest.mark.parametrize("mesh", [ball(), generate(5), generate(12)], ids=["ball", "camera", "other"])
def test_exact_views_agree_and_shuffled_ones_do_not(mesh):
    camera = cameras()
    views = drawn(mesh, camera)
    exact, shuffled = (view_consistency(v, camera, mesh) for v in (views, views[[3, 0, 6, 1, 7, 2, 4, 5]]))
    assert exact.psnr > 34 and shuffled.psnr < 18
    assert exact.coverage > 0.75
    assert exact.coverage == shuffled.coverage  # it is the geometry's alone


def test_constant_views_that_differ_by_a_known_amount():
    camera, mesh = cameras(4), ball()
    greys = torch.tensor([0.5, 0.6, 0.5, 0.8])
    found = view_consistency(greys[:, None, None, None].expand(4, 3, 96, 96), camera, mesh)
    assert float(found.pairs[0, 1]) == pytest.approx(20, abs=1e-4)  # a difference of 0.1
    assert float(found.pairs[1, 2]) == pytest.approx(20, abs=1e-4)
    assert float(found.pairs[3, 0]) == pytest.approx(-20 * np.log10(0.3), abs=1e-4)
    assert bool(found.pairs.diagonal().isnan().all())
    assert found.psnr == pytest.approx(float(found.pairs.nanmean()))


def test_noise_in_the_views_lowers_it_by_its_decibels():
    camera, mesh = cameras(4, 64), ball(0.5)
    noise = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = view_consistency(drawn(mesh, camera) + 0.05 * noise, camera, mesh)
    # the view itself has all of the noise; the one read between pixels some 4/9 of it
    assert found.psnr == pytest.approx(-10 * np.log10(0.05**2 * (1 + 4 / 9)), abs=0.5)


def test_what_only_one_view_sees_is_not_compared():
    camera = Camera.from_orbit(turntable(2), hw=(64, 64))  # from opposite sides
    found = view_consistency(torch.rand(2, 3, 64, 64), camera, ball())
    assert np.isnan(found.psnr) and found.coverage == 0


def test_the_back_of_a_thin_wall_is_not_its_front():
    wall = trimesh.creation.box((0.02, 0.8, 0.8)).subdivide().subdivide()
    vertices = np.asarray(wall.vertices, np.float32)
    colours = np.where(vertices[:, :1] > 0, np.float32([1, 0, 0]), np.float32([0, 0, 1])).astype(np.float32)
    mesh = Mesh(vertices, np.asarray(wall.faces, np.int64), colours)
    azimuths = torch.tensor([-0.5, 0.5, np.pi - 0.5, np.pi + 0.5])
    pose = turntable(4)
    camera = Camera.from_orbit(type(pose)(azimuths, pose.elevation[:4], pose.radius[:4]), hw=(96, 96))
    found = view_consistency(drawn(mesh, camera), camera, mesh)
    assert bool(found.pairs[:2, 2:].isnan().all()) and bool(found.pairs[2:, :2].isnan().all())
    assert found.psnr > 34


def test_depth_maps_alone_will_do():
    camera, mesh = cameras(4, 64), ball()
    depths = torch.stack([torch.from_numpy(rasterise(mesh, camera[v]).depth) for v in range(4)])
    views = drawn(mesh, camera)
    assert depth_consistency(views, camera, depths).psnr == view_consistency(views, camera, mesh).psnr
    nothing = depth_consistency(views, camera, torch.full_like(depths, torch.inf))
    assert np.isnan(nothing.psnr) and nothing.coverage == 0


def test_views_that_do_not_fit_are_refused():
    camera, mesh = cameras(3, 32), ball()
    with pytest.raises(ValueError, match=r"images must be \(V, 3, 32, 32\) with V over 1"):
        view_consistency(torch.rand(1, 3, 32, 32), camera[:1], mesh)
    with pytest.raises(ValueError, match=r"images must be \(V, 3, 32, 32\)"):
        view_consistency(torch.rand(3, 3, 16, 16), camera, mesh)
    with pytest.raises(ValueError, match="camera must hold 2 views"):
        view_consistency(torch.rand(2, 3, 32, 32), camera, mesh)
    with pytest.raises(ValueError, match=r"depths must be \(3, 32, 32\)"):
        depth_consistency(torch.rand(3, 3, 32, 32), camera, torch.ones(2, 32, 32))
