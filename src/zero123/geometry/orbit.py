"""Where a camera that looks at the object stands: azimuth, elevation, radius; and the move between two such places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor


def _tensor(value: Any) -> Tensor:
    tensor = torch.as_tensor(value)
    return tensor if tensor.is_floating_point() else tensor.to(torch.float32)


def _wrap(angle: Tensor) -> Tensor:
    """The same direction within [-pi, pi)."""
    return torch.remainder(angle + math.pi, 2 * math.pi) - math.pi


RADIUS = 1.85
"""Distance from which an unknown picture is taken to be taken: the middle of the training range 1.5 to 2.2."""

_Kind = TypeVar("_Kind", bound="_Spherical")


@dataclass(frozen=True)
class _Spherical:
    """Azimuth, elevation and radius of one batch shape."""

    azimuth: Tensor
    elevation: Tensor
    radius: Tensor

    def __post_init__(self) -> None:
        parts = torch.broadcast_tensors(_tensor(self.azimuth), _tensor(self.elevation), _tensor(self.radius))
        for name, part in zip(("azimuth", "elevation", "radius"), parts, strict=True):
            object.__setattr__(self, name, part)

    @classmethod
    def from_degrees(cls: type[_Kind], azimuth_deg: Any, elevation_deg: Any, radius: Any) -> _Kind:
        """From angles in degrees and lengths in world units."""
        return cls(torch.deg2rad(_tensor(azimuth_deg)), torch.deg2rad(_tensor(elevation_deg)), _tensor(radius))

    @classmethod
    def cat(cls: type[_Kind], parts: list[_Kind]) -> _Kind:
        """Several behind one another along the first axis."""
        return cls(*(torch.cat([getattr(p, name) for p in parts]) for name in ("azimuth", "elevation", "radius")))

    @property
    def shape(self) -> torch.Size:
        """Batch shape."""
        return self.azimuth.shape

    def __len__(self) -> int:
        return len(self.azimuth)

    def __getitem__(self: _Kind, index: Any) -> _Kind:
        return type(self)(self.azimuth[index], self.elevation[index], self.radius[index])

    def to(self: _Kind, *target: Any) -> _Kind:
        """The same on another device or in another floating point type, as `Tensor.to`."""
        return type(self)(self.azimuth.to(*target), self.elevation.to(*target), self.radius.to(*target))


class OrbitPose(_Spherical):
    """Camera centres in spherical coordinates about the origin; the camera looks at the origin, z is up.

    Attributes:
        azimuth: counter-clockwise seen from above, 0 on the +x axis, radians, (...).
        elevation: from the horizon, up positive, radians, (...).
        radius: distance to the origin, world units, (...).
    """

    @classmethod
    def from_point(cls, point: Tensor) -> OrbitPose:
        """The pose of a camera centre, (..., 3), in world units; azimuth in (-pi, pi]."""
        x, y, z = point.unbind(-1)
        return cls(torch.atan2(y, x), torch.atan2(z, torch.hypot(x, y)), point.norm(dim=-1))

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


class RelativePose(_Spherical):
    """A move of the camera: what is added to the input view's pose.

    Attributes:
        azimuth: counter-clockwise seen from above, radians, in [-pi, pi) when measured, (...).
        elevation: up positive, radians, (...).
        radius: away positive, world units, (...).
    """

    @classmethod
    def from_degrees(cls, azimuth_deg: Any, elevation_deg: Any, radius: Any = 0.0) -> RelativePose:
        """From angles in degrees and a change of distance in world units."""
        return super().from_degrees(azimuth_deg, elevation_deg, radius)


def relative_moves(
    azimuth_deg: Sequence[float], elevation_deg: Sequence[float], radius: Sequence[float]
) -> RelativePose:
    """Moves from lists of degrees and world units; a list of one goes with all of the others.

    Raises:
        ValueError: a number that is not finite or out of range, or lists whose lengths do not go together.
    """
    lists = {"azimuth_deg": azimuth_deg, "elevation_deg": elevation_deg, "radius": radius}
    limits = {"azimuth_deg": 360.0, "elevation_deg": 180.0, "radius": 1.0}
    for name, values in lists.items():
        for value in values:
            if not abs(value) <= limits[name]:
                raise ValueError(f"{name} must be a number from {-limits[name]:g} to {limits[name]:g}, got {value}")
    count = max(len(v) for v in lists.values())
    if not count or any(len(v) not in (1, count) for v in lists.values()):
        lengths = ", ".join(f"{len(v)} {name}" for name, v in lists.items())
        raise ValueError(f"give one value for all views or one for each, got {lengths}")
    columns = [torch.tensor(list(v) * (count if len(v) == 1 else 1), dtype=torch.float32) for v in lists.values()]
    return RelativePose(torch.deg2rad(columns[0]), torch.deg2rad(columns[1]), columns[2])
