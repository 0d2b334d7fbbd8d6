"""What all conventions share: lenses that are one of ours, and rigid transforms turned around."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

PIXELS = 0.01
"""How far a lens may be from one of ours and still be called the same, pixels."""


def field_of_view(fx: float, fy: float, middle: Sequence[float], hw: tuple[int, int], where: str) -> float:
    """The horizontal field of view of a lens, radians, if it is a pinhole of square pixels in the middle."""
    height, width = hw
    if not (fx > 0 and abs(fx - fy) * max(hw) / fx < PIXELS):
        raise ValueError(f"pixels must be square, got focal lengths {fx:g} and {fy:g}; resize the pictures first")
    if max(abs(middle[0] - width / 2), abs(middle[1] - height / 2)) > PIXELS:
        raise ValueError(
            f"the lens must look at the middle of a {width}x{height} picture, which is {where}, got "
            f"{middle[0]:g}, {middle[1]:g} from its corner; crop or pad the pictures first"
        )
    return 2 * math.atan(width / 2 / fx)


def camera_from_world(world_from_camera: Tensor) -> tuple[Tensor, Tensor]:
    """Rotations (..., 3, 3) and translations (..., 3) of the inverse of rigid transforms."""
    rotation = world_from_camera[..., :3, :3].transpose(-1, -2)
    return rotation, -(rotation @ world_from_camera[..., :3, 3:])[..., 0]


def world_from_camera_of(rotation: Tensor, translation: Tensor) -> Tensor:
    """The inverse of a rigid transform given by its parts, (..., 4, 4)."""
    back = rotation.transpose(-1, -2)
    return joined(back, -(back @ translation[..., None])[..., 0])


def joined(rotation: Tensor, translation: Tensor) -> Tensor:
    """Rotations (..., 3, 3) and translations (..., 3) as transforms (..., 4, 4)."""
    return with_last_row(torch.cat((rotation, translation[..., None]), dim=-1))


def with_last_row(top: Tensor) -> Tensor:
    """(..., 3, 4) with 0 0 0 1 below, (..., 4, 4)."""
    last = top.new_tensor((0.0, 0.0, 0.0, 1.0)).expand(*top.shape[:-2], 1, 4)
    return torch.cat((top, last), dim=-2)
