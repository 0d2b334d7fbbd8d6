"""Families of viewpoints: a turntable, rings, a spiral, random views, evenly spread views."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from zero123.geometry.orbit import RADIUS, OrbitPose


def turntable(count: int, elevation: float = 0.0, radius: float = RADIUS, start: float = 0.0) -> OrbitPose:
    """One closed turn around the object at a fixed height, counter-clockwise, (count,).

    Args:
        count: number of views, at least 1.
        elevation: radians.
        radius: world units.
        start: azimuth of the first view, radians.
    """
    azimuth = start + torch.arange(_at_least_one(count)) * (2 * math.pi / count)
    return OrbitPose(azimuth, torch.tensor(elevation), torch.tensor(radius))


def rings(elevations: Sequence[float], azimuths: int, radius: float = RADIUS) -> OrbitPose:
    """Closed turns at several heights, ring by ring, each from azimuth 0 counter-clockwise, (rings * azimuths,).

    Args:
        elevations: of the rings, radians, at least one.
        azimuths: views on each ring, at least 1.
        radius: world units.
    """
    turn = torch.arange(_at_least_one(azimuths)) * (2 * math.pi / azimuths)
    heights = torch.tensor(elevations, dtype=turn.dtype).repeat_interleave(azimuths)
    return OrbitPose(turn.repeat(_at_least_one(len(elevations))), heights, torch.tensor(radius))


def spiral(count: int = 100, rounds: float = 3, radius: float = 2.0) -> OrbitPose:
    """The test path of SJC's 3D reconstruction: from the ground up to the top while turning, (count,).

    The radius is not constant: height falls linearly while the distance from the axis follows a sine, at least 0.5.
    """
    ratio = torch.arange(1, _at_least_one(count) + 1, dtype=torch.float64).flip(0) / count
    flat = (radius * torch.sin(ratio * math.pi / 2)).clamp(min=0.5)
    angle = ratio * 2 * math.pi * rounds
    point = torch.stack((flat * torch.cos(angle), flat * torch.sin(angle), radius * (1 - ratio)), dim=-1)
    return OrbitPose.from_point(point)


def random_views(
    count: int,
    generator: torch.Generator,
    elevation_range: tuple[float, float] = (-math.pi / 2, math.pi / 2),
    radius_range: tuple[float, float] = (1.5, 2.2),
) -> OrbitPose:
    """Views uniform in area over a band of the sphere and in radius, (count,); ranges in radians and world units."""
    azimuth, height, radius = torch.rand(3, _at_least_one(count), generator=generator)
    low, high = (math.sin(e) for e in elevation_range)
    return OrbitPose(
        azimuth * 2 * math.pi - math.pi,
        torch.asin((low + (high - low) * height).clamp(-1, 1)),
        radius_range[0] + (radius_range[1] - radius_range[0]) * radius,
    )


def cube_normalised(
    count: int, generator: torch.Generator, radius_range: tuple[float, float] = (1.5, 2.2)
) -> OrbitPose:
    """The cameras of Zero-1-to-3's renders, (count,): a point uniform in the cube [-1, 1]^3, moved to a random radius.

    Not uniform on the sphere: directions to the cube's corners are 3 sqrt(3) = 5.2 times as dense as those to the
    middles of its sides. The radius is uniform in its range, world units.
    """
    point = 2 * torch.rand(_at_least_one(count), 3, generator=generator, dtype=torch.float64) - 1
    radius = torch.rand(count, generator=generator, dtype=torch.float64)
    pose = OrbitPose.from_point(point)
    low, high = radius_range
    return OrbitPose(pose.azimuth.float(), pose.elevation.float(), (low + (high - low) * radius).float())


def evenly_spread(
    count: int, elevation_range: tuple[float, float] = (-math.pi / 2, math.pi / 2), radius: float = RADIUS
) -> OrbitPose:
    """Views on a golden-angle spiral, each with an equal share of the band of the sphere, (count,).

    Vogel, 1979, "A better way to construct the sunflower head", on the sphere.
    """
    index = torch.arange(_at_least_one(count))
    low, high = (math.sin(e) for e in elevation_range)
    height = low + (high - low) * (index + 0.5) / count
    return OrbitPose(index * (math.pi * (3 - math.sqrt(5))), torch.asin(height.clamp(-1, 1)), torch.tensor(radius))


def _at_least_one(count: int) -> int:
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    return count
