"""What a target camera sees of the volume that an input camera's pixels and depths span."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from zero123.fields.rendering import composite
from zero123.geometry.camera import Camera
from zero123.geometry.orbit import OrbitPose, RelativePose

HALF_DEPTH = 0.8
"""The volume reaches so far before and behind the origin, world units: objects lie in the unit cube around it."""


def march(
    values: Tensor, source: OrbitPose, relative: RelativePose, side: int, samples: int, random: bool
) -> tuple[Tensor, Tensor]:
    """Rays of target cameras through volumes, and what they gather on the way.

    Args:
        values: density per world unit, then anything, of cells, (P, D, S, S, C).
        source: poses of the input cameras, (V,), V / P in a row for each volume.
        relative: moves to the target cameras, (V,).
        side: of the targets' pictures, R.
        samples: points on a ray.
        random: for training, see `target_samples` and `gathered`.

    Returns:
        Pictures (V, C, R, R): the share of the light that is stopped, and what is seen of the rest; and where the
        rays end, as the input camera sees it, (V, 3, R, R), without gradient.
    """
    points, length = target_samples(source, relative, side, samples, jitter=random)
    found, inside = gathered(values, points, random)
    share = shares(found[..., 0] * length[..., None] * inside)
    opacity = share.sum(-1, keepdim=True)
    seen = torch.cat((opacity, torch.einsum("vnk,vnkc->vnc", share, found[..., 1:])), dim=-1)
    with torch.no_grad():
        surface = torch.einsum("vnk,vnkc->vnc", share, points) / opacity.clamp(min=1e-3)
    return seen.mT.unflatten(-1, (side, side)), surface.mT.unflatten(-1, (side, side))


def shares(optical: Tensor) -> Tensor:
    """Share of each sample in what a ray sees, (..., K), of density times length, (..., K)."""
    return composite(optical.flatten(0, -2))[0].view_as(optical)


def target_samples(
    source: OrbitPose, relative: RelativePose, side: int, samples: int, jitter: bool
) -> tuple[Tensor, Tensor]:
    """Points along the rays of target cameras, as the input camera sees them.

    Args:
        source: poses of the input cameras, (V,); their azimuth does not matter.
        relative: moves to the target cameras, (V,).
        side: rays along each side of the target's picture, R.
        samples: points on a ray, K, all in the slab of depths in which the volume can be.
        jitter: each point is drawn within its own piece of the ray, else it is the piece's middle.

    Returns:
        Points (V, R * R, K, 3): places in the input picture and depth, each in [-1, 1] within the volume; and the
        length of a piece of each ray, world units, (V, R * R).
    """
    world_from_input = Camera.from_orbit(source, hw=(side, side)).world_from_camera
    target = Camera.from_orbit(source.moved(relative), hw=(side, side))
    seen_from_input = Camera(torch.linalg.inv(world_from_input) @ target.world_from_camera, hw=(side, side))
    origins, directions = seen_from_input.rays()
    into = target.pixel_centres().reshape(-1, 2).sub(side / 2).div(target.focal).square().sum(-1).add(1).sqrt()
    piece = 2 * HALF_DEPTH / samples
    count, rays = len(source), side * side
    within = torch.rand(count, rays, samples, device=origins.device) if jitter else 0.5
    steps = torch.arange(samples, device=origins.device) + within
    depth = (source.radius + relative.radius)[:, None, None] - HALF_DEPTH + piece * steps  # along the target's axis
    along = depth * into[:, None]
    points = origins[:, :, None] + directions[:, :, None] * along[..., None]
    return _normalised(points, source.radius), (piece * into).expand(count, -1)


def _normalised(points: Tensor, radius: Tensor) -> Tensor:
    """Points (V, N, K, 3) in the input camera's axes as places in its picture and in the volume's depth."""
    across = Camera(torch.eye(4), hw=(2, 2)).focal * points[..., :2] / points[..., 2:].clamp(min=0.1)
    depth = (points[..., 2:] - radius[:, None, None, None]) / HALF_DEPTH
    return torch.cat((across, depth), dim=-1)


def own_rays(side: int) -> Tensor:
    """Length of a cell along the input camera's own rays, world units, for D = 1, (S, S); divide by D."""
    camera = Camera(torch.eye(4), hw=(side, side))
    into = camera.pixel_centres().sub(side / 2).div(camera.focal).square().sum(-1).add(1).sqrt()
    return 2 * HALF_DEPTH * into


def gathered(values: Tensor, points: Tensor, random: bool) -> tuple[Tensor, Tensor]:
    """What a volume holds at points.

    Args:
        values: of cells, (P, D, S, S, C).
        points: as `target_samples` gives them, (V, N, K, 3), V / P in a row for each volume.
        random: take one of the eight cells around a point, each as likely as it weighs in trilinear interpolation. Its
            expectation is the interpolated value, and its gradient costs an eighth: what training on a processor needs.

    Returns:
        Values (V, N, K, C), and which points lie in the volume, (V, N, K) bool.
    """
    volumes, depth, height, width, channels = values.shape
    inside = (points.abs() < 1).all(-1)
    if not random:
        grid = points.reshape(volumes, -1, 1, 1, 3)
        found = F.grid_sample(values.movedim(-1, 1), grid, align_corners=False, padding_mode="border")
        return found.reshape(volumes, channels, -1).transpose(1, 2).reshape(*points.shape[:-1], channels), inside
    size = torch.tensor((width, height, depth), device=points.device)
    cell = ((points + 1) / 2 * size - 0.5 + torch.rand_like(points)).floor().long()
    cell = torch.minimum(cell.clamp(min=0), size - 1)
    first = torch.arange(volumes, device=points.device).repeat_interleave(len(points) // volumes) * depth
    row = ((first[:, None, None] + cell[..., 2]) * height + cell[..., 1]) * width + cell[..., 0]
    found = values.reshape(-1, channels).index_select(0, row.reshape(-1))
    return found.reshape(*points.shape[:-1], channels), inside
