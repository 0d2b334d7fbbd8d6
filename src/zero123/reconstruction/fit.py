"""The optimisation loop: a voxel field that explains all views, robust to views that disagree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from zero123.fields.regularizers import opacity_entropy, total_variation
from zero123.fields.rendering import March, occupied_span, render
from zero123.fields.voxels import VoxelField
from zero123.geometry.camera import Camera
from zero123.reconstruction.hull import Hull, trust
from zero123.reconstruction.timetable import Timetable

Progress = Callable[[int, int], None]
Show = Callable[[VoxelField], None]


@dataclass(frozen=True)
class FitSettings:
    """How the field is fitted.

    Attributes:
        grids: voxels along the side of the box, one number a stage, coarse to fine.
        steps: steps of each stage.
        rays: rays a step.
        learning_rate: Adam's, for raw density and colour; falls to a tenth over each stage.
        silhouette_weight: of the difference between opacity and silhouette.
        density_smoothness: of the total variation of density.
        colour_smoothness: of the total variation of colour.
        entropy_weight: of rays that are neither blocked nor free; grows from 0 over all steps.
        input_weight: how many times more a photo counts than a drawn view.
        colours_shape: share of the colours' gradient that reaches density, in [0, 1]; drawn views differ and dig pits.
        seconds: stop early after this time; None for no limit. With a limit, slow machines may give another result.
        window: steps over which errors are averaged to see whether they still fall, and a stage ends early if they do
            not; 0 for never.
        seed: of the choice of rays and offsets.
    """

    grids: tuple[int, ...] = (48, 96)
    steps: tuple[int, ...] = (120, 140)
    rays: int = 4096
    learning_rate: float = 0.15
    silhouette_weight: float = 1.0
    density_smoothness: float = 0.2
    colour_smoothness: float = 0.05
    entropy_weight: float = 0.01
    input_weight: float = 4.0
    colours_shape: float = 1.0
    seconds: float | None = None
    window: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.grids or len(self.grids) != len(self.steps):
            raise ValueError(f"grids and steps must have one entry a stage, got {self.grids} and {self.steps}")


@dataclass(frozen=True)
class Rays:
    """Every ray that may meet the object, with what the pictures say about it.

    Attributes:
        origins, directions: (N, 3) each.
        near, far: distances between which the object may be, (N,) each.
        colour: on white, (N, 3).
        alpha: silhouette, (N,).
        confidence: in the silhouette, (N,).
        painted: confidence in the colour, (N,).
        emphasis: how many times more it counts than a drawn view's, (N,).
        view: number of the view, (N,).
    """

    origins: Tensor
    directions: Tensor
    near: Tensor
    far: Tensor
    colour: Tensor
    alpha: Tensor
    confidence: Tensor
    painted: Tensor
    emphasis: Tensor
    view: Tensor

    def __getitem__(self, index: Tensor) -> Rays:
        return Rays(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Told:
    """What the pictures of V views say.

    Attributes:
        colour: on white, (V, 3, H, W).
        alpha: silhouettes, (V, H, W).
        confidence: in the silhouettes, (V, H, W).
        painted: in the colours, (V, H, W).
        emphasis: how many times more a view counts than a drawn one, (V,).
    """

    colour: Tensor
    alpha: Tensor
    confidence: Tensor
    painted: Tensor
    emphasis: Tensor


def gather_rays(told: Told, camera: Camera, hull: Hull, occupied: Tensor) -> Rays:
    """The rays of all views that meet marked cells.

    Args:
        told: by the pictures.
        camera: V cameras.
        hull: its box and the views' shifts.
        occupied: cells where the object may be, bool (Z, Y, X).
    """
    kept = []
    for view in range(len(told.alpha)):
        pixels = camera.pixel_centres().reshape(-1, 2) - hull.shifts[view]
        origins, directions = camera[view].rays(pixels.to(camera.world_from_camera))
        number = torch.full((len(origins),), view, device=origins.device)
        layers = (layer[view].flatten() for layer in (told.alpha, told.confidence, told.painted))
        facts = (told.colour[view].flatten(1).T, *layers, told.emphasis[number], number)
        kept.append(narrowed(Rays(origins, directions, origins[:, 0], origins[:, 0], *facts), occupied, hull))
    return Rays(*(torch.cat([getattr(part, name) for part in kept]) for name in Rays.__dataclass_fields__))


@torch.no_grad()
def near_surface(field: VoxelField, rays: Rays, occupied: Tensor, margin: int = 2, chunk: int = 16384) -> Tensor:
    """The marked cells within `margin` cells of where some ray meets the field: all that later stages need to look at.

    What lies deeper inside is hidden and what lies further outside is empty.
    """
    cells = torch.zeros_like(occupied)
    counts = field.low.new_tensor(occupied.shape[::-1])
    march, white = March(field.voxel, 1.0), torch.ones(3).to(field.low)
    for start in range(0, len(rays.view), chunk):
        part = rays[torch.arange(start, min(start + chunk, len(rays.view)), device=rays.view.device)]
        seen = render(field, part.origins, part.directions, white, march, (part.near, part.far), occupied)
        hit = seen.opacity > 0.1
        distance = part.near + seen.weights.argmax(dim=1) * march.step
        points = (part.origins + part.directions * distance[:, None])[hit]
        cell = ((points - field.low) / (field.high - field.low) * counts).long().clamp(min=0)
        x, y, z = torch.minimum(cell, counts.long() - 1).unbind(-1)
        cells[z, y, x] = True
    side = 2 * margin + 1
    return occupied & (functional.max_pool3d(cells[None, None].float(), side, 1, margin)[0, 0] > 0)


def narrowed(rays: Rays, occupied: Tensor, hull: Hull) -> Rays:
    """The rays that meet marked cells, marched no further than these reach."""
    # Half the resolution is enough to know where to march, and costs a quarter.
    blocks = functional.max_pool3d(occupied[None, None].float(), 2, ceil_mode=True)[0, 0] > 0
    near, far = occupied_span(blocks, rays.origins, rays.directions, (hull.low, hull.high))
    return replace(rays, near=near, far=far)[far > near]


@torch.no_grad()
def field_from_hull(hull: Hull, agreement: float, grid: int, colour: Tensor) -> VoxelField:
    """A field that is dense where the outlines agree and thin elsewhere; one colour everywhere, (3,), in (0, 1)."""
    box = (tuple(hull.low.tolist()), tuple(hull.high.tolist()))
    field = VoxelField((grid,) * 3, 3, box, density_shift=0.0).to(hull.votes)
    votes = functional.interpolate(hull.votes[None, None], (grid,) * 3, mode="trilinear", align_corners=False)
    # Raw density counts in units in which softplus is steep: one voxel at raw 1 blocks most of a ray.
    field.log_gain.fill_(torch.log(torch.tensor(DENSITY_UNIT / field.voxel)))
    field.density.copy_(((votes - agreement) * 20).clamp(-1, 1))
    field.colour.copy_(torch.logit(colour.clamp(0.02, 0.98)).reshape(1, 3, 1, 1, 1).expand_as(field.colour))
    return field


DENSITY_UNIT = 2.0
"""Optical thickness of one voxel whose raw density is 1."""

SHOW_EVERY = 60
"""Steps between two looks for whoever watches."""

SMOOTH_EVERY = 4
"""Steps between looks at the smoothness of the whole grid, which is dear; each then counts as many times."""


def fit(
    rays: Rays,
    hull: Hull,
    occupied: Tensor,
    agreement: float,
    settings: FitSettings,
    progress: Progress | None = None,
    show: Show | None = None,
) -> tuple[VoxelField, Tensor]:
    """Fit a field to rays, coarse to fine.

    Args:
        rays: from `gather_rays`.
        hull: where to start, and the trust in each view.
        occupied: cells where the object may be.
        agreement: share of the votes at which the start has its surface.
        settings: see there.
        progress: called with (steps done, steps in all).
        show: called with the field now and then.

    Returns:
        The field and the trust in each view, (V,).
    """
    generator = torch.Generator().manual_seed(settings.seed)
    weights = hull.weights.clone()
    seen = rays.colour[rays.alpha > 0.9]
    start = seen.median(dim=0).values if len(seen) else hull.votes.new_full((3,), 0.5)
    field = field_from_hull(hull, agreement, settings.grids[0], start)
    for stage, grid in enumerate(settings.grids):
        if stage:
            occupied = near_surface(field, rays, occupied)
            rays = narrowed(rays, occupied, hull)
            field = field.resized((grid,) * 3)
        error = _stage(stage, field, rays, weights, occupied, settings, generator, progress, show)
        if bool((error[1] > 0).all()):
            weights = hull.weights * trust(error[0] / error[1])
    return field, weights


def _stage(
    stage: int,
    field: VoxelField,
    rays: Rays,
    weights: Tensor,
    occupied: Tensor,
    settings: FitSettings,
    generator: torch.Generator,
    progress: Progress | None,
    show: Show | None,
) -> Tensor:
    """Fit at one resolution; the sum of each view's errors and how many rays it is of, (2, V)."""
    optimizer = torch.optim.Adam(
        (field.density, field.colour), lr=settings.learning_rate, betas=(0.9, 0.95), fused=True
    )
    error, before, total = weights.new_zeros(2, len(weights)), sum(settings.steps[:stage]), sum(settings.steps)
    seconds = None if settings.seconds is None else settings.seconds * _effort(settings, stage)
    table = Timetable(settings.steps[stage], seconds, settings.window)
    while table.share < 1:
        if show and table.done % SHOW_EVERY == SHOW_EVERY // 2:
            show(field)
        optimizer.param_groups[0]["lr"] = settings.learning_rate * 0.1**table.share
        batch = rays[torch.randint(len(rays.view), (settings.rays,), generator=generator).to(rays.view.device)]
        loss, per_ray = _loss(field, batch, weights, occupied, settings, before + table.done, generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        error[0].index_add_(0, batch.view, per_ray)
        error[1].index_add_(0, batch.view, torch.ones_like(per_ray))
        table.told(float(per_ray.mean()))
        if progress:
            progress(before + table.done, total)
    if progress and table.done < settings.steps[stage]:
        progress(before + settings.steps[stage], total)
    return error


def _effort(settings: FitSettings, stage: int) -> float:
    """The share of all time that a stage gets: steps cost as much as their rays are long."""
    work = [grid * steps for grid, steps in zip(settings.grids, settings.steps, strict=True)]
    return work[stage] / max(sum(work), 1)


def _loss(
    field: VoxelField,
    batch: Rays,
    weights: Tensor,
    occupied: Tensor,
    settings: FitSettings,
    done: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """The loss of one step and the plain error of each ray."""
    offset = torch.rand(len(batch.view), generator=generator).to(batch.colour)
    span, march = (batch.near, batch.far), March(field.voxel, 1e-3, colours_shape=settings.colours_shape)
    # Before white alone, white paint would pass for empty space wherever silhouettes disagree;
    # before changing colours it does not.
    anything = torch.rand(batch.colour.shape, generator=generator).to(batch.colour)
    behind = torch.where(batch.confidence[:, None] < 1, 1.0, anything)
    target = batch.colour + (behind - 1) * (1 - batch.alpha[:, None])
    seen = render(field, batch.origins, batch.directions, behind, march, span, occupied, offset)
    trusted = weights[batch.view] * batch.emphasis
    # Absolute differences: where views disagree the median wins, not a blur of all.
    colour = _robust(seen.colour - target).mean(dim=-1) * batch.painted
    shape = _robust(seen.opacity - batch.alpha) * batch.confidence
    data = (trusted * (colour + settings.silhouette_weight * shape)).sum() / trusted.sum().clamp(min=1e-6)
    loss = data + settings.entropy_weight * done / sum(settings.steps) * opacity_entropy(seen.opacity)
    if done % SMOOTH_EVERY == 0:
        loss = loss + SMOOTH_EVERY * settings.density_smoothness * total_variation(field.density)
        loss = loss + SMOOTH_EVERY * settings.colour_smoothness * total_variation(field.colour)
    return loss, (colour + shape).detach()


def _robust(difference: Tensor, knee: float = 0.05) -> Tensor:
    """Charbonnier penalty: a square near 0, absolute beyond the knee."""
    return torch.sqrt(difference**2 + knee**2) - knee
