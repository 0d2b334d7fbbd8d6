"""The original's mesh of a field, vertex for vertex."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from zero123.fields.voxels import VoxelField
from zero123.reconstruction.original_mesh import mesh_as_original

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def golden():
    return np.load(GOLDEN / "rec_mesh.npz")


@pytest.fixture(scope="module")
def mesh():
    seed = int.from_bytes(hashlib.sha256(b"vox.density").digest()[:8], "little")
    noise = np.random.Generator(np.random.PCG64(seed)).standard_normal(size=8000, dtype=np.float32)
    field = VoxelField((20, 20, 20), channels=4, squash=False)
    g = (torch.arange(20, dtype=torch.float64) + 0.5) / 20 * 2 - 1
    bump = torch.exp(-((g / 0.55) ** 2 + (g[:, None] / 0.45) ** 2 + (g[:, None, None] / 0.65) ** 2))
    with torch.no_grad():
        field.density.copy_((6 * bump - 3).float() + 0.5 * torch.from_numpy(noise.reshape(1, 1, 20, 20, 20)))
        field.log_gain.fill_(0.25)
    return mesh_as_original(field)


def _area(vertices, faces):
    first, second = (vertices[faces[:, k]] - vertices[faces[:, 0]] for k in (1, 2))
    return np.linalg.norm(np.cross(first, second), axis=1).sum() / 2


def _volume(vertices, faces):
    return np.einsum("ij,ij", vertices[faces[:, 0]], np.cross(vertices[faces[:, 1]], vertices[faces[:, 2]])) / 6


def test_every_vertex_is_the_originals_and_the_surface_between_them(mesh, golden):
    assert (len(mesh.vertices), len(mesh.faces)) == (golden["n_vertices"], golden["n_faces"])
    upright = mesh.vertices[:, [0, 2, 1]] * [1, 1, -1]  # as meshes leave: +Y up
    theirs = golden["vertices"].astype(np.float64)
    away, number = cKDTree(theirs).query(upright)
    assert away.max() < 1e-6 and len(set(number)) == len(number)
    assert _area(upright, mesh.faces) == pytest.approx(_area(theirs, golden["faces"]), rel=1e-4)
    assert _volume(upright, mesh.faces) == pytest.approx(-_volume(theirs, golden["faces"]), rel=1e-4)
    assert _volume(upright, mesh.faces) > 0  # faces look outwards


def test_its_extent_is_the_originals(mesh, golden):
    upright = mesh.vertices[:, [0, 2, 1]] * [1, 1, -1]
    np.testing.assert_allclose(upright.min(0), golden["v_min_f64"], atol=1e-6)
    np.testing.assert_allclose(upright.max(0), golden["v_max_f64"], atol=1e-6)


def test_a_field_of_even_fog_has_no_surface():
    with pytest.raises(ValueError, match="denser than"):
        mesh_as_original(VoxelField((8, 8, 8)))
