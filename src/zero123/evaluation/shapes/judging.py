"""Every number of one mesh: its shape against the true one, and a turn around it against renders of the true one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from zero123.evaluation.metrics import psnr
from zero123.evaluation.shape_scores import Search, ShapeSettings, compare_shapes
from zero123.evaluation.shapes.truth import TrueShape, outline_overlap
from zero123.geometry.camera import Camera
from zero123.geometry.paths import turntable
from zero123.images.alpha import composite
from zero123.meshes.mesh import Mesh
from zero123.meshes.raster import draw_picture

TURNED = "turned_"
"""What the names of scores after a rotation search begin with."""


@dataclass(frozen=True)
class ShapeJudging:
    """How a mesh is judged.

    Attributes:
        shape: points, thresholds and cells.
        search: rotations of the second set of figures; "none" leaves it out.
        views: pictures on the turn.
        elevation_deg: of its cameras, at the usual distance.
        size: side of its pictures, pixels.
    """

    shape: ShapeSettings = field(default_factory=ShapeSettings)
    search: Search = "full"
    views: int = 12
    elevation_deg: float = 20.0
    size: int = 128

    @property
    def camera(self) -> Camera:
        """The cameras of the turn, (views,)."""
        return Camera.from_orbit(turntable(self.views, math.radians(self.elevation_deg)), hw=(self.size, self.size))


@dataclass(frozen=True)
class Judged:
    """What came out.

    Attributes:
        scores: `chamfer_mean`, ..., `f_score@T`, `volume_iou` of the mesh as it faces, the same with `TURNED` before it
            after a rotation search, `turntable_iou`, `turntable_psnr`, `turntable_psnr_foreground`. No volume where the
            true mesh is not closed.
        pictures: the turn around the mesh, straight alpha, (V, 4, S, S).
    """

    scores: dict[str, float]
    pictures: Tensor


def in_true_world(mesh: Mesh, azimuth: float) -> Mesh:
    """A mesh from the world of a photo, whose camera is at azimuth 0, in the object's own, where it is `azimuth`."""
    cos, sin = math.cos(azimuth), math.sin(azimuth)
    turn = np.array(((cos, sin, 0), (-sin, cos, 0), (0, 0, 1)), np.float32)  # rows are points, so transposed
    normals = None if mesh.normals is None else (mesh.normals @ turn).astype(np.float32)
    return mesh.replace(vertices=(mesh.vertices @ turn).astype(np.float32), normals=normals)


def judge(mesh: Mesh, truth: TrueShape, pictures: Tensor, judging: ShapeJudging) -> Judged:
    """Judge a mesh; it and the true one are each normalised to the unit cube first, for the turn too.

    On the turn the mesh shows its colours as they are, since a texture that is made of a lit picture holds its light;
    the true one is lit as in the object's views.

    Args:
        mesh: in the object's world, see `in_true_world`.
        truth: what it should be.
        pictures: of the true mesh, from `judging.camera`, straight alpha, (V, 4, S, S).
        judging: how.

    Raises:
        ValueError: the mesh has no area.
    """
    scores = compare_shapes(mesh, truth.mesh, "none", judging.shape).scores
    if judging.search != "none":
        after = compare_shapes(mesh, truth.mesh, judging.search, judging.shape).scores
        scores |= {TURNED + name: value for name, value in after.items()}
    if not truth.closed:
        scores = {name: value for name, value in scores.items() if not name.endswith("volume_iou")}
    camera, whole = judging.camera, mesh.unit_cube()
    drawn = torch.stack([torch.from_numpy(draw_picture(whole, camera[k])) for k in range(judging.views)])
    return Judged(scores | turntable_scores(drawn, pictures), drawn)


def turntable_scores(made: Tensor, truth: Tensor) -> dict[str, float]:
    """Means over the pictures of a turn, straight alpha, (V, 4, S, S) each, on white.

    Returns:
        `turntable_iou` of silhouettes; `turntable_psnr` over all pixels, decibels; `turntable_psnr_foreground` over the
        true silhouette.
    """
    first, second = (composite(views, torch.ones(3)).clamp(0, 1) for views in (made, truth))
    return {
        "turntable_iou": float(outline_overlap(made[:, 3:], truth[:, 3:]).mean()),
        "turntable_psnr": float(psnr(first, second).mean()),
        "turntable_psnr_foreground": float(psnr(first, second, truth[:, 3:] > 0.5).mean()),
    }


def least_distance(truth: TrueShape, judging: ShapeJudging) -> float:
    """The Chamfer distance that the true mesh gets against itself, since its points are drawn twice."""
    few = replace(judging.shape, resolution=1, thresholds=())
    return compare_shapes(truth.mesh, truth.mesh, "none", few).scores["chamfer_mean"]
