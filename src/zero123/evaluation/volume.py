"""Which cells of a grid lie inside a mesh, and how much two meshes' volumes overlap."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zero123.meshes.mesh import Mesh

_NUDGE = np.array([1.4142, 1.7321]) * 1e-6
"""Lines are moved by this share of a cell, so that on neat meshes none runs exactly along an edge."""

_BATCH = 4_000_000
"""Pairs of face and line looked at together: about 500 MB of temporaries."""


def occupancy(mesh: Mesh, resolution: int = 64) -> NDArray[np.bool_]:
    """Which cells of the unit cube around the origin have their middle inside the mesh, (X, Y, Z).

    Lines along an axis count the faces they cross, up and down; a cell is inside where the count above it is not 0 (the
    winding number), so parts may overlap. On closed meshes all three axes agree; on surfaces with holes the majority of
    the three decides. Outside the cube nothing is seen.

    Args:
        mesh: faces all wound outwards or all inwards.
        resolution: cells along each side.

    Raises:
        ValueError: `resolution` is under 1.
    """
    if resolution < 1:
        raise ValueError(f"resolution must be at least 1, got {resolution}")
    votes = np.zeros((resolution,) * 3, np.int64)
    for axis in range(3):
        order = [(axis + 1) % 3, (axis + 2) % 3, axis]  # a rotation of the axes, so that windings stay
        inside = _winding(mesh.vertices[:, order].astype(np.float64), mesh.faces, resolution) != 0
        votes += inside.transpose(np.argsort(order))
    return votes >= 2


def volume_iou(made: Mesh, truth: Mesh, resolution: int = 64) -> float:
    """Volume of both over volume of either, in [0, 1], in the unit cube around the origin; 0 where both are empty."""
    first, second = occupancy(made, resolution), occupancy(truth, resolution)
    either = int((first | second).sum())
    return int((first & second).sum()) / either if either else 0.0


def _winding(vertices: NDArray[np.float64], faces: NDArray[np.int64], resolution: int) -> NDArray[np.int64]:
    """Winding number of each cell's middle by lines along z, (X, Y, Z)."""
    corner = (vertices[faces] + 0.5) * resolution - 0.5  # cell k has its middle at k
    corner[..., :2] -= _NUDGE
    flat = corner[..., :2]
    low = np.clip(np.ceil(flat.min(1)), 0, resolution).astype(np.int64)
    high = np.clip(np.floor(flat.max(1)) + 1, 0, resolution).astype(np.int64)
    sides = np.maximum(high - low, 0)
    steps = np.zeros((resolution, resolution, resolution + 1), np.int64)
    touched = np.nonzero(sides.prod(1))[0]
    ends = np.cumsum(sides[touched].prod(1))
    cuts: Any = np.searchsorted(ends, np.arange(_BATCH, ends[-1], _BATCH)) if len(ends) else []
    for part in np.split(touched, cuts):
        _add_crossings(part, corner, low, sides, steps)
    # steps[k] holds crossings between the middles of cells k - 1 and k; a cell counts those above it.
    return np.flip(np.cumsum(np.flip(steps, 2), 2), 2)[..., 1:]


def _add_crossings(
    faces: NDArray[np.int64],
    corner: NDArray[np.float64],
    low: NDArray[np.int64],
    sides: NDArray[np.int64],
    steps: NDArray[np.int64],
) -> None:
    """Add to `steps` +1 or -1 where a line crosses one of the faces, by the side it comes from."""
    area = sides[faces].prod(1)
    face = np.repeat(faces, area)
    place = np.arange(len(face)) - np.repeat(np.cumsum(area) - area, area)
    x = low[face, 0] + place % np.maximum(sides[face, 0], 1)
    y = low[face, 1] + place // np.maximum(sides[face, 0], 1)
    a, b, c = (corner[face, k, :2] - np.stack((x, y), axis=-1) for k in range(3))
    weights = np.stack((_cross(b, c), _cross(c, a), _cross(a, b)), axis=-1)
    total = weights.sum(1)
    hit = (total != 0) & (weights * np.sign(total)[:, None] >= 0).all(1)
    height = (weights[hit] * corner[face[hit], :, 2]).sum(1) / total[hit]
    level = np.clip(np.ceil(height), 0, steps.shape[2] - 1).astype(np.int64)
    np.add.at(steps, (x[hit], y[hit], level), np.sign(total[hit]).astype(np.int64))


def _cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
