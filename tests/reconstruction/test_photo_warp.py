"""A field is moved across a photo until their outlines meet, where they are the same outline, out of place."""

import numpy as np
import torch
from scipy.ndimage import map_coordinates

from zero123.fields.voxels import VoxelField
from zero123.geometry.camera import Camera
from zero123.geometry.orbit import OrbitPose
from zero123.meshes.raster import draw_picture
from zero123.meshes.surface import extract_surface, is_watertight, volume
from zero123.reconstruction.photo_warp import displacement_to, moved_to

Y, X = np.mgrid[:128, :128] + 0.5
CAMERA = Camera.from_orbit(OrbitPose.from_degrees(torch.tensor([30.0]), torch.tensor([20.0]), 1.85), hw=(128, 128))[0]


def disc(radius, across=64.0, down=64.0):
    return np.hypot(X - across, Y - down) < radius


def read(mask, moves):
    """A mask read where a displacement says."""
    rows, columns = np.mgrid[:128, :128]
    return map_coordinates(mask.astype(float), np.stack((rows + moves[1], columns + moves[0])), order=1) > 0.5


def overlap(a, b):
    return (a & b).sum() / (a | b).sum()


def test_an_outline_that_is_right_stays_where_it_is():
    assert np.abs(displacement_to(disc(30), disc(30))).max() == 0


def test_outlines_that_are_out_of_place_or_of_size_meet():
    ellipse = ((X - 64) / 33) ** 2 + ((Y - 64) / 28) ** 2 < 1
    for wanted in (disc(33), disc(27), disc(30, 67.0, 62.0), ellipse):
        before, after = overlap(disc(30), wanted), overlap(read(disc(30), displacement_to(disc(30), wanted)), wanted)
        assert before < 0.93 and after > 0.975


def test_a_disc_that_shall_be_elsewhere_is_read_from_where_it_is():
    """At the edges that look along the shift: their normals are all that an outline says."""
    moves = displacement_to(disc(30), disc(30, 67.0))
    assert abs(moves[0, 64, 96] + 3) < 0.6 and abs(moves[0, 64, 37] + 3) < 0.6
    assert np.abs(moves[1, 64, [37, 96]]).max() < 0.1


def test_what_only_one_of_them_shows_moves_nothing():
    bar = (np.abs(X - 64) < 4) & (Y > 10) & (Y < 64)
    moves = displacement_to(disc(30), disc(30) | bar)
    assert np.abs(moves[:, 60:, :]).max() < 0.1  # on the other side
    assert overlap(read(disc(30), moves), disc(30)) > 0.97


def test_outlines_that_have_nothing_to_do_with_each_other_move_nothing():
    empty = np.zeros((128, 128), bool)
    for own, wanted in (
        (empty, disc(30)),
        (disc(30), empty),
        (empty, empty),
        (disc(9, 20.0, 20.0), disc(9, 108.0, 108.0)),
    ):
        assert np.abs(displacement_to(own, wanted)).max() == 0


def test_a_ball_takes_the_size_that_the_photo_shows_and_stays_whole():
    field = VoxelField((64,) * 3, 3, ((-0.5,) * 3, (0.5,) * 3))
    points = field.centres()
    with torch.no_grad():
        field.density[0, 0] = ((0.3 - points.norm(dim=-1)) * 64).clamp(-1, 1)
        field.colour[0] = points.movedim(-1, 0)

    def picture(density):
        mesh = extract_surface(density.numpy(), 0.0, field.low.numpy(), field.high.numpy())
        return mesh, torch.from_numpy(np.asarray(draw_picture(mesh, CAMERA)))[3] > 0.5

    ball, outline = picture(field.density[0, 0].detach())
    wanted = torch.from_numpy(disc(26))
    density, moved = moved_to(field.density[0, 0].detach(), field, CAMERA, outline, wanted)
    mesh, after = picture(density)
    assert overlap(after.numpy(), wanted.numpy()) > 0.97 > 0.9 > overlap(outline.numpy(), wanted.numpy())
    assert is_watertight(mesh)
    size = np.ptp(mesh.vertices, axis=0) / np.ptp(ball.vertices, axis=0)
    towards = CAMERA.position.numpy() / np.linalg.norm(CAMERA.position.numpy())
    deep = np.ptp(mesh.vertices @ towards) / np.ptp(ball.vertices @ towards)
    assert (np.abs(deep - 1) < 0.03) and volume(mesh) / volume(ball) > 1.1 and size.max() > 1.05  # wider, as deep
    torch.testing.assert_close(moved.density[0, 0], density, atol=1e-4, rtol=0)
    assert not torch.equal(moved.colour, field.colour)
