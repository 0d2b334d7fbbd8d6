"""Light in a surface's colours: the law by which it is made is found again, and paint is left alone."""

import numpy as np
import pytest
import trimesh

from zero123.meshes.bake import bake
from zero123.meshes.light import light_on, without_light
from zero123.meshes.mesh import Mesh, linear_to_srgb, srgb_to_linear

RED, BLUE = np.array((0.7, 0.2, 0.15)), np.array((0.2, 0.3, 0.6))


def painted_ball(shade):
    """A ball in stripes of two paints whose linear light is multiplied by a function of the normal."""
    solid = trimesh.creation.icosphere(3, 0.4)
    points = np.asarray(solid.vertices, np.float32)
    normals = points / np.linalg.norm(points, axis=1, keepdims=True)
    striped = (np.sin(9 * np.arctan2(points[:, 1], points[:, 0])) > 0)[:, None]
    paint = srgb_to_linear(np.where(striped, RED, BLUE).astype(np.float32))
    seen = linear_to_srgb(np.clip(paint * shade(normals)[:, None], 0, 1))
    mesh = Mesh(points, np.asarray(solid.faces, np.int64), seen.astype(np.float32), normals=normals)
    return mesh, striped[:, 0]


def unevenness(colours, striped):
    """Standard deviation of the logarithm of linear light within each paint."""
    bright = np.log(srgb_to_linear(colours).sum(axis=1))
    return max(float(bright[part].std()) for part in (striped, ~striped))


def test_an_exponential_light_is_found_exactly_and_taken_away():
    light = np.array((0.1, -0.2, 0.5))
    mesh, striped = painted_ball(lambda normals: np.exp(normals @ light) * 0.6)
    found = light_on(mesh)
    np.testing.assert_allclose(found, light, atol=0.03)
    assert unevenness(without_light(mesh.vertex_colours, mesh.normals, light), striped) < 0.02


def test_a_lamp_above_and_light_from_all_around_become_less_than_half_as_uneven():
    mesh, striped = painted_ball(lambda normals: 0.35 + 0.6 * np.clip(normals @ np.array((0.6, 0.0, 0.8)), 0, None))
    light = light_on(mesh)
    assert light @ np.array((0.6, 0.0, 0.8)) > 0.9 * np.linalg.norm(light)
    after = without_light(mesh.vertex_colours, mesh.normals, light)
    assert unevenness(after, striped) < 0.5 * unevenness(mesh.vertex_colours, striped)


def test_even_light_and_paint_of_two_hues_are_left_alone():
    mesh, _ = painted_ball(lambda n: np.ones(len(n)))
    assert np.linalg.norm(light_on(mesh)) < 0.02
    above = (mesh.vertices[:, 2:] > 0).astype(np.float32)
    two = above * RED + (1 - above) * BLUE
    assert np.linalg.norm(light_on(mesh.replace(vertex_colours=two.astype(np.float32)))) < 0.02


def test_a_baked_mesh_has_neither_in_its_vertices_nor_in_its_texture_the_light_that_is_taken_out():
    light = np.array((0.0, 0.3, 0.6))
    mesh, _ = painted_ball(lambda normals: np.exp(normals @ light) * 0.5)
    paint = lambda points, normals: (0.6 * np.exp(normals @ light / 2.2)).repeat(3).reshape(-1, 3).astype(np.float32)  # noqa: E731
    plain = Mesh(mesh.vertices, mesh.faces)
    lit, even = bake(plain, 128, paint), bake(plain, 128, paint, even_light=1.0)
    for layer in ("vertex_colours", "texture"):
        before, after = getattr(lit, layer), getattr(even, layer)
        assert float(after[after > 0.02].std()) < 0.2 * float(before[before > 0.02].std())


def test_black_and_no_colours():
    mesh, _ = painted_ball(lambda n: np.ones(len(n)))
    assert light_on(mesh.replace(vertex_colours=np.zeros_like(mesh.vertices))).tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="mesh must have vertex_colours"):
        light_on(mesh.replace(vertex_colours=None))
