"""How near a mesh is to the true one: every 3D metric after one fixed normalisation, with and without rotation search.

The normalisation: each mesh is moved and scaled so that its bounding box is centred at the origin with longest side 1.
It is done for both on their own, after any rotation. Distances and thresholds are in these units: where a paper
normalises to [-1, 1]³, halve its distances and thresholds first (InstantMesh's F-score at 0.2 is ours at 0.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from zero123.evaluation.rotation_search import best_rotation
from zero123.evaluation.surface_distance import (
    Array,
    chamfer,
    f_score,
    nearest,
    normal_consistency,
    surface_samples,
)
from zero123.evaluation.volume import volume_iou
from zero123.meshes.mesh import Mesh

Search = Literal["none", "vertical", "full"]


@dataclass(frozen=True)
class ShapeSettings:
    """How meshes are compared.

    Attributes:
        points: on each surface; with 100,000 two samplings of one surface of area 6 are 0.004 apart, the least Chamfer
            distance that can be measured. EscherNet takes 4,096, SPAR3D 10,000, InstantMesh 16,000.
        thresholds: of the F-scores, in the unit cube; well above the least distance.
        resolution: cells along each side for the volumes, 64 as SyncDreamer and EscherNet have it.
        seed: of the points.
    """

    points: int = 100_000
    thresholds: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1, 0.2)
    resolution: int = 64
    seed: int = 0


@dataclass(frozen=True)
class ShapeScores:
    """How near a mesh is to the true one.

    Attributes:
        scores: `chamfer_mean`, `chamfer_sum`, `chamfer_squared_mean`, `chamfer_squared_sum`, `f_score@T` for each
            threshold, `normal_consistency`, `volume_iou`.
        rotation: done before normalising, (3, 3).
    """

    scores: dict[str, float]
    rotation: Array


def compare_shapes(
    made: Mesh, truth: Mesh, search: Search = "none", settings: ShapeSettings | None = None
) -> ShapeScores:
    """Scores of a mesh against the true one.

    The points on the two surfaces are drawn apart, so a mesh compared with itself gets the least distance that can be
    measured and not 0: print `compare_shapes(truth, truth)` beside results.

    Args:
        made: to judge; world frame, z up.
        truth: what it should be.
        search: "none" takes the mesh as it faces; "vertical" and "full" first turn it for the best fit, see
            `best_rotation`. Never print figures with and without search in one column.
        settings: None for the defaults.

    Raises:
        ValueError: a mesh has no area, or another `search`.
    """
    if search not in ("none", "vertical", "full"):
        raise ValueError(f"search must be 'none', 'vertical' or 'full', got {search!r}")
    settings = settings or ShapeSettings()
    made, truth = _used(made, "made"), _used(truth, "truth").unit_cube()
    rotation = np.eye(3) if search == "none" else best_rotation(made, truth, search, settings.seed)
    turned = made.replace(vertices=(made.vertices @ rotation.T).astype(np.float32)).unit_cube()
    own, other = (surface_samples(m, settings.points, settings.seed + k) for k, m in enumerate((turned, truth)))
    distances, numbers = nearest(own.points, other.points)
    scores = chamfer(distances)
    scores |= {f"f_score@{t:g}": f_score(distances, t) for t in settings.thresholds}
    scores["normal_consistency"] = normal_consistency(own, other, numbers)
    scores["volume_iou"] = volume_iou(turned, truth, settings.resolution)
    return ShapeScores(scores, rotation)


def _used(mesh: Mesh, name: str) -> Mesh:
    """The bare shape, without vertices that no face uses: they would count in the bounding box."""
    if not len(mesh.faces):
        raise ValueError(f"{name} must have faces, got a mesh without any")
    used, faces = np.unique(mesh.faces, return_inverse=True)
    return Mesh(mesh.vertices[used], faces.reshape(mesh.faces.shape).astype(np.int64))
