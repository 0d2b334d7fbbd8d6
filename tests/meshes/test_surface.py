"""The surface of a known density."""

import numpy as np
import pytest

from zero123.meshes.mesh import Mesh, concatenate
from zero123.meshes.surface import extract_surface, is_watertight, keep_large_parts, volume

LOW, HIGH = np.array((-0.4, -0.5, -0.6), np.float32), np.array((0.8, 0.7, 0.6), np.float32)
CENTRE, RADIUS = np.array((0.2, 0.1, -0.05)), 0.4


def sphere_values(grid=40, centre=CENTRE, radius=RADIUS):
    axes = [low + (high - low) * (np.arange(grid) + 0.5) / grid for low, high in zip(LOW, HIGH, strict=True)]
    z, y, x = np.meshgrid(axes[2], axes[1], axes[0], indexing="ij")
    away = np.sqrt((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2)
    return (radius - away).astype(np.float32)


@pytest.fixture(scope="module")
def sphere():
    return extract_surface(sphere_values(), 0.0, LOW, HIGH)


def test_a_sphere_has_its_radius_and_centre_within_a_twentieth_of_a_voxel(sphere):
    voxel = 1.2 / 40
    away = np.linalg.norm(sphere.vertices - CENTRE, axis=1)
    assert np.abs(away - RADIUS).max() < voxel / 20
    assert np.abs((sphere.vertices.max(0) + sphere.vertices.min(0)) / 2 - CENTRE).max() < voxel / 20


def test_the_surface_is_closed_and_looks_outwards(sphere):
    assert is_watertight(sphere)
    assert volume(sphere) == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.01)
    assert (np.einsum("ij,ij->i", sphere.vertex_normals(), sphere.vertices - CENTRE) > 0).all()


def test_an_object_cut_by_the_box_is_closed_too():
    mesh = extract_surface(sphere_values(radius=0.62), 0.0, LOW, HIGH)
    assert is_watertight(mesh)
    assert (mesh.vertices >= LOW - 0.02).all()
    assert (mesh.vertices <= HIGH + 0.02).all()


def test_nothing_above_the_level_is_refused():
    with pytest.raises(ValueError, match="above the level"):
        extract_surface(sphere_values(), 9.0, LOW, HIGH)
    with pytest.raises(ValueError, match="finite"):
        extract_surface(np.full((4, 4, 4), np.nan, np.float32), 0.0, LOW, HIGH)


def test_specks_and_cavities_go_and_large_parts_stay(sphere):
    speck = extract_surface(sphere_values(centre=np.array((0.7, 0.6, 0.5)), radius=0.06), 0.0, LOW, HIGH)
    cavity = Mesh((CENTRE + (sphere.vertices - CENTRE) / 2).astype(np.float32), sphere.faces[:, ::-1].copy())
    second = sphere.replace(vertices=sphere.vertices + np.float32(2))
    kept = keep_large_parts(concatenate([speck, sphere, cavity, second]))
    assert len(kept.faces) == 2 * len(sphere.faces)
    assert volume(kept) == pytest.approx(2 * volume(sphere), rel=1e-4)


def test_the_surface_lies_where_the_level_is_whatever_the_level(sphere):
    inner = extract_surface(sphere_values(), 0.05, LOW, HIGH)
    away = np.linalg.norm(inner.vertices - CENTRE, axis=1)
    assert np.abs(away - (RADIUS - 0.05)).max() < 1.2 / 40 / 20


def test_an_open_mesh_and_a_flipped_face_are_not_watertight(sphere):
    assert not is_watertight(sphere.replace(faces=sphere.faces[1:]))
    flipped = sphere.faces.copy()
    flipped[0] = flipped[0, ::-1]
    assert not is_watertight(sphere.replace(faces=flipped))
