"""Textures: nothing overlaps, nothing tears, and a baked surface gives its colours back, also out of a file."""

import numpy as np
import pytest
import torch
import trimesh

from zero123.geometry.camera import Camera
from zero123.geometry.orbit import OrbitPose
from zero123.meshes.atlas import texels_of, textured, unwrap
from zero123.meshes.bake import Photo, bake, spread
from zero123.meshes.export import export_mesh
from zero123.meshes.load import load
from zero123.meshes.mesh import Mesh, welded
from zero123.meshes.raster import draw_picture, rasterise
from zero123.meshes.surface import is_watertight

RADIUS = 0.4


def rainbow(points, normals=None):
    """A colour for each direction: smooth, and different all around."""
    away = points / np.linalg.norm(points, axis=-1, keepdims=True)
    return (0.5 + 0.45 * np.sin(6 * away + (0, 1, 2))).astype(np.float32)


def grey(points, normals=None):
    return np.full((len(points), 3), 0.5, np.float32)


def camera_at(azimuth_deg, elevation_deg=0.0, size=96):
    return Camera.from_orbit(OrbitPose.from_degrees(azimuth_deg, elevation_deg, 1.85), hw=(size, size))


def worst_difference(mesh, camera, colour=rainbow):
    """Largest difference between a drawn picture of a ball and the closed form, well inside its outline."""
    picture = draw_picture(mesh, camera, samples=1)
    origins, directions = (t.double().numpy() for t in camera.rays())
    along = -(origins * directions).sum(-1)
    miss = np.linalg.norm(origins + along[:, None] * directions, axis=-1)
    points = origins + (along - np.sqrt(np.maximum(RADIUS**2 - miss**2, 0)))[:, None] * directions
    inside = (miss < 0.95 * RADIUS).reshape(camera.hw)
    expected = colour(points).reshape(*camera.hw, 3)
    assert (picture[3][inside] == 1).all()
    return np.abs(picture[:3].transpose(1, 2, 0) - expected)[inside].max()


@pytest.fixture(scope="module")
def ball():
    solid = trimesh.creation.icosphere(4, RADIUS)
    return Mesh(np.asarray(solid.vertices, np.float32), np.asarray(solid.faces, np.int64))


@pytest.fixture(scope="module")
def painted(ball):
    return bake(ball, 256, rainbow)


def test_cutting_for_a_texture_keeps_every_face_and_leaves_the_surface_closed(ball):
    cut, origin = unwrap(ball, 128)
    assert len(cut.faces) == len(ball.faces)
    assert len(cut.vertices) > len(ball.vertices)
    np.testing.assert_array_equal(cut.vertices, ball.vertices[origin])
    np.testing.assert_allclose(cut.normals, ball.vertex_normals()[origin], atol=1e-6)
    assert is_watertight(cut)
    joined, where = welded(cut)
    assert len(joined.vertices) == len(ball.vertices)
    np.testing.assert_array_equal(joined.vertices[where], cut.vertices)
    assert not is_watertight(cut.replace(faces=cut.faces[1:]))


def test_no_two_faces_share_a_texel_and_large_ones_have_one_each(ball):
    cut, _ = unwrap(ball, 256)
    texels = texels_of(cut, 256)
    a, b, c = (cut.uv[cut.faces[:, k]].astype(np.float64) * 256 for k in range(3))
    area = np.abs((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 2
    # Faces that overlapped would have more area than the texels that they cover.
    assert area.sum() == pytest.approx(len(texels.row), rel=0.01)
    assert area.sum() > 0.4 * 256**2
    assert set(np.nonzero(area > 4)[0]) <= set(texels.face)


def test_a_baked_ball_gives_its_colours_back(painted):
    for azimuth in (0.0, 100.0, 215.0):
        assert (
            worst_difference(painted, camera_at(azimuth, 30.0)) < 0.035
        )  # a texel is 0.006 long and colours change by 6 a unit


def test_a_baked_ball_gives_its_colours_back_out_of_a_glb_file(painted, tmp_path):
    (back,) = load(export_mesh(painted, tmp_path / "ball.glb"))
    assert back.texture.shape == (256, 256, 3)
    assert worst_difference(back, camera_at(40.0, -20.0)) < 0.035 + 0.5 / 255
    assert is_watertight(back)


def test_small_copies_of_the_texture_show_no_seams(painted):
    """Viewers mix neighbouring texels when they draw small; what lies between the pieces must not show."""
    mixed = painted.texture.reshape(64, 4, 64, 4, 3).mean(axis=(1, 3))
    assert worst_difference(painted.replace(texture=mixed.astype(np.float32)), camera_at(0.0)) < 0.25
    black = painted.texture.copy()
    row, column = np.nonzero(np.ones((256, 256), bool))
    texels = texels_of(painted, 256)
    free = np.ones((256, 256), bool)
    free[texels.row, texels.column] = False
    black[row[free.reshape(-1)], column[free.reshape(-1)]] = 0
    mixed = black.reshape(64, 4, 64, 4, 3).mean(axis=(1, 3))
    assert worst_difference(painted.replace(texture=mixed.astype(np.float32)), camera_at(0.0)) > 0.3


def test_the_photo_is_what_the_mesh_shows_where_it_saw_and_nothing_of_it_is_on_the_back(ball):
    camera = camera_at(0.0, size=128)
    picture = torch.from_numpy(draw_picture(bake(ball, 512, rainbow), camera))
    mesh = bake(ball, 256, grey, [Photo(picture, camera, reach=0.05)])
    again = torch.from_numpy(draw_picture(mesh, camera))
    middle = slice(48, 80)
    assert (again - picture)[:3, middle, middle].abs().max() < 0.05
    behind = draw_picture(mesh, camera_at(180.0))[:3, 38:58, 38:58]
    np.testing.assert_allclose(behind, 0.5, atol=0.02)


def test_a_photo_of_another_brightness_leaves_no_seam(ball):
    """Along the way from front to back the colour falls from the photo's to the field's without a step."""
    camera = camera_at(0.0, size=128)
    picture = torch.from_numpy(draw_picture(ball.replace(vertex_colours=grey(ball.vertices) + 0.3), camera))
    mesh = bake(ball, 256, grey, [Photo(picture, camera, reach=0.1)])
    shade = []
    for azimuth in range(0, 181, 2):  # the middle of a picture from each side
        shade.append(draw_picture(mesh, camera_at(float(azimuth), size=15), samples=1)[0, 7, 7])
    assert shade[0] == pytest.approx(0.8, abs=0.01)
    assert shade[-1] == pytest.approx(0.5, abs=0.01)
    assert np.abs(np.diff(shade)).max() < 0.03  # 0.3 over ten steps and more


def test_where_the_first_photo_did_not_see_the_second_does(ball):
    cameras = [camera_at(azimuth, size=128) for azimuth in (0.0, 180.0)]
    flat = [torch.tensor(shade)[:, None, None].expand(3, 128, 128) for shade in ((0.8, 0.2, 0.2), (0.2, 0.2, 0.8))]
    outline = torch.from_numpy(draw_picture(bake(ball, 64, grey), cameras[0]))[3:]
    photos = [Photo(torch.cat((colour, outline)), camera) for colour, camera in zip(flat, cameras, strict=True)]
    mesh = bake(ball, 256, grey, photos)
    for azimuth, shade in ((0.0, (0.8, 0.2, 0.2)), (40.0, (0.8, 0.2, 0.2)), (180.0, (0.2, 0.2, 0.8))):
        middle = draw_picture(mesh, camera_at(azimuth, size=15), samples=1)[:3, 7, 7]
        np.testing.assert_allclose(middle, shade, atol=0.02)
    both = bake(ball, 256, grey, [photos[0], Photo(photos[1].picture, cameras[0])])  # the first has the first word
    np.testing.assert_allclose(
        draw_picture(both, cameras[0])[:3, 50:78, 50:78],
        draw_picture(bake(ball, 256, grey, photos[:1]), cameras[0])[:3, 50:78, 50:78],
        atol=1e-3,
    )


def test_what_no_camera_saw_is_filled_in_from_beside(ball):
    """The field says black below, where no camera was; the bake says what is around."""

    def black_below(points, normals):
        return np.where(points[:, 2:] > -0.3, 0.6, 0.0).astype(np.float32) * np.ones(3, np.float32)

    cameras = [camera_at(90.0 * k, 20.0, 64) for k in range(4)]
    mesh = bake(ball, 128, black_below, cameras=cameras)
    below = draw_picture(mesh, camera_at(0.0, -89.0, 64))[:3, 30:34, 30:34]
    assert below.min() > 0.2
    assert draw_picture(bake(ball, 128, black_below), camera_at(0.0, -89.0, 64))[:3, 30:34, 30:34].max() < 0.01


def test_values_spread_over_a_strip_fade_as_the_exponential_of_the_distance():
    """Closed form: on a line, the minimum of gradient and pull is the exponential of minus distance over reach."""
    count, step = 81, 0.01
    x, y = np.meshgrid(np.arange(count) * step, np.arange(3) * step * 3**0.5 / 2)
    x = x + np.array([[0], [0.5], [0]]) * step
    vertices = np.stack((x, y, 0 * x), axis=-1).reshape(-1, 3).astype(np.float32)
    low = np.concatenate([np.arange(count - 1), count + np.arange(count - 1)])
    odd = np.repeat([0, 1], count - 1)
    first = np.stack((low, low + 1, low + count + odd), axis=1)
    second = np.stack((low + 1 - odd, low + count + 1, low + count), axis=1)
    mesh = Mesh(vertices, np.concatenate((first, second)))
    known = (vertices[:, 0] < step * 0.75) * 1e6
    found = spread(mesh, np.ones((len(vertices), 1)), known, reach=0.1).reshape(3, count)[1]
    slope = np.polyfit(x[1, 5:40], np.log(found[5:40]), 1)[0]
    assert slope == pytest.approx(-1 / 0.1, rel=0.25)  # the strip's rims have fewer edges than the plane's six


def test_parts_on_which_nothing_is_known_get_the_mean(ball):
    two = Mesh(
        np.concatenate((ball.vertices, ball.vertices + np.float32(2))),
        np.concatenate((ball.faces, ball.faces + len(ball.vertices))),
    )
    count = len(ball.vertices)
    values = np.concatenate((np.full((count, 3), 0.7), np.zeros((count, 3))))
    found = spread(two, values, np.repeat((10.0, 0.0), count), np.inf)
    np.testing.assert_allclose(found, 0.7, atol=1e-4)


def test_what_cannot_be_baked_is_refused(ball):
    with pytest.raises(ValueError, match="picture must be"):
        bake(ball, 0, grey, [Photo(torch.zeros(4, 8, 8), camera_at(0.0))])
    with pytest.raises(ValueError, match="uv"):
        texels_of(ball, 64)
    with pytest.raises(ValueError, match="size be at least 16"):
        unwrap(ball, 8)
    cut, _ = unwrap(ball, 64)
    with pytest.raises(ValueError, match="colours must be"):
        textured(cut, texels_of(cut, 64), np.zeros((3, 3)))


def test_without_a_size_there_are_vertex_colours_only(ball):
    mesh = bake(ball, 0, rainbow)
    assert mesh.uv is None
    assert mesh.texture is None
    np.testing.assert_allclose(mesh.vertex_colours, rainbow(ball.vertices), atol=1e-6)
    assert (rasterise(mesh, camera_at(0.0)).face >= 0).any()
