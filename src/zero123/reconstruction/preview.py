"""A picture of a field while it is being fitted, so that one sees early what will come of it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zero123.fields.rendering import March, render_picture
from zero123.fields.voxels import VoxelField
from zero123.geometry.camera import Camera
from zero123.geometry.paths import turntable
from zero123.images import io
from zero123.images.sheets import contact_sheet

_SIDES, _SIZE, _ELEVATION_DEG = 4, 96, 20.0


def field_preview(field: VoxelField, photo: Tensor) -> Tensor:
    """The photo and the field from four sides, (3, H, W), in [0, 1].

    Args:
        field: of colours.
        photo: the input on white, (3, S, S), in [0, 1].
    """
    camera = Camera.from_orbit(turntable(_SIDES, math.radians(_ELEVATION_DEG)), hw=(_SIZE, _SIZE))
    white, march = torch.ones(3).to(field.low), March(field.voxel, 1e-3)
    sides = []
    for index in range(_SIDES):
        origins, directions = (ray.to(field.low) for ray in camera[index].rays())
        seen = render_picture(field, origins, directions, white, march)[:, :3]
        sides.append(seen.T.unflatten(1, (_SIZE, _SIZE)).clamp(0, 1).cpu())
    first = io.resized(photo.cpu().float(), _SIZE, _SIZE)
    return contact_sheet(torch.stack((first, *sides)), _SIDES + 1)
