"""How far two surfaces are apart: points spread over them, Chamfer distances by name, F-scores; and how they face."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zero123.meshes.mesh import Mesh

Array = NDArray[np.float64]


class OneWay(NamedTuple):
    """What there is to say of each point of one surface and the nearest point of the other; distances in world units.

    Attributes:
        from_made: one per point of the surface to judge, (N,).
        from_truth: one per point of the true surface, (M,).
    """

    from_made: NDArray[Any]
    from_truth: NDArray[Any]


class Samples(NamedTuple):
    """Places on a surface.

    Attributes:
        points: world units, (N, 3).
        normals: unit, of the faces they lie on, (N, 3).
    """

    points: Array
    normals: Array


def surface_points(mesh: Mesh, count: int, seed: int = 0) -> Array:
    """The points of `surface_samples`."""
    return surface_samples(mesh, count, seed).points


def surface_samples(mesh: Mesh, count: int, seed: int = 0) -> Samples:
    """Points spread evenly by area over a mesh; same seed, same points.

    Raises:
        ValueError: the mesh has no area, or `count` is under 1.
    """
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    across_both = np.cross(b - a, c - a)
    area = np.linalg.norm(across_both, axis=-1) / 2
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    if not area.sum() > 0:
        raise ValueError(f"a surface with area is needed, got {len(mesh.faces)} faces without any")
    generator = np.random.default_rng(seed)
    face = generator.choice(len(area), size=count, p=area / area.sum())
    along, across = generator.random((2, count, 1))
    outside = along + across > 1  # the other half of the parallelogram, folded back
    along, across = np.where(outside, 1 - along, along), np.where(outside, 1 - across, across)
    points = a[face] + along * (b - a)[face] + across * (c - a)[face]
    return Samples(points, across_both[face] / (2 * area[face, None]))


def nearest(made: Array, truth: Array) -> tuple[OneWay, OneWay]:
    """Distances to the nearest points both ways between two sets, (N, 3) and (M, 3), and these points' numbers."""
    from scipy.spatial import cKDTree

    there, back = cKDTree(truth).query(made), cKDTree(made).query(truth)
    return OneWay(there[0], back[0]), OneWay(there[1], back[1])


def one_way_distances(made: Array, truth: Array) -> OneWay:
    """The distances of `nearest`."""
    return nearest(made, truth)[0]


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


def normal_consistency(made: Samples, truth: Samples, numbers: OneWay) -> float:
    """Mean absolute cosine between the normals at points and at the nearest points of the other surface, in [0, 1].

    The mean of both ways; 1/2 where normals have nothing to do with each other. Distances do not see a surface that is
    rough or pitted, this does. Mescheder et al., 2019, "Occupancy networks" (arXiv:1812.03828), section 4.

    Args:
        made: of the surface to judge.
        truth: of the true one.
        numbers: of the nearest points, from `nearest`.
    """
    there = np.abs((made.normals * truth.normals[numbers.from_made]).sum(-1)).mean()
    back = np.abs((truth.normals * made.normals[numbers.from_truth]).sum(-1)).mean()
    return float(there + back) / 2
