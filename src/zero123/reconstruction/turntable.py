"""Pictures of a reconstruction from a camera that goes once around it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from zero123.geometry.camera import Camera
from zero123.geometry.paths import turntable
from zero123.images.alpha import composite
from zero123.images.sheets import save_video
from zero123.meshes.export import export_mesh
from zero123.meshes.mesh import Mesh
from zero123.meshes.raster import draw_picture


def render_turntable(
    mesh: Mesh,
    count: int = 36,
    hw: tuple[int, int] = (256, 256),
    elevation: float = 0.3,
    radius: float = 1.85,
    shade: float = 0.15,
) -> Tensor:
    """Pictures of a mesh all around, counter-clockwise from the front, drawn in software.

    Args:
        mesh: with vertex colours.
        count: number of pictures.
        hw: height and width, pixels.
        elevation: of the camera, radians.
        radius: of the camera's path, world units.
        shade: how much surfaces darken as they turn away, in [0, 1].

    Returns:
        Straight-alpha pictures, (count, 4, H, W), in [0, 1].
    """
    camera = Camera.from_orbit(turntable(count, elevation, radius), hw=hw)
    return torch.stack([torch.from_numpy(draw_picture(mesh, camera[k], shade=shade)) for k in range(count)])


def write_with_turntable(mesh: Mesh, file: Path, fps: float = 12.0) -> None:
    """Write a mesh, and `turntable.mp4` on white beside it.

    Raises:
        ValueError: the file's ending is none of `meshes.export.FORMATS`, or the mesh is empty.
        OSError: something cannot be written.
    """
    export_mesh(mesh, file)
    save_video(file.parent / "turntable.mp4", composite(render_turntable(mesh), torch.ones(3)), fps)
