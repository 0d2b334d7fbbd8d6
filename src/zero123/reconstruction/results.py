"""What is written of a reconstruction besides its mesh: views and cameras for other programs, depth, normals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zero123.data.formats.scene import write_scene
from zero123.files import atomic_path
from zero123.geometry.camera import Camera
from zero123.geometry.paths import turntable
from zero123.images import io
from zero123.images.framing import shifted
from zero123.meshes.mesh import Mesh
from zero123.meshes.raster import draw_depth_and_normals
from zero123.reconstruction.from_views import Reconstruction
from zero123.reconstruction.hull import silhouettes


def export_dataset(folder: Path, found: Reconstruction, images: Tensor, camera: Camera, halo: float = 0.0) -> None:
    """The views a mesh was made from, as a folder with which nerfstudio, COLMAP or gsplat can go on.

    Views that were found to be displaced are put in place, so that cameras and pictures fit for readers that know
    nothing of displacements.

    Args:
        folder: to write into; see `write_scene`.
        found: what was made of the views.
        images: (V, 3, H, W) on white, in [0, 1], the photo first.
        camera: V cameras of that size.
        halo: softness of the views' outlines, see `silhouettes`.

    Raises:
        ValueError: shapes do not fit.
        OSError: the folder cannot be written.
    """
    alpha, confidence = silhouettes(images, halo)
    alpha = torch.maximum(alpha, (confidence < 1).to(alpha))[:, None]  # white inside an object is more often paint
    colour = torch.where(alpha > 0, (images - 1 + alpha) / alpha.clamp(min=1e-6), 1.0).clamp(0, 1)
    views = torch.cat((colour, alpha), dim=1)
    scale = images.shape[-2] / min(found.view_height, images.shape[-2])
    placed = [shifted(view, shift) for view, shift in zip(views, (-found.hull.shifts * scale).round(), strict=True)]
    write_scene(folder, torch.cat((found.photos, torch.stack(placed[len(found.photos) :]))), camera, found.mesh)


def write_depth_and_normals(folder: Path, mesh: Mesh, count: int = 8, size: int = 256, elevation: float = 0.3) -> None:
    """Depth and normals of a mesh from all sides, as pictures, and depth as numbers.

    `NNN-depth.npy` holds depth along the camera's axis, world units, 0 beside the object; `NNN-depth.png` shows it from
    near (white) to far; `NNN-normals.png` holds normals in the camera's axes as renderers show them, red to the
    right, green up, blue towards the camera, 0.5 for 0.

    Args:
        folder: to write into.
        mesh: any mesh.
        count: pictures on one turn, from the front, counter-clockwise.
        size: side of the pictures, pixels.
        elevation: of the camera, radians.
    """
    camera = Camera.from_orbit(turntable(count, elevation), hw=(size, size))
    for view in range(count):
        depth, normals = draw_depth_and_normals(mesh, camera[view])
        hit = np.isfinite(depth)
        near, far = (float(depth[hit].min()), float(depth[hit].max())) if hit.any() else (0.0, 1.0)
        shown = np.where(hit, 1 - 0.9 * (np.where(hit, depth, near) - near) / max(far - near, 1e-9), 0)
        with atomic_path(folder / f"{view:03d}-depth.npy") as temporary:
            np.save(temporary, np.where(hit, depth, 0).astype(np.float32))
        io.save(folder / f"{view:03d}-depth.png", torch.from_numpy(shown[None].astype(np.float32)))
        towards = normals * np.array((1, -1, -1), np.float32)[:, None, None]
        layers = np.concatenate((np.where(hit, 0.5 + 0.5 * towards, 1), hit[None]))
        io.save(folder / f"{view:03d}-normals.png", torch.from_numpy(layers.astype(np.float32)))
