"""The renderer against closed forms: silhouettes, edges, depth, colour, texture, antialiasing."""

import numpy as np
import pytest
import torch
import trimesh

from zero123.data.render.embree import EmbreeRenderer, render
from zero123.data.render.light import Light
from zero123.geometry.camera import Camera
from zero123.geometry.orbit import OrbitPose
from zero123.meshes.mesh import Mesh

PLAIN = Light(sky=4 / 3, key=0, fill=0)
"""Shows the base colour of upright surfaces as it is."""


def _mesh(shape, **more):
    return Mesh(np.asarray(shape.vertices, np.float32), np.asarray(shape.faces, np.int64), **more)


def _ball(radius, middle=(0.0, 0.0, 0.0)):
    ball = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    return _mesh(ball.apply_translation(middle))


def _quad(x, half, colour=None, **more):
    """A square at depth x that faces +x, corners from the lower left as seen from there."""
    y, z = half * np.array([[-1, 1, 1, -1], [-1, -1, 1, 1]])
    vertices = np.stack((np.full(4, x), y, z), 1).astype(np.float32)
    colours = None if colour is None else np.tile(np.float32(colour), (4, 1))
    return Mesh(vertices, np.array([[0, 1, 2], [0, 2, 3]]), vertex_colours=colours, **more)


def _front(size, radius=2.0, azimuth=0.0):
    return Camera.from_orbit(OrbitPose.from_degrees(azimuth, 0.0, radius), hw=(size, size))


def test_a_spheres_silhouette_has_the_area_of_its_projection():
    alpha = render([_ball(0.4)], _front(128, 1.85))[3]
    side = 128 * 35 / 32 * 0.4 / np.sqrt(1.85**2 - 0.4**2)
    assert float(alpha.sum()) == pytest.approx(np.pi * side**2, rel=0.01)


def test_a_sphere_beside_the_middle_is_where_its_rays_say():
    middle = torch.tensor([0.1, 0.2, -0.25])
    camera = Camera.from_orbit(OrbitPose.from_degrees(50.0, 20.0, 1.6), hw=(96, 128))
    alpha = render([_ball(0.2, middle.tolist())], camera, samples=1)[3]
    origins, directions = camera.rays()
    near = torch.linalg.cross(middle - origins, directions).norm(dim=-1) < 0.2
    assert float((alpha - near.float().reshape(96, 128)).abs().sum()) < 0.01 * float(near.sum())


def test_a_cube_seen_face_on_ends_where_the_lens_puts_its_edges():
    alpha = render([_mesh(trimesh.creation.box())], _front(128))[3]
    edge = 128 * 35 / 32 * 0.5 / 1.5  # the near face is at depth 1.5
    assert float(alpha[64].sum()) == pytest.approx(2 * edge, abs=0.3)
    assert float(alpha[:, 64].sum()) == pytest.approx(2 * edge, abs=0.3)
    first, last = int(64 - edge), int(64 + edge)
    assert alpha[64, first - 1] == 0 and alpha[64, last + 1] == 0
    assert bool((alpha[64, first + 1 : last] == 1).all())


def test_the_nearer_part_hides_the_farther_from_both_sides():
    parts = [_quad(-0.3, 0.4, (0, 1, 0)), _quad(0.3, 0.2, (1, 0, 0))]
    front, back = (render(parts, _front(64, azimuth=a), PLAIN) for a in (0.0, 180.0))
    assert front[:3, 32, 32].round().tolist() == [1, 0, 0] and back[:3, 32, 32].round().tolist() == [0, 1, 0]
    assert front[:3, 32, 21].round().tolist() == [0, 1, 0]


def test_plain_light_shows_the_base_colour():
    colour = (0.8, 0.4, 0.1)
    picture = render([_quad(0, 0.3, colour)], _front(32), PLAIN)
    np.testing.assert_allclose(picture[:3, 16, 16].numpy(), colour, atol=1e-5)


def test_a_texture_is_upright_and_not_mirrored():
    texture = np.float32([[[1, 0, 0], [0, 1, 0]], [[0, 0, 1], [1, 1, 1]]])
    uv = np.float32([[0, 0], [1, 0], [1, 1], [0, 1]])
    picture = render([_quad(0, 0.4, uv=uv, texture=texture)], _front(64), PLAIN)[:3]
    side = round(64 * 35 / 32 * 0.4 / 2 / 2)  # from the middle of the quad to the middle of a texel
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        y, x = 32 + (2 * row - 1) * side, 32 + (2 * column - 1) * side
        np.testing.assert_allclose(picture[:, y, x].numpy(), texture[row, column], atol=0.4)
        assert picture[:, y, x].round().tolist() == texture[row, column].tolist()


def test_alpha_has_the_levels_of_four_samples_and_empty_pixels_have_no_colour():
    picture = render([_ball(0.4)], _front(64))
    assert set(picture[3].unique().tolist()) == {0, 0.25, 0.5, 0.75, 1}
    assert float(picture[:3, picture[3] == 0].abs().max()) == 0
    assert set(render([_ball(0.4)], _front(64), samples=1)[3].unique().tolist()) == {0, 1}


def test_light_from_the_left_lights_the_left():
    light = Light(sky=0.1, key_direction=(0, -1, 0), key=1.0, fill=0)
    picture = render([_ball(0.4)], _front(64), light)[:3].mean(0)
    assert picture[32, 22] > 2 * picture[32, 42]


def test_a_ball_is_shaded_smoothly_and_a_box_is_not():
    light = Light(sky=0.2, key_direction=(0.6, 0.0, 0.8), key=0.8, fill=0)
    camera = Camera.from_orbit(OrbitPose.from_degrees(45.0, 0.0, 2.0), hw=(64, 64))
    box = render([_mesh(trimesh.creation.box())], camera, light)
    assert float(box[0, 32, 14:30].std()) < 1e-6 and abs(float(box[0, 32, 25] - box[0, 32, 40])) > 0.1
    ball = render([_ball(0.45)], camera, light)[0, 20:44, 32]
    assert float(ball.diff().abs().max()) < 0.1


def test_two_draws_of_one_renderer_are_the_same():
    renderer = EmbreeRenderer([_ball(0.3)])
    assert torch.equal(renderer.render(_front(32)), renderer.render(_front(32)))


def test_an_object_outside_the_picture_is_not_seen():
    assert float(render([_ball(0.1, (0, 30.0, 0))], _front(32)).abs().max()) == 0


def test_other_sample_counts_are_refused():
    with pytest.raises(ValueError, match=r"samples must be one of \[1, 4\], got 3"):
        render([_ball(0.3)], _front(32), samples=3)


def test_random_lights_are_unit_directions_and_neither_dark_nor_blinding():
    numbers = np.random.default_rng(0)
    white = np.ones((6, 3), np.float32)
    normals = np.concatenate((np.eye(3), -np.eye(3))).astype(np.float32)
    for _ in range(200):
        light = Light.random(numbers)
        for direction in (light.key_direction, light.fill_direction):
            assert np.linalg.norm(direction) == pytest.approx(1)
        shown = light.shade(white, normals, normals)
        assert shown.min() > 0.2 and shown.max() < 1.8 and np.mean(light.tint) == pytest.approx(1)


def test_a_cylinder_is_round_at_its_side_and_flat_at_its_lid():
    light = Light(sky=0.1, key_direction=(0.0, -0.6, 0.8), key=0.9, fill=0)
    camera = Camera.from_orbit(OrbitPose.from_degrees(0.0, 45.0, 1.8), hw=(96, 96))
    shape = trimesh.creation.cylinder(radius=0.35, height=0.5, sections=24)  # lid and side share their vertices
    picture = render([_mesh(shape)], camera, light)[0]
    lid, side = picture[28:34, 40:56], picture[62, 34:46]  # the lit part of the side
    assert float(lid.std()) < 1e-5
    assert float(side.diff().max()) < 0 and float(side.diff().abs().max()) < 0.05
