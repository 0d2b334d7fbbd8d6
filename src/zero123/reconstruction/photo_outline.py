"""A field brought to the outlines that photos themselves show: nothing beyond, something along every ray within."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from zero123.fields.rendering import ray_box
from zero123.fields.voxels import VoxelField, read_grid
from zero123.geometry.camera import Camera
from zero123.reconstruction.hull import facing, seen_at, within
from zero123.reconstruction.photo_warp import moved_to

_THICK, _THIN = 0.08, 2.0
"""Half of the depth that parts are given which only the photo shows: at most, world units, and at least, voxels."""

_OVERLAP = 2
"""Pixels by which such parts reach into what is there."""

_SMOOTH = 2.0
"""Pixels over which their depth is smoothed."""


@dataclass(frozen=True)
class Shown:
    """A photo as its outline is looked at.

    Attributes:
        layers: colours times alpha, and alpha, (4, H, W), in [0, 1].
        camera: that took it, of that size.
    """

    layers: Tensor
    camera: Camera

    @property
    def alpha(self) -> Tensor:
        """Its silhouette, (H, W)."""
        return self.layers[3]


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
    density: Tensor, found: VoxelField, photos: Tensor, cameras: Camera, level: float, side: int
) -> tuple[Tensor, VoxelField]:
    """A density that shows the photos' own outlines to the photos' cameras, as exactly as its voxels can.

    Views that a model draws may not believe in an ear, a wing or a handle that a photo shows, and be swollen around
    what they do believe in. Edges a little out of place are moved, see `photo_warp`. What a photo then does not show is
    cut off from front to back. Where it shows something along a ray that meets nothing, a part as deep as it is wide is
    put upright above or beside what is nearest to it in the picture, see `facing`; or as near to there as all other
    photos show something too.

    Args:
        density: raw, as the surface is taken from it, blurred already: a blur would take half a pixel off a cut edge.
            (Z, Y, X) over the field's box, -1 where nothing is.
        found: the field, of the same grid.
        photos: straight alpha, (P, 4, H, W).
        cameras: that took them, (P,).
        level: raw density of the surface.
        side: pixels at which outlines are looked at: an edge much finer than a voxel would show the voxels' corners.

    Returns:
        The density, and the field with the same cut off and put back, for colours.
    """
    shown = _looked_at(photos.to(found.low), cameras, side)
    for photo in reversed(shown):  # the first one's has the last word
        outline = torch.isfinite(_met(density, level, found, photo.camera)[0])
        density, found = moved_to(density, found, photo.camera, outline, photo.alpha > 0.5)
    points, new = found.centres().reshape(-1, 3), found.resized(found.grid)
    cones = [(2 * within(p.alpha, p.camera, points) - 1 + level).clamp(max=1).reshape(found.grid) for p in shown]
    cone = torch.stack(cones).amin(0)
    density = torch.minimum(density.to(cone), cone)
    new.density[0, 0] = torch.where(cone < 1, torch.minimum(found.density[0, 0], cone), found.density[0, 0])
    for photo, own in zip(shown, cones, strict=True):
        relief = missing_of(density, found, photo, level, [other for other in shown if other is not photo])
        if relief is not None:
            put, colour = _put_back(relief, photo, points, found.voxel)
            put = torch.minimum(put.reshape(found.grid), own)
            changed, raw = put > density, torch.logit(colour.clamp(0.02, 0.98)).reshape(3, *found.grid)
            density = torch.where(changed, put, density)
            new.density[0, 0] = torch.where(changed, put, new.density[0, 0])
            new.colour[0] = torch.where(changed, raw, new.colour[0])
    return density, new


def missing_of(
    density: Tensor, found: VoxelField, photo: Shown, level: float, others: Sequence[Shown] = ()
) -> Relief | None:
    """What a photo shows and a density (Z, Y, X) over a field's box does not; None where it shows all or nothing.

    It is put where the other photos show something too, if there is such a place.
    """
    from scipy.ndimage import binary_dilation, distance_transform_edt, gaussian_filter

    camera = photo.camera
    first, last = _met(density, level, found, camera)
    met, shown = torch.isfinite(first).cpu().numpy(), (photo.alpha > 0.5).cpu().numpy()
    missing = shown & ~met
    if not missing.any() or not met.any():
        return None
    middle = ((first + last) / 2).cpu().numpy()
    nearest = distance_transform_edt(~met, return_distances=False, return_indices=True)
    square = (camera.rays()[1] @ facing(camera)).reshape(camera.hw).cpu().numpy()  # cosine to the plane they meet
    distance = gaussian_filter((middle * square)[tuple(nearest)], _SMOOTH) / square
    around = binary_dilation(missing, iterations=_OVERLAP) & shown
    if others:
        distance[around] = _where_shown(distance[around], around, found, camera, others)
    pixel = distance * 2 * math.tan(camera.field_of_view / 2) / camera.hw[0]
    half = np.clip(distance_transform_edt(shown) * pixel, _THIN * found.voxel, _THICK)
    return Relief(*(torch.from_numpy(v).to(density) for v in (around, distance, half)))


def _looked_at(photos: Tensor, cameras: Camera, side: int) -> list[Shown]:
    """Photos (P, 4, H, W) of straight alpha, no wider than `side`."""
    layers = torch.cat((photos[:, :3] * photos[:, 3:], photos[:, 3:]), dim=1)
    if photos.shape[-1] > side:
        layers = functional.interpolate(layers, (round(side * photos.shape[2] / photos.shape[3]), side), mode="area")
    hw = (layers.shape[2], layers.shape[3])
    return [Shown(picture, cameras[k].resized(hw)) for k, picture in enumerate(layers)]


def _met(density: Tensor, level: float, found: VoxelField, camera: Camera) -> tuple[Tensor, Tensor]:
    """Where each pixel's ray first and last meets a density, (H, W), world units from the camera; else infinite."""
    steps, points = _along(found, *camera.rays())
    above = density.to(steps)[None, None] + 1  # outside of the box there is 0
    here = read_grid(above, points, found.low, found.high)[:, 0].view_as(steps) >= level + 1
    first = torch.where(here, steps, math.inf).amin(1)
    last = torch.where(here, steps, -math.inf).amax(1)
    return first.reshape(camera.hw), last.reshape(camera.hw)


def _where_shown(
    distance: NDArray[np.floating],
    pixels: NDArray[np.bool_],
    found: VoxelField,
    camera: Camera,
    others: Sequence[Shown],
) -> NDArray[np.floating]:
    """The place along the rays of K marked pixels that is nearest to distances (K,), where others show something, (K,).

    As it is where they show nothing along the whole ray.
    """
    origins, directions = camera.rays(
        camera.pixel_centres().to(found.low)[torch.from_numpy(pixels).to(found.low.device)]
    )
    steps, points = _along(found, origins, directions)
    there = torch.stack([within(other.alpha, other.camera, points) for other in others]).amin(0).view_as(steps) > 0.5
    wanted = torch.from_numpy(distance).to(steps)
    best, index = torch.where(there, (steps - wanted[:, None]).abs(), math.inf).min(1)
    found_there = steps.gather(1, index[:, None])[:, 0]
    return torch.where(torch.isfinite(best), found_there, wanted).cpu().numpy()


def _along(found: VoxelField, origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Places along K rays within a field's box, half a voxel apart: distances, (K, N), and points, (K * N, 3)."""
    near, far = ray_box(origins, directions, found.low, found.high)
    count = 2 * max(found.grid)
    steps = near[:, None] + (far - near).clamp(min=0)[:, None] * (torch.arange(count).to(near) + 0.5) / count
    return steps, (origins[:, None] + directions[:, None] * steps[..., None]).reshape(-1, 3)


def _put_back(relief: Relief, photo: Shown, points: Tensor, voxel: float) -> tuple[Tensor, Tensor]:
    """Raw density of the missing parts at points (P, 3), (P,), -1 elsewhere, and the photo's colours there, (3, P)."""
    maps = torch.cat((torch.stack((relief.missing, relief.distance, relief.half)), photo.layers))
    missing, distance, half, *ink, alpha = seen_at(maps, photo.camera, points)
    away = (points - photo.camera.world_from_camera[:3, 3].to(points)).norm(dim=-1)
    density = ((half - (away - distance).abs()) / voxel).clamp(-1, 1)
    return torch.where(missing > 0.5, density, -1.0), torch.stack(ink) / alpha.clamp(min=1e-3)
