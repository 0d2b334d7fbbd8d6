"""A field brought to the outline that the photo itself shows: nothing beyond it, something along every ray within."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from zero123.fields.rendering import ray_box
from zero123.fields.voxels import VoxelField, read_grid
from zero123.geometry.camera import Camera
from zero123.reconstruction.hull import facing, seen_at, within

_THICK, _THIN = 0.08, 2.0
"""Half of the depth that parts are given which only the photo shows: at most, world units, and at least, voxels."""

_OVERLAP = 2
"""Pixels by which such parts reach into what is there."""

_SMOOTH = 2.0
"""Pixels over which their depth is smoothed."""


@dataclass(frozen=True)
class Relief:
    """What is missing along the rays of a photo, all (H, W).

    Attributes:
        missing: rays within the outline that meet nothing, and a few that lie beside them.
        distance: from the camera, where the object's middle would be, world units.
        half: half of the depth it would have, world units.
    """

    missing: Tensor
    distance: Tensor
    half: Tensor


@torch.no_grad()
def kept_to(
    density: Tensor, found: VoxelField, photo: Tensor, camera: Camera, level: float, side: int
) -> tuple[Tensor, VoxelField]:
    """A density that shows the photo's own outline to the photo's camera, as exactly as its voxels can.

    Views that a model draws may not believe in an ear, a wing or a handle that the photo shows, and be swollen around
    what they do believe in. What the photo does not show is cut off from front to back. Where it shows something along
    a ray that meets nothing, a part as deep as it is wide is put upright above or beside what is nearest to it in the
    picture, see `facing`.

    Args:
        density: raw, as the surface is taken from it, blurred already: a blur would take half a pixel off a cut edge.
            (Z, Y, X) over the field's box, -1 where nothing is.
        found: the field, of the same grid.
        photo: straight alpha, (4, H, W).
        camera: that took it.
        level: raw density of the surface.
        side: pixels at which the outline is looked at: an edge much finer than a voxel would show the voxels' corners.

    Returns:
        The density, and the field with the same cut off and put back, for colours.
    """
    layers = torch.cat((photo[:3] * photo[3:], photo[3:]))[None].to(found.low)
    if photo.shape[-1] > side:
        layers = functional.interpolate(layers, (round(side * photo.shape[1] / photo.shape[2]), side), mode="area")
    alpha, camera = layers[0, 3], camera.resized((layers.shape[2], layers.shape[3]))
    points = found.centres().reshape(-1, 3)
    cone = (2 * within(alpha, camera, points) - 1 + level).clamp(max=1).reshape(found.grid)
    density, new = torch.minimum(density.to(cone), cone), found.resized(found.grid)
    new.density[0, 0] = torch.where(cone < 1, torch.minimum(found.density[0, 0], cone), found.density[0, 0])
    relief = missing_of(density, found, alpha, camera, level)
    if relief is not None:
        put, colour = _put_back(relief, layers[0], camera, points, found.voxel)
        put = torch.minimum(put.reshape(found.grid), cone)
        changed = put > density
        density = torch.where(changed, put, density)
        new.density[0, 0] = torch.where(changed, put, new.density[0, 0])
        new.colour[0] = torch.where(
            changed, torch.logit(colour.clamp(0.02, 0.98)).reshape(3, *found.grid), new.colour[0]
        )
    return density, new


def missing_of(density: Tensor, found: VoxelField, alpha: Tensor, camera: Camera, level: float) -> Relief | None:
    """What the photo shows and a density (Z, Y, X) over a field's box does not; None where it shows all or nothing."""
    from scipy.ndimage import binary_dilation, distance_transform_edt, gaussian_filter

    first, last = _met(density >= level, found, camera)
    met, shown = torch.isfinite(first).cpu().numpy(), (alpha > 0.5).cpu().numpy()
    missing = shown & ~met
    if not missing.any() or not met.any():
        return None
    middle = ((first + last) / 2).cpu().numpy()
    nearest = distance_transform_edt(~met, return_distances=False, return_indices=True)
    square = (camera.rays()[1] @ facing(camera)).reshape(camera.hw).cpu().numpy()  # cosine to the plane they meet
    distance = gaussian_filter((middle * square)[tuple(nearest)], _SMOOTH) / square
    pixel = distance * 2 * math.tan(camera.field_of_view / 2) / alpha.shape[0]
    half = np.clip(distance_transform_edt(shown) * pixel, _THIN * found.voxel, _THICK)
    around = binary_dilation(missing, iterations=_OVERLAP) & shown
    return Relief(*(torch.from_numpy(v).to(density) for v in (around, distance, half)))


def _met(solid: Tensor, found: VoxelField, camera: Camera) -> tuple[Tensor, Tensor]:
    """Where each pixel's ray first and last meets solid voxels, (H, W), world units from the camera; else infinite."""
    origins, directions = camera.rays()
    near, far = ray_box(origins, directions, found.low, found.high)
    count = 2 * max(found.grid)
    steps = near[:, None] + (far - near).clamp(min=0)[:, None] * (torch.arange(count).to(near) + 0.5) / count
    points = origins[:, None] + directions[:, None] * steps[..., None]
    here = (
        read_grid(solid.to(near)[None, None], points.reshape(-1, 3), found.low, found.high)[:, 0].view_as(steps) > 0.5
    )
    first = torch.where(here, steps, math.inf).amin(1)
    last = torch.where(here, steps, -math.inf).amax(1)
    return first.reshape(camera.hw), last.reshape(camera.hw)


def _put_back(relief: Relief, layers: Tensor, camera: Camera, points: Tensor, voxel: float) -> tuple[Tensor, Tensor]:
    """Raw density of the missing parts at points (P, 3), (P,), -1 elsewhere, and the photo's colours there, (3, P)."""
    maps = torch.cat((torch.stack((relief.missing, relief.distance, relief.half)), layers))
    missing, distance, half, *ink, alpha = seen_at(maps, camera, points)
    away = (points - camera.world_from_camera[:3, 3].to(points)).norm(dim=-1)
    density = ((half - (away - distance).abs()) / voxel).clamp(-1, 1)
    return torch.where(missing > 0.5, density, -1.0), torch.stack(ink) / alpha.clamp(min=1e-3)
