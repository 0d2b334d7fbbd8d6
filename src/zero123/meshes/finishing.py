"""From a raw surface to one an artist keeps: holes closed, smoothed without rounding edges, fewer triangles."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zero123.meshes.mesh import Mesh, linked
from zero123.meshes.surface import is_watertight, keep_large_parts, without_unused

_COMMON = 6
"""Rounds of averaging over neighbours by which it is found what they have moved in common."""


def clean(mesh: Mesh, faces: int, share: float = 0.02, rounds: int = 20) -> Mesh:
    """Large parts only, without holes, smoothed along edges, with at most `faces` triangles."""
    whole = close_holes(keep_large_parts(mesh, share))
    return decimate(smooth_keeping_edges(whole, rounds), faces)


def smooth(mesh: Mesh, rounds: int = 10, inwards: float = 0.5, outwards: float = -0.53) -> Mesh:
    """Smoother vertices at the same volume: a step towards the neighbours' mean, then a slightly longer one away.

    Taubin, 1995, "A signal processing approach to fair surface design", with uniform weights. Edges are rounded.

    Args:
        mesh: any mesh.
        rounds: number of pairs of steps; 0 changes nothing.
        inwards: share of the way to the mean, in (0, 1).
        outwards: the second step's, negative and longer.
    """
    links, degree = linked(mesh.faces, len(mesh.vertices))
    vertices = mesh.vertices.astype(np.float64)
    for _ in range(rounds):
        for share in (inwards, outwards):
            vertices = vertices + share * (links @ vertices / degree - vertices)
    return mesh.replace(vertices=vertices.astype(np.float32), normals=None)


def smooth_keeping_edges(mesh: Mesh, rounds: int = 20, turn: float = 0.25, first: int = 2) -> Mesh:
    """Even sides, clear edges: normals are averaged over neighbours that look the same way, and vertices follow them.

    Bilateral normal filtering (Zheng et al., 2011, "Bilateral normal filtering for mesh denoising", the local scheme)
    and the vertex update of Sun et al., 2007, "Fast and effective feature-preserving mesh denoising", equation 12. Each
    of its rounds draws a curved surface inwards, by which thin rods would go; what vertices and their neighbours have
    moved in common is taken back in the end (Vollmer et al., 1999, "Improved Laplacian smoothing of noisy surface
    meshes", section 3).

    Args:
        mesh: any mesh.
        rounds: of the normals, and as many of the vertices; 0 changes nothing.
        turn: difference of two unit normals (length of the difference) at which a neighbour counts for 60 %; edges
            that turn by much more stay.
        first: rounds of `smooth` before, which take off the steps of the grid that would pass for edges.
    """
    if not rounds or not len(mesh.faces):
        return mesh
    even = smooth(mesh, first)
    vertices, faces = even.vertices.astype(np.float64), mesh.faces
    near, touching = _face_neighbours(faces, len(vertices))
    normals, area, middle = _faces_of(vertices, faces)
    away = np.linalg.norm(middle[near[0]] - middle[near[1]], axis=1)
    weight = area[near[1]] * np.exp(-((away / max(float(away.mean()), 1e-12)) ** 2) / 2)
    for _ in range(rounds):
        alike = np.exp(-((normals[near[0]] - normals[near[1]]) ** 2).sum(axis=1) / (2 * turn**2))
        normals = _unit(_summed(near, weight * alike, len(faces)) @ normals + area[:, None] * normals)
    faces_around = np.maximum(np.asarray(touching.sum(axis=1)), 1)
    for _ in range(rounds):
        middle = vertices[faces].mean(axis=1)
        # Each vertex moves by the mean, over its faces, of its height below the face's wanted plane.
        offset = np.einsum("ij,ij->i", normals, middle)
        along = touching @ (normals * offset[:, None])
        outer = touching @ (normals[:, :, None] * normals[:, None]).reshape(-1, 9)
        vertices = vertices + (along - np.einsum("nij,nj->ni", outer.reshape(-1, 3, 3), vertices)) / faces_around
    drift, (links, degree) = vertices - mesh.vertices, linked(faces, len(vertices))
    for _ in range(_COMMON):
        drift = (drift + links @ drift) / (degree + 1)
    return mesh.replace(vertices=(vertices - drift).astype(np.float32), normals=None)


def close_holes(mesh: Mesh) -> Mesh:
    """A closed mesh: every hole is covered by a triangle over three edges, else by a fan around the middle of its rim.

    Faces that share an edge in the same direction, as where a sheet is folded onto itself, are taken away first. A rim
    that meets itself in a point is closed piece by piece. Colours and normals of the new middles are the rim's
    mean. A closed mesh is returned as it is.

    Raises:
        ValueError: the mesh has a texture, of which the new faces would have no part.
    """
    if mesh.texture is not None:
        raise ValueError("mesh must have no texture while its holes are closed; bake it afterwards")
    if is_watertight(mesh):
        return mesh
    mesh = _without_shared_edges(mesh)
    rims = _rims(mesh)
    faces = [mesh.faces]
    count, carried = len(mesh.vertices), ("vertices", "vertex_colours", "normals")
    added: dict[str, list[Any]] = {name: [] for name in carried if getattr(mesh, name) is not None}
    for rim in rims:
        # The new faces run along the rim against the faces that are there.
        if len(rim) == 3:
            faces.append(np.array([rim[::-1]]))
            continue
        ends = np.roll(rim, -1)
        faces.append(np.stack((ends, rim, np.full_like(rim, count)), axis=1))
        for name, values in added.items():
            values.append(getattr(mesh, name)[rim].mean(axis=0))
        count += 1
    grown = {
        name: np.concatenate((getattr(mesh, name), np.asarray(values, np.float32).reshape(-1, 3)))
        for name, values in added.items()
    }
    return mesh.replace(faces=np.concatenate(faces), uv=None, **grown)


def decimate(mesh: Mesh, faces: int) -> Mesh:
    """At most `faces` triangles by quadric error (Garland and Heckbert, 1997); colours are dropped.

    Below a hundred or so some more may be left: then no edge can go without folding the surface.
    The fast routine may fold a closed mesh onto itself; then it is asked to take more care, and what is folded even
    so is cut out and closed.
    """
    if faces < 4:
        raise ValueError(f"faces must be at least 4, got {faces}")
    if len(mesh.faces) <= faces:
        return mesh
    for hurry in (5, 3):
        fewer = _collapsed(mesh, faces, hurry)
        if len(fewer.faces) <= faces and is_watertight(fewer):
            return fewer
    if not is_watertight(mesh):
        return _collapsed(mesh, faces, 5)
    spare = 0
    for hurry in (3, 5, 7, 7, 7):
        fewer = without_unused(close_holes(_collapsed(mesh, faces - spare, hurry)))
        excess = len(fewer.faces) - faces
        if excess <= 0:
            break
        if excess < faces // 10:
            spare += excess  # what closing has added
    return fewer


def _collapsed(mesh: Mesh, faces: int, hurry: int) -> Mesh:
    import fast_simplification

    points, triangles = fast_simplification.simplify(
        mesh.vertices.astype(np.float32), mesh.faces.astype(np.int32), target_count=faces, agg=hurry
    )
    fewer = without_unused(Mesh(np.asarray(points, np.float32), np.asarray(triangles, np.int64)))
    return _without_spikes(fewer, mesh)


def _without_spikes(fewer: Mesh, original: Mesh) -> Mesh:
    """Vertices that decimation threw far off the surface, put back on it.

    On flat ground the quadric has no clear minimum, and single precision may find it anywhere.
    """
    from scipy.spatial import cKDTree

    away, nearest = cKDTree(original.vertices).query(fewer.vertices)
    a, b = fewer.vertices[fewer.faces[:, 0]], fewer.vertices[fewer.faces[:, 1]]
    spike = (away > np.median(np.linalg.norm(a - b, axis=-1)))[:, None]
    return fewer.replace(vertices=np.where(spike, original.vertices[nearest], fewer.vertices))


def _without_shared_edges(mesh: Mesh) -> Mesh:
    """The mesh without faces of fewer than three corners and without those that run along one edge the same way."""
    a, b, c = mesh.faces.T
    mesh = mesh.replace(faces=mesh.faces[(a != b) & (b != c) & (c != a)])
    edges = mesh.faces * len(mesh.vertices) + np.roll(mesh.faces, -1, axis=1)
    _, which, times = np.unique(edges.reshape(-1), return_inverse=True, return_counts=True)
    return mesh.replace(faces=mesh.faces[(times[which].reshape(-1, 3) == 1).all(axis=1)])


def _rims(mesh: Mesh) -> list[NDArray[np.int64]]:
    """The closed walks along edges that have a face on one side only, in the direction of those faces."""
    starts, ends = mesh.faces.reshape(-1), np.roll(mesh.faces, -1, axis=1).reshape(-1)
    count = len(mesh.vertices)
    open_ = ~np.isin(starts * count + ends, ends * count + starts)
    onward: dict[int, list[int]] = {}
    for start, end in zip(starts[open_].tolist(), ends[open_].tolist(), strict=True):
        onward.setdefault(start, []).append(end)
    rims = []
    for first in list(onward):
        while onward[first]:
            rims += _walk(first, onward)
    return rims


def _walk(first: int, onward: dict[int, list[int]]) -> list[NDArray[np.int64]]:
    """The rims met on one walk; each edge is used up. Where the walk crosses itself, a rim of its own is cut off."""
    rims, path, place = [], [first], {first: 0}
    while onward.get(path[-1]):
        vertex = onward[path[-1]].pop()
        if vertex not in place:
            place[vertex] = len(path)
            path.append(vertex)
            continue
        rim = path[place[vertex] :]
        path = path[: place[vertex] + 1]
        for passed in rim[1:]:
            del place[passed]
        rims.append(np.array(rim))
    return rims


def _face_neighbours(faces: NDArray[np.int64], count: int) -> tuple[NDArray[np.int64], Any]:
    """Pairs of different faces that share a vertex, (2, P), and which faces touch each vertex, sparse (N, F)."""
    from scipy.sparse import coo_matrix

    corners = faces.reshape(-1)
    owner = np.repeat(np.arange(len(faces)), 3)
    touching = coo_matrix((np.ones(len(corners)), (corners, owner)), shape=(count, len(faces))).tocsr()
    pairs = np.stack((touching.T @ touching).nonzero()).astype(np.int64)
    return pairs[:, pairs[0] != pairs[1]], touching


def _summed(pairs: NDArray[np.int64], weights: NDArray[np.float64], count: int) -> Any:
    from scipy.sparse import csr_matrix

    return csr_matrix((weights, (pairs[0], pairs[1])), shape=(count, count))


def _faces_of(
    vertices: NDArray[np.float64], faces: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Unit normals (F, 3), areas (F,) and middles (F, 3)."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    cross = np.cross(b - a, c - a)
    return _unit(cross), np.linalg.norm(cross, axis=1) / 2, (a + b + c) / 3


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)
