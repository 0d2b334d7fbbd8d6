"""The same cameras in the world axes of mesh files and of Blender."""

from __future__ import annotations

import torch
from torch import Tensor

from zero123.geometry.camera import Camera

GLTF_FROM_WORLD = torch.tensor([[0.0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]], dtype=torch.float64)
"""Our world to that of the mesh files we write: +Y up, front to +Z."""

BLENDER_IMPORT_FROM_WORLD = torch.tensor(
    [[0.0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=torch.float64
)
"""Our world to where Blender's glTF import puts such a file: z up again, front to -y."""


def with_world(camera: Camera, new_from_old: Tensor) -> Camera:
    """The same cameras seen in another world's axes.

    Args:
        camera: any.
        new_from_old: rigid transform of points, (4, 4), such as `GLTF_FROM_WORLD`; its inverse leads back.
    """
    turned = new_from_old.to(camera.world_from_camera) @ camera.world_from_camera
    return Camera(turned, camera.field_of_view, camera.hw)
