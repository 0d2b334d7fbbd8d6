"""From a density grid to a clean surface: marching cubes in world scale, largest parts, smoothing, fewer triangles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from zero123.meshes.mesh import Mesh


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
    a, b, c = (mesh.vertices[mesh.faces[:, k]].astype(np.float64) for k in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


def is_watertight(mesh: Mesh) -> bool:
    """Whether every edge has exactly two faces that run along it in opposite directions."""
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
    sizes = np.array([volume(_faces_only(mesh, part == k)) if k in part else 0.0 for k in range(part.max() + 1)])
    return _without_unused(_faces_only(mesh, (sizes >= share * sizes.max())[part]))


def smooth(mesh: Mesh, rounds: int = 10, inwards: float = 0.5, outwards: float = -0.53) -> Mesh:
    """Smoother vertices at the same volume: a step towards the neighbours' mean, then a slightly longer one away.

    Taubin, 1995, "A signal processing approach to fair surface design", with uniform weights.

    Args:
        mesh: any mesh.
        rounds: number of pairs of steps; 0 changes nothing.
        inwards: share of the way to the mean, in (0, 1).
        outwards: the second step's, negative and longer.
    """
    from scipy.sparse import coo_matrix

    count = len(mesh.vertices)
    a, b, c = mesh.faces.T
    rows, columns = np.concatenate((a, b, b, c, c, a)), np.concatenate((b, a, c, b, a, c))
    links = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(count, count)).tocsr()
    links.data[:] = 1.0
    degree = np.maximum(np.asarray(links.sum(axis=1)), 1)
    vertices = mesh.vertices.astype(np.float64)
    for _ in range(rounds):
        for share in (inwards, outwards):
            vertices = vertices + share * (links @ vertices / degree - vertices)
    return mesh.replace(vertices=vertices.astype(np.float32), normals=None)


def decimate(mesh: Mesh, faces: int) -> Mesh:
    """At most about `faces` triangles by quadric error (Garland and Heckbert, 1997); colours are dropped.

    The fast routine may tear a closed mesh where it hurries; then it is asked to take more care, and only if that is
    in vain too a mesh with small tears comes back.
    """
    import fast_simplification

    if faces < 4:
        raise ValueError(f"faces must be at least 4, got {faces}")
    if len(mesh.faces) <= faces:
        return mesh
    for hurry in (5, 3, 1):
        points, triangles = fast_simplification.simplify(
            mesh.vertices.astype(np.float32), mesh.faces.astype(np.int32), target_count=faces, agg=hurry
        )
        fewer = _without_unused(Mesh(np.asarray(points, np.float32), np.asarray(triangles, np.int64)))
        fewer = _without_spikes(fewer, mesh)
        if is_watertight(fewer):
            break
    return fewer


def _without_spikes(fewer: Mesh, original: Mesh) -> Mesh:
    """Vertices that decimation threw far off the surface, put back on it.

    On flat ground the quadric has no clear minimum, and single precision may find it anywhere.
    """
    from scipy.spatial import cKDTree

    away, nearest = cKDTree(original.vertices).query(fewer.vertices)
    a, b = fewer.vertices[fewer.faces[:, 0]], fewer.vertices[fewer.faces[:, 1]]
    spike = (away > np.median(np.linalg.norm(a - b, axis=-1)))[:, None]
    return fewer.replace(vertices=np.where(spike, original.vertices[nearest], fewer.vertices))


def clean(mesh: Mesh, faces: int, share: float = 0.02, rounds: int = 10) -> Mesh:
    """Large parts only, smoothed, with at most about `faces` triangles."""
    return decimate(smooth(keep_large_parts(mesh, share), rounds), faces)


def _faces_only(mesh: Mesh, chosen: NDArray[np.bool_]) -> Mesh:
    return mesh.replace(faces=mesh.faces[chosen])


def _without_unused(mesh: Mesh) -> Mesh:
    """The mesh without vertices that no face uses."""
    used, faces = np.unique(mesh.faces, return_inverse=True)
    kept = {
        name: None if values is None else values[used]
        for name, values in (("vertex_colours", mesh.vertex_colours), ("uv", mesh.uv), ("normals", mesh.normals))
    }
    return mesh.replace(vertices=mesh.vertices[used], faces=faces.reshape(-1, 3).astype(np.int64), **kept)
