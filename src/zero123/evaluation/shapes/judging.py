"""Every number of one mesh: its shape against the true one, and a turn around it against renders of the true one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from zero123.evaluation.consistency import view_consistency
from zero123.evaluation.metrics import psnr
from zero123.evaluation.shape_scores import Search, ShapeSettings, compare_shapes
from zero123.evaluation.shapes.makers import Made
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
        scores: `chamfer_mean`, ..., `f_score@T`, `normal_consistency`, `volume_iou` of the mesh as it faces, the same
            with `TURNED` before it after a rotation search, `turntable_iou`, `turntable_psnr`,
            `turntable_psnr_foreground`. No volume where the true mesh is not closed.
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


@dataclass(frozen=True)
class Turn:
    """A turn around a true mesh.

    Attributes:
        pictures: under the light of the object's views, straight alpha, (V, 4, S, S).
        outlines: its silhouettes as the rasteriser of the meshes to judge draws them, (V, 1, S, S), in [0, 1]; two
            renderers differ by up to half a pixel along every edge.
    """

    pictures: Tensor
    outlines: Tensor


def true_turn(truth: TrueShape, judging: ShapeJudging) -> Turn:
    """What the meshes of an object are compared with.

    Raises:
        ImportError: embreex is not installed; names the extra.
    """
    return Turn(truth.pictures(judging.camera), drawn_turn(truth.mesh, judging)[:, 3:])


def drawn_turn(mesh: Mesh, judging: ShapeJudging) -> Tensor:
    """A turn around a mesh, its colours as they are, straight alpha, (V, 4, S, S)."""
    camera = judging.camera
    return torch.stack([torch.from_numpy(draw_picture(mesh, camera[k])) for k in range(judging.views)])


def judge(mesh: Mesh, truth: TrueShape, turn: Turn, judging: ShapeJudging) -> Judged:
    """Judge a mesh; it and the true one are each normalised to the unit cube first, for the turn too.

    On the turn the mesh shows its colours as they are, since a texture that is made of a lit picture holds its light;
    the true one is lit as in the object's views.

    Args:
        mesh: in the object's world, see `in_true_world`.
        truth: what it should be.
        turn: around it, from `true_turn`.
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
    drawn = drawn_turn(mesh.unit_cube(), judging)
    return Judged(scores | turntable_scores(drawn, turn), drawn)


def turntable_scores(made: Tensor, truth: Turn) -> dict[str, float]:
    """Means over the pictures of a turn on white.

    Args:
        made: straight alpha, (V, 4, S, S).
        truth: of the same cameras.

    Returns:
        `turntable_iou` of silhouettes; `turntable_psnr` over all pixels, decibels; `turntable_psnr_foreground` over the
        true silhouette.
    """
    first, second = (composite(views, torch.ones(3)).clamp(0, 1) for views in (made, truth.pictures))
    return {
        "turntable_iou": float(outline_overlap(made[:, 3:], truth.outlines).mean()),
        "turntable_psnr": float(psnr(first, second).mean()),
        "turntable_psnr_foreground": float(psnr(first, second, truth.pictures[:, 3:] > 0.5).mean()),
    }


def agreement_of(made: Made) -> dict[str, float]:
    """`views_psnr`: how well the views that a mesh was made of agree along it, decibels; empty where there are none."""
    if made.views is None or made.poses is None:
        return {}
    camera = Camera.from_orbit(made.poses.to("cpu"), hw=(made.views.shape[-2], made.views.shape[-1]))
    value = view_consistency(made.views.cpu(), camera, made.mesh).psnr
    return {"views_psnr": value} if math.isfinite(value) else {}


def least_distance(truth: TrueShape, judging: ShapeJudging) -> float:
    """The Chamfer distance that the true mesh gets against itself, since its points are drawn twice."""
    few = replace(judging.shape, resolution=1, thresholds=())
    return compare_shapes(truth.mesh, truth.mesh, "none", few).scores["chamfer_mean"]
