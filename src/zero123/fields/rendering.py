"""Volume rendering as pure functions: rays against a box, compositing, and a march that skips empty space."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Field(Protocol):
    """What rays can walk through.

    Attributes:
        low, high: corners of its box, (3,) each, world units, x y z.
    """

    low: Tensor
    high: Tensor

    def sigma(self, points: Tensor, /) -> Tensor:
        """Density at world points, (P, 3) -> (P,), per world unit, at least 0."""
        ...

    def features(self, points: Tensor, /) -> Tensor:
        """Colour at world points, (P, 3) -> (P, C)."""
        ...


@dataclass(frozen=True)
class March:
    """How rays walk through a field.

    Attributes:
        step: distance between samples, world units.
        weight_threshold: colours are looked up only where a sample's weight exceeds this; the others count as zero
            colour.
        far_depth: distance given to what lies behind the field, world units.
        colours_shape: share of the colours' gradient that reaches density, in [0, 1]; opacity's and depth's does all.
    """

    step: float
    weight_threshold: float = 1e-4
    far_depth: float = 10.0
    colours_shape: float = 1.0


@dataclass(frozen=True)
class Rendered:
    """What N rays see.

    Attributes:
        colour: (N, C), background included.
        opacity: share of the light that comes from the field, in [0, 1], (N,).
        depth: expected distance along the ray, world units, (N,).
        weights: share of each sample, (N, K); with the background's they sum to 1.
        shown: places of the samples whose colour was looked up, (P, 3), world units.
        ray: the ray of each of these, (P,).
        share: and its weight, (P,).
    """

    colour: Tensor
    opacity: Tensor
    depth: Tensor
    weights: Tensor
    shown: Tensor
    ray: Tensor
    share: Tensor


def ray_box(origins: Tensor, directions: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave an axis-aligned box (slab test; Kay and Kajiya, 1986).

    Args:
        origins: (N, 3).
        directions: (N, 3).
        low: lowest corner, (3,).
        high: highest corner, (3,).

    Returns:
        Entry and exit distances in units of the direction's length, (N,) each, never negative; exit <= entry for a
        miss.
    """
    # A ray along a slab divides by zero: a tiny slope instead keeps the answer finite and on the right side.
    tiny = torch.finfo(directions.dtype).tiny ** 0.5
    slope = torch.where(directions.abs() < tiny, torch.full_like(directions, tiny), directions)
    first, second = (low - origins) / slope, (high - origins) / slope
    entry = torch.minimum(first, second).amax(dim=-1).clamp(min=0)
    leave = torch.maximum(first, second).amin(dim=-1).clamp(min=0)
    return entry, leave


def composite(optical: Tensor) -> tuple[Tensor, Tensor]:
    """Share of each sample and of the background in what a ray sees.

    Equations 1 to 3 of Max, 1995, "Optical models for direct volume rendering", with alpha = 1 - exp(-optical); kept
    as sums in the exponent, so that nothing divides by 1 - alpha and gradients stay finite for opaque samples.

    Args:
        optical: density times step, at least 0, front to back, (N, K).

    Returns:
        Weights (N, K) and the background's weight (N,); together they sum to 1.
    """
    through = torch.cumsum(optical, dim=-1)
    weights = -torch.expm1(-optical) * torch.exp(optical - through)
    return weights, torch.exp(-through[:, -1])


def render(
    field: Field,
    origins: Tensor,
    directions: Tensor,
    background: Tensor,
    march: March,
    span: tuple[Tensor, Tensor] | None = None,
    occupied: Tensor | None = None,
    offset: Tensor | None = None,
) -> Rendered:
    """What rays see of a field before a background.

    Args:
        field: the field.
        origins: (N, 3), world units.
        directions: unit vectors, (N, 3).
        background: colour behind the field, (C,) or (N, C).
        march: step and thresholds.
        span: distances (N,) between which to march; None for the field's box.
        occupied: cells worth a look over the field's box, bool (Z, Y, X) of any resolution; elsewhere density counts
            as 0.
        offset: where in the first step each ray starts, in [0, 1), (N,); None for 0.
    """
    near, far = ray_box(origins, directions, field.low, field.high) if span is None else span
    length = (far - near).clamp(min=0)
    count = int(float(length.max()) / march.step) + 1 if len(length) else 1
    along = torch.arange(count, device=near.device, dtype=near.dtype) * march.step
    walked = along if offset is None else along + offset[:, None] * march.step
    distance = near[:, None] + walked
    rows, columns = torch.nonzero(walked < length[:, None], as_tuple=True)
    points = origins[rows] + directions[rows] * distance[rows, columns, None]
    if occupied is not None:
        keep = cells_at(occupied, points, field.low, field.high)
        rows, columns, points = rows[keep], columns[keep], points[keep]
    optical = torch.zeros_like(distance).index_put((rows, columns), field.sigma(points) * march.step)
    weights, behind = composite(optical)
    shown = weights.detach()[rows, columns] > march.weight_threshold
    rows, columns, points = rows[shown], columns[shown], points[shown]
    share = weights[rows, columns]
    told, free = (weight.detach().lerp(weight, march.colours_shape) for weight in (share, behind))
    colour = free[:, None] * background
    colour = colour.index_add(0, rows, told[:, None] * field.features(points))
    depth = (weights * distance).sum(dim=-1) + behind * march.far_depth
    return Rendered(colour, 1 - behind, depth, weights, points, rows, share)


@torch.no_grad()
def render_picture(
    field: Field,
    origins: Tensor,
    directions: Tensor,
    background: Tensor,
    march: March,
    occupied: Tensor | None = None,
    chunk: int = 16384,
) -> Tensor:
    """Many rays without gradients, a chunk at a time: colour, opacity and depth side by side, (N, C + 2)."""
    parts = []
    for start in range(0, len(origins), chunk):
        rows = slice(start, start + chunk)
        seen = render(field, origins[rows], directions[rows], background, march, occupied=occupied)
        parts.append(torch.cat((seen.colour, seen.opacity[:, None], seen.depth[:, None]), dim=-1))
    return torch.cat(parts)


def cells_at(occupied: Tensor, points: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Whether points lie in marked cells, (P, 3) -> (P,) bool; False outside the box. `occupied` is bool (Z, Y, X)."""
    z, y, x = occupied.shape
    counts = points.new_tensor((x, y, z))
    # A rim of free cells makes a lookup outside the box an ordinary one; float32 holds the indices of up to 2^24 cells.
    rimmed = torch.nn.functional.pad(occupied, (1, 1, 1, 1, 1, 1))
    cell = torch.addcmul(1 - low * counts / (high - low), points, counts / (high - low))
    cell = torch.minimum(cell.clamp_(min=0), counts + 1).floor_()
    index = cell @ points.new_tensor((1, x + 2, (x + 2) * (y + 2)))
    return rimmed.reshape(-1)[index.int()]


@torch.no_grad()
def occupied_span(
    occupied: Tensor, origins: Tensor, directions: Tensor, box: tuple[Tensor, Tensor], chunk: int = 32768
) -> tuple[Tensor, Tensor]:
    """First and last distance at which rays may meet marked cells, (N,) each; exit <= entry where they meet none.

    Rays are probed once a cell and the answer is a step wider at both ends: a grazed corner may be missed, no more.

    Args:
        occupied: bool (Z, Y, X).
        origins: (N, 3).
        directions: unit vectors, (N, 3).
        box: lowest and highest corner of the grid, (3,) each.
        chunk: rays at a time.
    """
    low, high = box
    counts = torch.tensor(occupied.shape[::-1], device=low.device, dtype=low.dtype)
    step = float(((high - low) / counts).min())
    near, far = ray_box(origins, directions, low, high)
    first, last = far.clone(), near.clone()
    for start in range(0, len(origins), chunk):
        rows = torch.arange(start, min(start + chunk, len(origins)), device=origins.device)
        rows = rows[far[rows] > near[rows]]
        if not len(rows):
            continue
        count = math.ceil(float((far - near)[rows].max()) / step) + 1
        distance = near[rows, None] + torch.arange(count, device=low.device, dtype=low.dtype) * step
        points = origins[rows, None] + directions[rows, None] * distance[..., None]
        hit = cells_at(occupied, points.reshape(-1, 3), low, high).reshape(distance.shape)
        met = hit.any(dim=1)
        rows, distance, hit = rows[met], distance[met], hit[met]
        first[rows] = torch.where(hit, distance, torch.inf).amin(dim=1) - step
        last[rows] = torch.where(hit, distance, -torch.inf).amax(dim=1) + step
    return torch.maximum(first, near), torch.minimum(last, far)
