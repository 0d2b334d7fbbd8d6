"""How far two surfaces are apart: points spread over them, Chamfer distances by name, F-scores."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zero123.meshes.mesh import Mesh

Array = NDArray[np.float64]


class OneWay(NamedTuple):
    """Distances from each point of one surface to the nearest point of the other, world units.

    Attributes:
        from_made: one per point of the surface to judge, (N,).
        from_truth: one per point of the true surface, (M,).
    """

    from_made: Array
    from_truth: Array


def surface_points(mesh: Mesh, count: int, seed: int = 0) -> Array:
    """Points spread evenly by area over a mesh, (count, 3), world units; same seed, same points.

    Raises:
        ValueError: the mesh has no area, or `count` is under 1.
    """
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    area = np.linalg.norm(np.cross(b - a, c - a), axis=-1) / 2
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    if not area.sum() > 0:
        raise ValueError(f"a surface with area is needed, got {len(mesh.faces)} faces without any")
    generator = np.random.default_rng(seed)
    face = generator.choice(len(area), size=count, p=area / area.sum())
    along, across = generator.random((2, count, 1))
    outside = along + across > 1  # the other half of the parallelogram, folded back
    along, across = np.where(outside, 1 - along, along), np.where(outside, 1 - across, across)
    return a[face] + along * (b - a)[face] + across * (c - a)[face]


def one_way_distances(made: Array, truth: Array) -> OneWay:
    """Nearest distances both ways between two sets of points, (N, 3) and (M, 3)."""
    from scipy.spatial import cKDTree

    return OneWay(cKDTree(truth).query(made)[0], cKDTree(made).query(truth)[0])


def chamfer(distances: OneWay) -> dict[str, float]:
    """The four distances that papers call Chamfer; they differ by far more than methods do.

    * `chamfer_mean`: mean of the two one-way mean distances. SyncDreamer, and those who use its code.
    * `chamfer_sum`: their sum, twice that.
    * `chamfer_squared_mean`, `chamfer_squared_sum`: the same of squared distances, square world units.
    """
    plain = float(distances.from_made.mean()) + float(distances.from_truth.mean())
    squared = float((distances.from_made**2).mean()) + float((distances.from_truth**2).mean())
    return {
        "chamfer_mean": plain / 2,
        "chamfer_sum": plain,
        "chamfer_squared_mean": squared / 2,
        "chamfer_squared_sum": squared,
    }


def f_score(distances: OneWay, threshold: float) -> float:
    """Harmonic mean of precision and recall, in [0, 1]: shares of points with the other surface within `threshold`.

    Knapitsch et al., 2017, "Tanks and temples: benchmarking large-scale scene reconstruction".
    """
    precision = float((distances.from_made < threshold).mean())
    recall = float((distances.from_truth < threshold).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
