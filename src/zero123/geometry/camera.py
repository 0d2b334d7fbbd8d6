"""A pinhole camera: its lens, its place in the world, the rays it casts and the pixels it sees points at."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from zero123.geometry.orbit import OrbitPose

FIELD_OF_VIEW = 2 * math.atan(16 / 35)
"""Horizontal field of view of the renders Zero-1-to-3 was trained on: a 35 mm lens on a 32 mm sensor, 49.13 degrees."""

_FLIP_YZ = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))


@dataclass(frozen=True)
class Camera:
    """Pinhole cameras with square pixels and the principal point in the middle.

    Axes are OpenCV's: x right, y down, z forward. Pixel centres are at +0.5. Depth is along z, ray distance along the
    ray.

    Attributes:
        world_from_camera: rigid transforms, (..., 4, 4), world units.
        field_of_view: horizontal, radians.
        hw: height and width of the picture, pixels.
    """

    world_from_camera: Tensor
    field_of_view: float = FIELD_OF_VIEW
    hw: tuple[int, int] = (256, 256)

    def __post_init__(self) -> None:
        if self.world_from_camera.shape[-2:] != (4, 4):
            raise ValueError(f"world_from_camera must be (..., 4, 4), got {tuple(self.world_from_camera.shape)}")
        if not 0 < self.field_of_view < math.pi:
            raise ValueError(f"field_of_view must be between 0 and pi radians, got {self.field_of_view}")

    @classmethod
    def from_orbit(
        cls, pose: OrbitPose, field_of_view: float = FIELD_OF_VIEW, hw: tuple[int, int] = (256, 256)
    ) -> Camera:
        """Cameras that look at the origin with world z upward in the picture; well defined above the poles too."""
        sin_az, cos_az = torch.sin(pose.azimuth), torch.cos(pose.azimuth)
        right = torch.stack((-sin_az, cos_az, torch.zeros_like(sin_az)), dim=-1)
        sin_el, cos_el = torch.sin(pose.elevation), torch.cos(pose.elevation)
        forward = -torch.stack((cos_el * cos_az, cos_el * sin_az, sin_el), dim=-1)
        rotation = torch.stack((right, torch.linalg.cross(forward, right), forward), dim=-1)
        return cls(_rigid(rotation, pose.point()), field_of_view, hw)

    @classmethod
    def from_opengl(
        cls, world_from_camera: Tensor, field_of_view: float = FIELD_OF_VIEW, hw: tuple[int, int] = (256, 256)
    ) -> Camera:
        """From OpenGL or Blender axes (x right, y up, looking along -z), as NeRF's `transform_matrix` has them."""
        return cls(world_from_camera @ _FLIP_YZ.to(world_from_camera), field_of_view, hw)

    @classmethod
    def from_blender_rt(
        cls, blender_from_world: Tensor, field_of_view: float = FIELD_OF_VIEW, hw: tuple[int, int] = (256, 256)
    ) -> Camera:
        """From the (..., 3, 4) world-to-Blender-camera matrices stored beside the renders of Zero-1-to-3."""
        rotation, translation = blender_from_world[..., :3], blender_from_world[..., 3]
        world_from_blender = rotation.transpose(-1, -2)
        centre = -(world_from_blender @ translation[..., None])[..., 0]
        return cls.from_opengl(_rigid(world_from_blender, centre), field_of_view, hw)

    def to_opengl(self) -> Tensor:
        """World-from-camera matrices with OpenGL axes, (..., 4, 4)."""
        return self.world_from_camera @ _FLIP_YZ.to(self.world_from_camera)

    def to_blender_rt(self) -> Tensor:
        """World-to-Blender-camera matrices as stored beside the renders of Zero-1-to-3, (..., 3, 4)."""
        world_from_blender = self.to_opengl()
        rotation = world_from_blender[..., :3, :3].transpose(-1, -2)
        return torch.cat((rotation, -rotation @ world_from_blender[..., :3, 3:]), dim=-1)

    @property
    def position(self) -> Tensor:
        """Camera centres in the world, (..., 3)."""
        return self.world_from_camera[..., :3, 3]

    @property
    def focal(self) -> float:
        """Focal length in pixels."""
        return self.hw[1] / 2 / math.tan(self.field_of_view / 2)

    def orbit(self) -> OrbitPose:
        """The poses of the camera centres; where the camera points is not looked at."""
        return OrbitPose.from_point(self.position)

    def resized(self, hw: tuple[int, int]) -> Camera:
        """The same camera with another number of pixels; `hw` must keep the proportions."""
        if hw[0] * self.hw[1] != hw[1] * self.hw[0]:
            raise ValueError(f"hw must keep the proportions of {self.hw}, got {hw}")
        return Camera(self.world_from_camera, self.field_of_view, hw)

    def __getitem__(self, index: int | slice | Tensor) -> Camera:
        return Camera(self.world_from_camera[index], self.field_of_view, self.hw)

    def pixel_centres(self) -> Tensor:
        """Pixel coordinates (x, y) of the pixel centres, (H, W, 2)."""
        height, width = self.hw
        like = self.world_from_camera
        y = torch.arange(height, dtype=like.dtype, device=like.device) + 0.5
        x = torch.arange(width, dtype=like.dtype, device=like.device) + 0.5
        return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)

    def rays(self, pixels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Rays through pixels.

        Args:
            pixels: coordinates (x, y), (..., N, 2); None for all pixel centres in row order.

        Returns:
            Origins and unit directions in the world, each (..., N, 3).
        """
        if pixels is None:
            pixels = self.pixel_centres().reshape(-1, 2)
        middle = pixels.new_tensor((self.hw[1] / 2, self.hw[0] / 2))
        across = (pixels - middle) / self.focal
        camera = torch.cat((across, torch.ones_like(across[..., :1])), dim=-1)
        world = camera @ self.world_from_camera[..., :3, :3].transpose(-1, -2)
        directions = torch.nn.functional.normalize(world, dim=-1)
        return self.position[..., None, :].expand_as(directions), directions

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Where world points appear.

        Args:
            points: (..., N, 3), world units.

        Returns:
            Pixel coordinates (x, y), (..., N, 2), and depth along the camera's z axis, (..., N); only points of
            positive depth are in front of the camera.
        """
        camera = (points - self.position[..., None, :]) @ self.world_from_camera[..., :3, :3]
        depth = camera[..., 2]
        middle = camera.new_tensor((self.hw[1] / 2, self.hw[0] / 2))
        return self.focal * camera[..., :2] / depth[..., None] + middle, depth


def _rigid(rotation: Tensor, translation: Tensor) -> Tensor:
    """Join rotations (..., 3, 3) and translations (..., 3) to transforms (..., 4, 4)."""
    top = torch.cat((rotation, translation[..., None]), dim=-1)
    bottom = torch.zeros_like(top[..., :1, :])
    bottom[..., 3] = 1
    return torch.cat((top, bottom), dim=-2)
