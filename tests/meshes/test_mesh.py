"""Meshes as values: colour curves, the unit cube, normals, joining, and what is refused."""

import numpy as np
import pytest

from zero123.meshes.mesh import Mesh, concatenate, linear_to_srgb, srgb_to_linear, unit_cube

CORNERS = np.stack(np.meshgrid([0, 2], [0, 4], [0, 1], indexing="ij"), -1).reshape(-1, 3).astype(np.float32)


def _box():
    """A 2 x 4 x 1 box, counter-clockwise seen from outside."""
    import trimesh

    box = trimesh.creation.box(bounds=[CORNERS[0], CORNERS[-1]])
    return Mesh(np.asarray(box.vertices, np.float32), np.asarray(box.faces, np.int64))


def _quad(**more):
    return Mesh(np.eye(3, dtype=np.float32), np.array([[0, 1, 2]]), **more)


def test_display_colours_and_light_round_trip():
    values = np.linspace(0, 1, 1001, dtype=np.float32)
    np.testing.assert_allclose(linear_to_srgb(srgb_to_linear(values)), values, atol=2e-5)


def test_the_colour_curve_has_the_standards_values():
    np.testing.assert_allclose(
        srgb_to_linear(np.float32([0, 0.04045, 0.5, 1])), [0, 0.0031308, 0.2140411, 1], atol=1e-6
    )


def test_the_unit_cube_is_centred_and_keeps_proportions():
    fitted = _box().unit_cube()
    np.testing.assert_allclose(fitted.vertices.min(0), [-0.25, -0.5, -0.125], atol=1e-6)
    np.testing.assert_allclose(fitted.vertices.max(0), [0.25, 0.5, 0.125], atol=1e-6)


def test_parts_keep_their_places_in_the_unit_cube():
    box = _box()
    parts = unit_cube([box, box.replace(vertices=box.vertices + np.float32([4, 0, 0]))])
    np.testing.assert_allclose(parts[1].vertices - parts[0].vertices, np.tile([4 / 6, 0, 0], (8, 1)), atol=1e-6)


def test_a_single_point_does_not_divide_by_zero():
    flat = _box().replace(vertices=np.ones((8, 3), np.float32))
    assert (flat.unit_cube().vertices == 0).all()


def test_face_normals_of_a_box_point_outward_along_the_axes():
    box = _box()
    normals = box.face_normals()
    outward = box.vertices[box.faces].mean(1) - box.vertices.mean(0)
    assert (np.abs(normals).max(1) == 1).all() and ((normals * outward).sum(1) > 0).all()


def test_vertex_normals_of_a_sphere_are_its_points():
    import trimesh

    ball = trimesh.creation.icosphere(subdivisions=3)
    mesh = Mesh(np.asarray(ball.vertices, np.float32), np.asarray(ball.faces, np.int64))
    np.testing.assert_allclose(mesh.vertex_normals(), mesh.vertices, atol=0.02)


def test_a_face_without_area_has_no_normal():
    mesh = _quad().replace(vertices=np.zeros((3, 3), np.float32))
    assert (mesh.face_normals() == 0).all() and (mesh.vertex_normals() == 0).all()


def test_joined_meshes_keep_their_faces_and_colours():
    red = _quad(vertex_colours=np.tile(np.float32([1, 0, 0]), (3, 1)))
    both = concatenate([red, red])
    assert both.faces.tolist() == [[0, 1, 2], [3, 4, 5]] and both.vertex_colours.shape == (6, 3)
    assert concatenate([red, _quad()]).vertex_colours is None


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"faces": np.array([[0, 1, 3]])}, "faces must index the 3 vertices"),
        ({"vertices": np.zeros((3, 2), np.float32)}, r"vertices must be \(N, 3\)"),
        ({"uv": np.zeros((4, 2), np.float32)}, r"uv must be \(3, 2\), got \(4, 2\)"),
        ({"texture": np.zeros((2, 2, 3), np.float32)}, "texture needs uv"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(more, message):
    with pytest.raises(ValueError, match=message):
        _quad().replace(**more)
