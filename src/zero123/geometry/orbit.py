"""Where a camera that looks at the object stands: azimuth, elevation, radius; and the move between two such places."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


def _tensor(value: Any) -> Tensor:
    tensor = torch.as_tensor(value)
    return tensor if tensor.is_floating_point() else tensor.to(torch.float32)


def _wrap(angle: Tensor) -> Tensor:
    """The same direction within [-pi, pi)."""
    return torch.remainder(angle + math.pi, 2 * math.pi) - math.pi


@dataclass(frozen=True)
class OrbitPose:
    """Camera centres in spherical coordinates about the origin; the camera looks at the origin, z is up.

    Attributes:
        azimuth: counter-clockwise seen from above, 0 on the +x axis, radians, (...).
        elevation: from the horizon, up positive, radians, (...).
        radius: distance to the origin, world units, (...).
    """

    azimuth: Tensor
    elevation: Tensor
    radius: Tensor

    def __post_init__(self) -> None:
        parts = torch.broadcast_tensors(_tensor(self.azimuth), _tensor(self.elevation), _tensor(self.radius))
        for name, part in zip(("azimuth", "elevation", "radius"), parts, strict=True):
            object.__setattr__(self, name, part)

    @classmethod
    def from_degrees(cls, azimuth_deg: Any, elevation_deg: Any, radius: Any) -> OrbitPose:
        """The pose with angles given in degrees."""
        return cls(torch.deg2rad(_tensor(azimuth_deg)), torch.deg2rad(_tensor(elevation_deg)), _tensor(radius))

    @classmethod
    def from_point(cls, point: Tensor) -> OrbitPose:
        """The pose of a camera centre, (..., 3), in world units; azimuth in (-pi, pi]."""
        x, y, z = point.unbind(-1)
        return cls(torch.atan2(y, x), torch.atan2(z, torch.hypot(x, y)), point.norm(dim=-1))

    @property
    def shape(self) -> torch.Size:
        """Batch shape of the poses."""
        return self.azimuth.shape

    def __len__(self) -> int:
        return len(self.azimuth)

    def __getitem__(self, index: Any) -> OrbitPose:
        return OrbitPose(self.azimuth[index], self.elevation[index], self.radius[index])

    def point(self) -> Tensor:
        """Camera centres in the world, (..., 3)."""
        flat = self.radius * torch.cos(self.elevation)
        return torch.stack(
            (
                flat * torch.cos(self.azimuth),
                flat * torch.sin(self.azimuth),
                self.radius * torch.sin(self.elevation),
            ),
            dim=-1,
        )

    def relative_to(self, source: OrbitPose) -> RelativePose:
        """The move that leads from `source` to this pose."""
        return RelativePose(
            azimuth=_wrap(self.azimuth - source.azimuth),
            elevation=self.elevation - source.elevation,
            radius=self.radius - source.radius,
        )

    def moved(self, by: RelativePose) -> OrbitPose:
        """The pose reached from this one by a move; `target == source.moved(target.relative_to(source))`."""
        return OrbitPose(self.azimuth + by.azimuth, self.elevation + by.elevation, self.radius + by.radius)

    @classmethod
    def stack(cls, poses: list[OrbitPose]) -> OrbitPose:
        """Join poses of one batch shape along a new first axis."""
        return cls(*(torch.stack([getattr(p, name) for p in poses]) for name in ("azimuth", "elevation", "radius")))


@dataclass(frozen=True)
class RelativePose:
    """A move of the camera: what is added to the input view's pose.

    Attributes:
        azimuth: counter-clockwise seen from above, radians, in [-pi, pi) when measured, (...).
        elevation: up positive, radians, (...).
        radius: away positive, world units, (...).
    """

    azimuth: Tensor
    elevation: Tensor
    radius: Tensor

    def __post_init__(self) -> None:
        parts = torch.broadcast_tensors(_tensor(self.azimuth), _tensor(self.elevation), _tensor(self.radius))
        for name, part in zip(("azimuth", "elevation", "radius"), parts, strict=True):
            object.__setattr__(self, name, part)

    @classmethod
    def from_degrees(cls, azimuth_deg: Any, elevation_deg: Any, radius: Any = 0.0) -> RelativePose:
        """The move with angles given in degrees."""
        return cls(torch.deg2rad(_tensor(azimuth_deg)), torch.deg2rad(_tensor(elevation_deg)), _tensor(radius))

    @property
    def shape(self) -> torch.Size:
        """Batch shape of the moves."""
        return self.azimuth.shape

    def __len__(self) -> int:
        return len(self.azimuth)

    def __getitem__(self, index: Any) -> RelativePose:
        return RelativePose(self.azimuth[index], self.elevation[index], self.radius[index])
