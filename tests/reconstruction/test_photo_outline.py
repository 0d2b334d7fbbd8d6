"""A mesh has the outline that its photo shows: nothing beyond it, open holes, and what no view believes in put back."""

import math

import numpy as np
import pytest
import torch
import trimesh

from zero123.fields.voxels import VoxelField
from zero123.geometry.camera import Camera
from zero123.geometry.orbit import OrbitPose
from zero123.meshes.raster import draw_picture
from zero123.meshes.surface import is_watertight, volume
from zero123.reconstruction.from_views import ReconstructionSettings, surface_density, surface_of
from zero123.reconstruction.hull import facing, within
from zero123.reconstruction.photo_outline import kept_to

SETTINGS = ReconstructionSettings(faces=40000)
CAMERA = Camera.from_orbit(OrbitPose.from_degrees(torch.tensor([30.0]), torch.tensor([20.0]), 1.85), hw=(96, 96))[0]
TOWARDS = np.array([np.cos(0.349) * np.cos(0.524), np.cos(0.349) * np.sin(0.524), np.sin(0.349)])
X, Y = torch.meshgrid(torch.arange(96) + 0.5, torch.arange(96) + 0.5, indexing="xy")
BLUE = torch.tensor([0.1, 0.2, 0.9])[:, None, None].expand(3, 96, 96)


def _cube(half):
    """A grey field that is dense in the middle."""
    field = VoxelField((64,) * 3, 3, ((-0.5,) * 3, (0.5,) * 3))
    with torch.no_grad():
        field.density.fill_(-1.0)
        edge = slice(32 - half, 32 + half)
        field.density[0, 0, edge, edge, edge] = 1.0
    return field


def _density(field):
    return surface_density(field, torch.ones(64, 64, 64, dtype=torch.bool), SETTINGS.blur)


def _kept(field, mask):
    photo = torch.cat((BLUE, mask.float()[None]))
    return kept_to(_density(field), field, photo[None], CAMERA[None], SETTINGS.level, 96)


def _mesh(field, mask):
    density, kept = _kept(field, mask)
    return surface_of(density, kept, SETTINGS)


def _overlap(mesh, mask):
    drawn = torch.from_numpy(np.asarray(draw_picture(mesh, CAMERA)))[3] > 0.5
    return float((drawn & mask).sum() / (drawn | mask).sum())


def test_a_mesh_keeps_within_the_outline_from_front_to_back_and_its_holes_are_open():
    away = torch.hypot(X - 48, Y - 48)
    ring = (away < 20) & (away > 7)
    mesh = _mesh(_cube(26), ring)
    assert _overlap(mesh, ring) > 0.93
    depth = mesh.vertices @ TOWARDS
    assert depth.max() > 0.35 and depth.min() < -0.35  # both sides of the cube are still there
    assert is_watertight(mesh) and trimesh.Trimesh(mesh.vertices, mesh.faces).euler_number == 0


def test_what_the_photo_shows_and_no_view_believes_in_is_put_back_in_its_colour():
    bar = ((X - 48).abs() < 4) & (Y > 24) & (Y < 48)  # sticks out above a small cube
    mask = bar | (torch.hypot(X - 48, Y - 48) < 14)
    before = surface_of(_density(_cube(14)), _cube(14), SETTINGS)
    mesh = _mesh(_cube(14), mask)
    assert _overlap(before, mask) < 0.8 < 0.93 < _overlap(mesh, mask)
    assert is_watertight(mesh) and len(trimesh.Trimesh(mesh.vertices, mesh.faces).split()) == 1
    pixels = CAMERA.project(torch.from_numpy(mesh.vertices))[0].numpy()
    depth = (mesh.vertices @ TOWARDS)[pixels[:, 1] < 32]
    assert len(depth) > 100 and abs(depth.mean()) < 0.15 and np.ptp(depth) < 0.2  # about as deep as wide, at the cube's
    _, kept = _kept(_cube(14), mask)
    tip = torch.from_numpy(mesh.vertices[pixels[:, 1] < 32]).float()
    torch.testing.assert_close(kept.features(tip).mean(0), BLUE[:, 0, 0], atol=0.15, rtol=0)


def _drawn_with_mast(camera, height, half=14):
    """Outline of a small cube with a mast on it, upright in the middle of its top."""
    cube = surface_of(_density(_cube(half)), _cube(half), SETTINGS)
    along = torch.linspace(0.1, height, 200)
    mast = camera.project(torch.stack((torch.zeros(200), torch.zeros(200), along), dim=-1))[0]
    away = (torch.stack((X, Y), dim=-1)[:, :, None] - mast).square().sum(-1).amin(-1)
    return (torch.from_numpy(np.asarray(draw_picture(cube, camera)))[3] > 0.5) | (away < 9)


@pytest.mark.parametrize("degrees", [-15, 0, 15, 30])
def test_a_mast_that_only_the_photo_shows_stands_upright_in_its_length(degrees):
    pose = OrbitPose.from_degrees(torch.tensor([30.0]), torch.tensor([float(degrees)]), 1.85)
    camera = Camera.from_orbit(pose, hw=(96, 96))[0]
    photo = torch.cat((BLUE, _drawn_with_mast(camera, 0.42).float()[None]))
    density, kept = kept_to(_density(_cube(14)), _cube(14), photo[None], camera[None], SETTINGS.level, 96)
    mesh = surface_of(density, kept, SETTINGS)
    # Seen from above the top's middle is not where the mast meets its edge: it stands on what is nearest to it.
    assert abs(mesh.vertices[:, 2].max() - 0.42) < 0.07
    upper = mesh.vertices[mesh.vertices[:, 2] > 0.3]
    lower = mesh.vertices[(mesh.vertices[:, 2] > 0.24) & (mesh.vertices[:, 2] < 0.3)]
    assert len(upper) > 20 and np.abs(upper.mean(0) - lower.mean(0))[:2].max() < 0.03


@pytest.mark.parametrize(("degrees", "tilt"), [(0, 0), (20, 0), (-25, 0), (50, 20), (90, 60), (-75, -45)])
def test_parts_that_stick_out_lie_in_an_upright_plane_or_at_most_thirty_degrees_off_the_pictures(degrees, tilt):
    camera = Camera.from_orbit(OrbitPose.from_degrees(torch.tensor([70.0]), torch.tensor([float(degrees)]), 1.85))[0]
    azimuth, down = math.radians(70), math.radians(tilt)
    across = math.cos(down)
    expected = -torch.tensor([across * math.cos(azimuth), across * math.sin(azimuth), math.sin(down)])
    torch.testing.assert_close(facing(camera), expected, atol=1e-4, rtol=0)


def test_a_field_that_fills_its_outline_hardly_changes():
    field = _cube(14)
    before = surface_of(_density(field), field, SETTINGS)
    own = torch.from_numpy(np.asarray(draw_picture(before, CAMERA)))[3] > 0.5
    after = _mesh(field, own)
    assert _overlap(after, own) > 0.95
    assert abs(volume(after) / volume(before) - 1) < 0.03


def test_an_outline_that_leaves_the_frame_cuts_nothing_beyond_it():
    mask = (X < 48).float()
    assert (within(mask, CAMERA, torch.tensor([[0.0, 0.0, 1.2], [0.0, 0.0, -1.2]])) == 1).all()  # above and below
    left, right = torch.tensor([[-0.2, 0.3, 0.0], [0.2, -0.3, 0.0]])
    assert set(within(mask, CAMERA, torch.stack((left, right))).tolist()) == {0.0, 1.0}  # half is cut within it


def test_an_empty_field_stays_empty():
    field = _cube(0)
    density, kept = _kept(field, torch.hypot(X - 48, Y - 48) < 20)
    assert float(density.max()) <= -1 + 1e-6
    assert float(kept.density.detach().max()) <= -1 + 1e-6


def test_a_second_photo_says_how_far_away_a_part_is_that_sticks_out():
    """A mast on a cube's middle, seen from 45 degrees above: one photo puts it on the edge behind, two where it is."""
    pose = OrbitPose.from_degrees(torch.tensor([30.0, 120.0]), torch.tensor([45.0, 45.0]), 1.85)
    both, field = Camera.from_orbit(pose, hw=(96, 96)), _cube(8)
    shown = [torch.cat((BLUE, _drawn_with_mast(both[k], 0.42, half=8).float()[None])) for k in range(2)]
    tops = []
    for count in (1, 2):
        photos = torch.stack(shown[:count])
        density, kept = kept_to(_density(field), field, photos, both[:count], SETTINGS.level, 96)
        mesh = surface_of(density, kept, SETTINGS)
        tops.append(float(mesh.vertices[:, 2].max()))
    upper = mesh.vertices[mesh.vertices[:, 2] > 0.3]
    assert tops[0] < 0.38 and 0.42 < tops[1] < 0.49  # it was drawn 0.05 thick
    assert np.abs(upper.mean(0))[:2].max() < 0.03


def test_what_any_photo_does_not_show_is_cut_off():
    pole = Camera.from_orbit(OrbitPose.from_degrees(torch.tensor([0.0, 90.0]), torch.zeros(2), 1.85), hw=(96, 96))
    halves = torch.stack([torch.cat((BLUE, mask.float()[None])) for mask in (X < 48, X > 48)])
    density, _ = kept_to(_density(_cube(14)), _cube(14), halves, pole, SETTINGS.level, 96)
    solid = (density > SETTINGS.level).nonzero().float().mean(0)
    assert solid[0] == pytest.approx(31.5, abs=1)
    assert (solid[1] - 31.5).abs() > 5 and (solid[2] - 31.5).abs() > 5  # a quarter is left
