"""From a density grid to a closed surface: marching cubes in world scale, its volume, its parts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from zero123.meshes.mesh import Mesh, welded


def extract_surface(
    values: NDArray[np.float32], level: float, low: NDArray[np.float32], high: NDArray[np.float32]
) -> Mesh:
    """The closed surface around all cells above a level (marching cubes; Lorensen and Cline, 1987).

    Args:
        values: (Z, Y, X), each the value in the middle of its cell.
        level: value on the surface.
        low: lowest corner of the grid's box (x, y, z), world units; half a cell below the first value.
        high: highest corner.

    Returns:
        A mesh in the world, faces counter-clockwise from outside; closed even where the object touches the box.

    Raises:
        ValueError: nothing, or a value that is not a number, lies above the level.
    """
    from skimage.measure import marching_cubes

    if not np.isfinite(values).all():
        raise ValueError("values must be finite, got NaN or infinity")
    if values.ndim != 3 or not (values > level).any():
        raise ValueError(f"values must be (Z, Y, X) with some above the level {level}, got {values.shape}")
    # A rim just as far below the level as the object is above it closes the surface at the box.
    rim = min(float(values.min()), 2 * level - float(values.max()))
    padded = np.pad(values, 1, constant_values=rim)
    points, faces, _, _ = marching_cubes(padded, level, gradient_direction="descent", allow_degenerate=False)
    cell = (np.asarray(high) - np.asarray(low)) / np.array(values.shape[::-1])
    # Index 1 of the padded grid is the first cell, whose middle is half a cell above the lowest corner.
    vertices = (points[:, ::-1] - 0.5) * cell + np.asarray(low)
    return Mesh(vertices.astype(np.float32), faces.astype(np.int64))


def volume(mesh: Mesh) -> float:
    """Volume enclosed by a closed mesh, cubic world units; positive when faces look outwards."""
    return float(_signed_volumes(mesh).sum())


def is_watertight(mesh: Mesh) -> bool:
    """Whether every edge has exactly two faces that run along it in opposite directions; a texture's cuts are none."""
    if mesh.uv is not None:
        mesh = welded(mesh)[0]
    starts = mesh.faces.reshape(-1)
    ends = np.roll(mesh.faces, -1, axis=1).reshape(-1)
    count = len(mesh.vertices)
    ahead, back = np.sort(starts * count + ends), np.sort(ends * count + starts)
    return len(mesh.faces) > 0 and bool((ahead == back).all() and (np.diff(ahead) > 0).all())


def parts(mesh: Mesh) -> NDArray[np.int64]:
    """For each face the number of the connected part that it belongs to, (F,)."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    a, b, c = mesh.faces.T
    pairs = (np.concatenate((a, b)), np.concatenate((b, c)))
    links = coo_matrix((np.ones(len(pairs[0]), bool), pairs), shape=(len(mesh.vertices),) * 2)
    return connected_components(links, directed=False)[1][a].astype(np.int64)


def keep_large_parts(mesh: Mesh, share: float = 0.02) -> Mesh:
    """The outer surfaces with at least `share` of the largest part's volume; specks and cavities are dropped."""
    part = parts(mesh)
    sizes = np.bincount(part, _signed_volumes(mesh))
    return without_unused(mesh.replace(faces=mesh.faces[(sizes >= share * sizes.max())[part]]))


def without_unused(mesh: Mesh) -> Mesh:
    """The mesh without vertices that no face uses."""
    used, faces = np.unique(mesh.faces, return_inverse=True)
    kept = {
        name: None if values is None else values[used]
        for name, values in (("vertex_colours", mesh.vertex_colours), ("uv", mesh.uv), ("normals", mesh.normals))
    }
    return mesh.replace(vertices=mesh.vertices[used], faces=faces.reshape(-1, 3).astype(np.int64), **kept)


def _signed_volumes(mesh: Mesh) -> NDArray[np.float64]:
    """Volumes of the tetrahedra between each face and the origin, (F,); over a closed part they add up to its own."""
    a, b, c = (mesh.vertices[mesh.faces[:, k]].astype(np.float64) for k in range(3))
    return np.einsum("ij,ij->i", a, np.cross(b, c)) / 6
