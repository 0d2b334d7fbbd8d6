"""Pictures of a field while it is being fitted, so that one sees early what will come of it."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from zero123.fields.rendering import March, render_picture
from zero123.fields.voxels import VoxelField
from zero123.geometry.camera import Camera
from zero123.geometry.paths import turntable
from zero123.images import io
from zero123.images.sheets import contact_sheet

_SIDES, _SIZE, _ELEVATION_DEG = 4, 96, 20.0
_EMPTY = -0.9
"""Raw density from which on a voxel may be seen."""


def renders(field: VoxelField, camera: Camera) -> Tensor:
    """What V cameras see of a field on white, (V, 3, H, W), in [0, 1], on the CPU.

    Args:
        field: of colours.
        camera: V of them, `world_from_camera` (V, 4, 4).
    """
    white, march = torch.ones(3).to(field.low), March(field.voxel, 1e-3)
    anything = functional.max_pool3d((field.density > _EMPTY).float(), 3, 1, 1)[0, 0] > 0
    pictures = []
    for index in range(len(camera.world_from_camera)):
        origins, directions = (ray.to(field.low) for ray in camera[index].rays())
        seen = render_picture(field, origins, directions, white, march, anything)[:, :3]
        pictures.append(seen.T.unflatten(1, camera.hw).clamp(0, 1).cpu())
    return torch.stack(pictures)


def field_preview(field: VoxelField, photo: Tensor) -> Tensor:
    """The photo and the field from four sides, (3, H, W), in [0, 1].

    Args:
        field: of colours.
        photo: the input on white, (3, S, S), in [0, 1].
    """
    camera = Camera.from_orbit(turntable(_SIDES, math.radians(_ELEVATION_DEG)), hw=(_SIZE, _SIZE))
    first = io.resized(photo.cpu().float(), _SIZE, _SIZE)
    return contact_sheet(torch.cat((first[None], renders(field, camera))), _SIDES + 1)
