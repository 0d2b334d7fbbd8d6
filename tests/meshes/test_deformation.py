"""Objects made into other shapes: normals stay normal, what stands still stands, halves stay alike."""

import numpy as np
import pytest
import trimesh

from zero123.meshes.deformation import Deformation, Swelling, stretched, swollen
from zero123.meshes.mesh import Mesh, unit


def ball():
    sphere = trimesh.creation.icosphere(5, 0.5)
    vertices = np.asarray(sphere.vertices, np.float32)
    return Mesh(vertices, np.asarray(sphere.faces, np.int64), normals=unit(vertices))


def box():
    sides = trimesh.creation.box((0.6, 1.0, 0.8))
    vertices = np.asarray(sides.subdivide().vertices, np.float32)
    return Mesh(vertices, np.asarray(sides.subdivide().faces, np.int64))


def test_a_stretched_balls_normals_are_the_ellipsoids():
    (part,) = stretched([ball()], (2.0, 1.0, 0.5))
    gradient = part.vertices / np.array([2.0, 1.0, 0.5]) ** 2
    np.testing.assert_allclose(part.normals, unit(gradient), atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_swollen_balls_normals_are_those_of_its_faces(axis):
    (part,) = swollen([ball()], Swelling(axis, 0.4, 1.7, 0.6))
    cosine = (part.normals * part.vertex_normals()).sum(1)
    assert cosine.min() > 0.995 and np.ptp(part.vertices - ball().vertices) > 0.1


def test_what_lies_across_is_scaled_by_the_wave():
    (part,), before = swollen([box()], Swelling(2, 0.3, 1.0, 0.0)), box().vertices
    factor = np.exp(0.3 * np.cos(np.pi * before[:, 2]))[:, None]
    np.testing.assert_allclose(part.vertices[:, :2], before[:, :2] * factor, atol=1e-6)
    assert np.array_equal(part.vertices[:, 2], before[:, 2])


@pytest.mark.parametrize("axis", [0, 1])
def test_what_stands_on_the_ground_still_does(axis):
    (part,), before = swollen([box()], Swelling(axis, 0.5, 2.0)), box().vertices
    ground = before[:, 2] == before[:, 2].min()
    assert np.ptp(part.vertices[ground, 2]) == 0 and np.ptp(part.vertices[~ground, 2]) > 0.1


def test_halves_that_were_alike_stay_alike():
    """Of a box, symmetric about the planes x = 0 and y = 0, whatever was drawn."""
    numbers = np.random.default_rng(0)
    for _ in range(20):
        (part,) = Deformation.drawn(numbers, 2.0, 1.6).of([box()])
        for axis in (0, 1):
            mirrored = part.vertices.copy()
            mirrored[:, axis] *= -1
            away = np.abs(mirrored[:, None] - part.vertices).max(2).min(1)
            assert away.max() < 1e-5


def test_drawn_shapes_are_in_the_unit_cube_within_their_bounds_and_differ():
    one, same, other = (Deformation.drawn(np.random.default_rng(seed), 2.0, 1.5) for seed in (1, 1, 2))
    assert one == same != other
    for drawn in (one, other):
        assert all(0.5 <= factor <= 2 for factor in drawn.stretch)
        assert sorted(swelling.axis for swelling in drawn.swell) == [0, 1, 2]
        assert all(abs(swelling.amount) <= np.log(1.5) for swelling in drawn.swell)
        (part,) = drawn.of([ball()])
        assert np.ptp(part.vertices, axis=0).max() == pytest.approx(1, abs=1e-5)


def test_parts_stay_together():
    """Swollen as one object: a part is moved as it would be within the whole."""
    whole = ball()
    halves = [whole.replace(faces=whole.faces[::2]), whole.replace(faces=whole.faces[1::2])]
    drawn = Deformation.drawn(np.random.default_rng(3), 1.5, 1.5)
    for part in drawn.of(halves):
        np.testing.assert_allclose(part.vertices, drawn.of([whole])[0].vertices, atol=1e-6)
