"""Whether a method's views agree with each other: a solid is reconstructed from them, and they are warped along it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from zero123.evaluation.cases import Case
from zero123.evaluation.consistency import Consistency, view_consistency
from zero123.evaluation.scoring import at_size
from zero123.geometry.camera import Camera
from zero123.meshes.mesh import Mesh
from zero123.meshes.surface import extract_surface
from zero123.reconstruction.hull import HullSettings, silhouettes, voted_hull

_HULL = HullSettings(shift=0.0, rounds=1)
"""Views stay where they were asked for: one that is out of place does not agree."""

_LEVEL = 0.95
"""Share of the votes on the solid's surface: all views but a soft edge's worth, which rounding must not carve."""


@dataclass(frozen=True)
class Agreement:
    """Agreement of an object's views, and of the true ones, which shiny surfaces keep from being perfect.

    Attributes:
        psnr: of the method's views and the input, decibels; nan where they share no solid.
        coverage: share of their object pixels that could be compared.
        truth: of the true views, decibels.
    """

    psnr: float
    coverage: float
    truth: float


def agreement(case: Case, views: Tensor) -> Agreement:
    """Agreement of the first samples and the input.

    Args:
        case: input, true views and cameras.
        views: pictures on white, (T, K, 3, S, S) in [0, 1].
    """
    first = at_size(views[:, :1], case.white.shape[-1])[:, 0]
    own, true = (_by_own_solid(torch.cat((case.white[:1], made)), case.camera) for made in (first, case.white[1:]))
    return Agreement(own.psnr, own.coverage, true.psnr)


def _by_own_solid(images: Tensor, camera: Camera) -> Consistency:
    try:
        solid = solid_of(images, camera)
    except ValueError:  # outlines that share no volume agree on nothing
        return Consistency(math.nan, torch.full((len(images), len(images)), math.nan), 0.0)
    return view_consistency(images, camera, solid)


def solid_of(images: Tensor, camera: Camera) -> Mesh:
    """The visual hull of views on white, (V, 3, H, W) in [0, 1], by votes.

    Raises:
        ValueError: the outlines share no volume.
    """
    camera = Camera(camera.world_from_camera.float(), camera.field_of_view, camera.hw)
    hull = voted_hull(silhouettes(images)[0], camera, _HULL)
    return extract_surface(hull.votes.numpy(), _LEVEL, hull.low.numpy(), hull.high.numpy())
