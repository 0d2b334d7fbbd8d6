"""The surface of a field as the original exports it, for comparison with its meshes; ours is `mesh_from_field`."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from zero123.fields.voxels import VoxelField
from zero123.meshes.mesh import Mesh


@torch.no_grad()
def mesh_as_original(
    field: VoxelField, finer: int = 2, blur: int = 7, erosion: int = 5, times_mean: float = 8.0
) -> Mesh:
    """Marching cubes on a blurred and eroded density.

    Keeps the original's scale: the field's box becomes the unit cube, and a vertex stands half a voxel low, since
    values are taken to sit in the corners of their cells. The vertices are the original's; where it cuts the polygon of
    a cell into triangles along one diagonal, our library may take another. Its faces look inwards, ours outwards.

    Args:
        field: the field.
        finer: how many times finer the grid becomes.
        blur: side of the box that density is averaged over, zeros outside, cells of the finer grid.
        erosion: side of the box whose lowest value counts.
        times_mean: level of the surface, over the mean of the blurred density.

    Raises:
        ValueError: no density reaches the level.
    """
    from scipy.ndimage import grey_erosion
    from skimage.measure import marching_cubes

    density = field.activate(
        functional.interpolate(field.density, scale_factor=finer, mode="trilinear", align_corners=False)
    )
    smooth = functional.avg_pool3d(density, blur, stride=1, padding=blur // 2)[0, 0].cpu()
    level = times_mean * float(smooth.mean())
    eroded = grey_erosion(smooth.numpy(), size=(erosion,) * 3)
    if not eroded.max() > level:
        raise ValueError(f"field must be denser than {level:.3g} somewhere, {times_mean:g} times its mean; got none")
    points, faces, _, _ = marching_cubes(eroded, level, gradient_direction="descent", allow_degenerate=False)
    vertices = points[:, ::-1] / np.array(eroded.shape[::-1]) - 0.5
    return Mesh(vertices.astype(np.float32), faces.astype(np.int64))
