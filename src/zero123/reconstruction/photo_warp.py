"""A field moved across the picture of a camera until its outline is that of a photo, where the two nearly agree."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zero123.fields.voxels import VoxelField, read_grid
from zero123.geometry.camera import Camera
from zero123.reconstruction.hull import seen_at

_NEARLY = 0.035
"""Distance between two outlines up to which they are the same edge, out of place; share of the picture's height."""

_WIDE = 0.03
"""Standard deviation over which edges move what is beside them, share of the picture's height."""

_ROUNDS = 10
"""Steps towards where both outlines meet."""

_HOLD = 0.05
"""Share of a window of edges beside which what is far from any edge stays where it is."""


def displacement_to(outline: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Where a picture must be read so that its outline is another's: pixels (x, y) to be added, (2, H, W).

    Edges that lie near each other are brought together, by the difference of the signed distances to them along the
    steepest way, and what lies beside them moves along. Where one shows something that the other does not, nothing
    moves, nor where one shows nothing at all.

    Args:
        outline: what the picture shows, (H, W).
        wanted: what it shall show, (H, W).
    """
    from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates

    moved, height = np.zeros((2, *outline.shape), np.float32), outline.shape[0]
    if not (outline.any() and wanted.any()):
        return moved
    nearly, wide = _NEARLY * height, _WIDE * height
    own, other = (_signed_distance(mask) for mask in (outline, wanted))
    slope = np.stack(np.gradient(own))[::-1]
    rows, columns = np.mgrid[: outline.shape[0], : outline.shape[1]].astype(np.float32)
    apart = np.abs(other - own)
    alone = (outline != wanted) & (apart > nearly)  # part of something that one of them lacks, and so what is beside it
    near = np.exp(-((apart / nearly) ** 4))
    if alone.any():
        near *= (distance_transform_edt(~alone) / nearly - 1).clip(0, 1)
    for _ in range(_ROUNDS):
        at = np.stack((rows + moved[1], columns + moved[0]))
        left = other - map_coordinates(own, at, order=1, mode="nearest")
        steepest = np.stack([map_coordinates(axis, at, order=1, mode="nearest") for axis in slope])
        steepest /= np.maximum(np.linalg.norm(steepest, axis=0), 0.3)
        weight = np.exp(-np.square(other / 2)) * near
        window = gaussian_filter(weight, wide)
        step = np.stack([gaussian_filter(weight * left * axis, wide) for axis in steepest])
        moved = moved + (step / np.maximum(window + _HOLD * float(window.max()), 1e-9)).astype(np.float32)
    return moved


def _signed_distance(mask: NDArray[np.bool_]) -> NDArray[np.floating]:
    """Pixels to the outline, positive within, smooth."""
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    inside, beyond = distance_transform_edt(mask), distance_transform_edt(~mask)
    return gaussian_filter(np.where(mask, inside - 0.5, 0.5 - beyond), 1.0)


@torch.no_grad()
def moved_to(
    density: Tensor, found: VoxelField, camera: Camera, outline: Tensor, wanted: Tensor
) -> tuple[Tensor, VoxelField]:
    """A density and a field of the same grid, moved across a camera's picture, see `displacement_to`.

    Args:
        density: raw, (Z, Y, X) over the field's box.
        found: the field.
        camera: whose picture.
        outline: what it sees of the density, bool (H, W).
        wanted: what it shall see.
    """
    moves = torch.from_numpy(displacement_to(outline.cpu().numpy(), wanted.cpu().numpy())).to(found.low)
    points = found.centres().reshape(-1, 3)
    across, down = seen_at(moves, camera, points)
    depth = camera.project(points)[1] / camera.focal
    axes = camera.world_from_camera[:3, :2].to(points)
    there = points + (across * depth)[:, None] * axes[:, 0] + (down * depth)[:, None] * axes[:, 1]
    values = torch.cat((density[None].to(points) + 1, found.density[0] + 1, found.colour[0]))[None]
    read = read_grid(values, there, found.low, found.high).T.reshape(-1, *found.grid)
    new = found.resized(found.grid)
    new.density[0, 0], new.colour[0] = read[1] - 1, read[2:]
    return read[0] - 1, new
