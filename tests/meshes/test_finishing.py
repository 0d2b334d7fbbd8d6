"""What finishing may and may not change: closed stays closed, edges stay edges, no more faces than asked."""

import numpy as np
import pytest
import trimesh

from zero123.meshes.finishing import clean, close_holes, decimate, smooth, smooth_keeping_edges
from zero123.meshes.mesh import Mesh
from zero123.meshes.surface import extract_surface, is_watertight, volume

LOW, HIGH, GRID = np.full(3, -0.6, np.float32), np.full(3, 0.6, np.float32), 40
VOXEL = 1.2 / GRID
RADIUS, HALF = 0.4, np.array((0.3, 0.22, 0.35))
TURN = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]


def from_the_ball(points):
    return np.linalg.norm(points, axis=-1) - RADIUS


def from_the_block(points):
    """Signed distance to a block that lies askew to the grid."""
    past = np.abs(points @ TURN) - HALF
    return np.linalg.norm(np.maximum(past, 0), axis=-1) + np.minimum(past.max(-1), 0)


def surface_of(distance, noise=0.0):
    axis = LOW[0] + 1.2 * (np.arange(GRID) + 0.5) / GRID
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    values = -distance(np.stack((x, y, z), axis=-1))
    values = values + noise * VOXEL * np.random.default_rng(0).normal(size=values.shape)
    return extract_surface(values.astype(np.float32), 0.0, LOW, HIGH)


@pytest.fixture(scope="module")
def sphere():
    return surface_of(from_the_ball)


@pytest.fixture(scope="module")
def block():
    return surface_of(from_the_block, noise=0.3)


def off(mesh, distance):
    """Root mean square distance of the vertices to the truth, voxels."""
    return np.sqrt((distance(mesh.vertices.astype(np.float64)) ** 2).mean()) / VOXEL


def turned(mesh):
    """Mean angle between the faces of a block and its nearest side, degrees."""
    return np.degrees(np.arccos(np.abs(mesh.face_normals() @ TURN).max(axis=1).clip(0, 1))).mean()


def torn(mesh, patches=((0,), range(40, 46), range(200, 230))):
    return mesh.replace(faces=np.delete(mesh.faces, [k for patch in patches for k in patch], axis=0))


@pytest.mark.parametrize("step", [smooth, smooth_keeping_edges])
def test_smoothing_keeps_the_volume_and_the_holes_closed(sphere, step):
    even = step(sphere)
    assert is_watertight(even)
    assert volume(even) == pytest.approx(volume(sphere), rel=0.002)
    assert off(even, from_the_ball) < 0.05
    assert np.array_equal(step(sphere, 0).vertices, sphere.vertices)


def test_smoothing_that_keeps_edges_is_nearer_to_a_noisy_block_than_taubins(block):
    rounded, kept = smooth(block), smooth_keeping_edges(block)
    assert off(kept, from_the_block) < off(rounded, from_the_block) < off(block, from_the_block)
    assert turned(kept) < 0.75 * turned(rounded)
    assert volume(kept) == pytest.approx(volume(block), rel=0.005)


def test_a_clear_edge_stays_where_it_is():
    box = trimesh.creation.box((0.6, 0.6, 0.6)).subdivide().subdivide().subdivide()
    mesh = Mesh(np.asarray(box.vertices, np.float32), np.asarray(box.faces, np.int64))
    moved = np.linalg.norm(smooth_keeping_edges(mesh, first=0).vertices - mesh.vertices, axis=1)
    assert moved.max() < 0.01
    assert np.linalg.norm(smooth(mesh).vertices - mesh.vertices, axis=1).max() > 0.03


def test_every_hole_is_closed_and_the_shape_hardly_changes(sphere):
    mended = close_holes(torn(sphere))
    assert is_watertight(mended)
    assert volume(mended) == pytest.approx(volume(sphere), rel=0.005)
    assert close_holes(sphere) is sphere


def test_holes_that_meet_in_a_point_are_closed_one_by_one():
    ball = trimesh.creation.icosphere(3, RADIUS)
    faces = np.asarray(ball.faces, np.int64)
    around = np.nonzero((faces == 0).any(axis=1))[0]
    mesh = Mesh(np.asarray(ball.vertices, np.float32), np.delete(faces, around[[0, 2]], axis=0))
    assert is_watertight(close_holes(mesh))


def test_a_sheet_folded_onto_itself_is_cut_out_and_closed(sphere):
    again, flat = sphere.faces[[10, 11, 700]], np.array([[5, 5, 9]])
    mended = close_holes(sphere.replace(faces=np.concatenate((sphere.faces, again, flat))))
    assert is_watertight(mended)
    assert volume(mended) == pytest.approx(volume(sphere), rel=0.005)


def test_a_rough_surface_is_decimated_to_its_number_of_faces_and_stays_closed():
    rough = surface_of(lambda p: from_the_ball(p) + 0.05 * np.sin(40 * p).prod(axis=-1), noise=1.2)
    for faces in (6000, 2000, 600):
        fewer = decimate(rough, faces)
        assert 0.9 * faces < len(fewer.faces) <= faces
        assert is_watertight(fewer)


def test_new_middles_have_the_colour_of_their_rim(sphere):
    colours = np.tile(np.float32((0.2, 0.4, 0.6)), (len(sphere.vertices), 1))
    mended = close_holes(torn(sphere.replace(vertex_colours=colours)))
    np.testing.assert_allclose(mended.vertex_colours, np.tile((0.2, 0.4, 0.6), (len(mended.vertices), 1)), atol=1e-6)
    with pytest.raises(ValueError, match="no texture"):
        close_holes(sphere.replace(uv=sphere.vertices[:, :2], texture=np.zeros((2, 2, 3), np.float32)))


@pytest.mark.parametrize("faces", [1000, 200, 100])
def test_decimation_gives_no_more_faces_than_asked_and_keeps_the_shape_closed(sphere, faces):
    fewer = decimate(sphere, faces)
    assert len(fewer.faces) <= faces
    assert is_watertight(fewer)
    if faces > 100:
        assert len(fewer.faces) > 0.9 * faces
        assert volume(fewer) == pytest.approx(volume(sphere), rel=0.03)


def test_decimation_leaves_small_meshes_alone_and_refuses_less_than_a_tetrahedron(sphere):
    assert decimate(sphere, 10**6) is sphere
    with pytest.raises(ValueError, match="at least 4"):
        decimate(sphere, 3)


def test_cleaning_leaves_one_closed_surface_of_few_faces(block):
    mesh = clean(block, 800)
    assert is_watertight(mesh)
    assert len(mesh.faces) <= 800
    # Another program agrees.
    other = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    assert other.is_watertight
    assert other.is_winding_consistent
    assert other.volume == pytest.approx(volume(mesh), rel=1e-5)


def test_smoothing_leaves_a_thin_rod_nearly_as_thick_as_it_was():
    """One voxel in radius; without taking the common drift back a seventh of it goes."""

    def from_a_rod(points):
        rod = points @ TURN
        return np.maximum(np.hypot(rod[..., 0], rod[..., 1]) - VOXEL, np.abs(rod[..., 2]) - 0.45)

    rod = surface_of(from_a_rod)
    assert volume(smooth_keeping_edges(rod)) > 0.89 * volume(rod)
