"""Where no view saw the object: its field is refined there by the model's score, and left alone everywhere else."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from zero123.fields.rendering import March, render
from zero123.fields.voxels import VoxelField
from zero123.geometry.camera import Camera
from zero123.geometry.orbit import OrbitPose
from zero123.geometry.paths import evenly_spread
from zero123.reconstruction.teacher import Teacher

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class UnseenSettings:
    """How what no view saw is refined.

    Attributes:
        steps: of the optimiser, one view each; 0 for none.
        learning_rate: Adam's, for raw density and colour.
        side: of the renders, pixels; they are enlarged for the model.
        noise: lowest and highest noise, share of the schedule's steps.
        scale: guidance; 0 for the model's own.
        cameras: that are thought of, all around.
        least: share of what a camera sees that must be unseen for it to be asked.
        seed: of the choice of cameras and noise.
    """

    steps: int = 0
    learning_rate: float = 0.05
    side: int = 64
    noise: tuple[float, float] = (0.1, 0.6)
    scale: float = 0.0
    cameras: int = 40
    least: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ValueError(f"steps must be at least 0, got {self.steps}")
        if not 0 <= self.noise[0] <= self.noise[1] <= 1:
            raise ValueError(f"noise must be two shares of the schedule, low and high, got {self.noise}")


_LOOKED = 0.05
"""Share of a ray's light from which on a place counts as what the ray sees."""
_FREE = -0.5
"""Raw density below which a voxel is certainly free and needs no refining unless it is beside one that is not."""


@torch.no_grad()
def looked_at(field: VoxelField, cameras: Camera) -> Tensor:
    """The voxels of a field that some of V cameras see, and their neighbours, bool (Z, Y, X)."""
    cells = torch.zeros(field.grid, dtype=torch.bool, device=field.low.device)
    for view in range(len(cameras.world_from_camera)):
        points, share = _shown(field, cameras[view])
        z, y, x = _cell(field, points[share > _LOOKED])
        cells[z, y, x] = True
    return functional.max_pool3d(cells[None, None].float(), 3, 1, 1)[0, 0] > 0


@torch.no_grad()
def unseen(field: VoxelField, seen: Tensor) -> Tensor:
    """The voxels that may be refined: those that are dense, or beside one that is, and that no camera saw."""
    dense = (field.density.clamp(-1, 1) > _FREE).float()
    return (functional.max_pool3d(dense, 3, 1, 1)[0, 0] > 0) & ~seen


@torch.no_grad()
def asked_cameras(field: VoxelField, free: Tensor, settings: UnseenSettings) -> OrbitPose | None:
    """Cameras to which enough of what they see is free to be refined, those that see most of it first; None for none.

    Args:
        field: the field.
        free: voxels that may be refined, bool (Z, Y, X).
        settings: how many are thought of, and how much they must see.
    """
    poses = evenly_spread(settings.cameras, (-math.pi / 2, math.pi / 2))
    found = []
    for index in range(settings.cameras):
        camera = Camera.from_orbit(poses[index].to(field.low.device), hw=(32, 32))
        points, share = _shown(field, camera)
        total = float(share.sum())
        found.append(float((share * free[_cell(field, points)]).sum()) / total if total else 0.0)
    order = sorted(range(settings.cameras), key=lambda index: -found[index])
    kept = [index for index in order if found[index] > settings.least][: max(settings.cameras // 5, 1)]
    return poses[torch.tensor(kept)] if kept else None


def refined(
    field: VoxelField,
    teacher: Teacher,
    cameras: Camera,
    settings: UnseenSettings,
    progress: Progress | None = None,
) -> Tensor:
    """Refine a field, in place, where none of the cameras saw it; which voxels, bool (Z, Y, X).

    Score distillation (Poole et al., 2022, arXiv:2209.14988) from cameras that see most of what was not seen; its
    gradient is cut off at every voxel that some view saw, so these keep their values to the last bit.

    Args:
        field: of colours.
        teacher: a model that has looked at the photo.
        cameras: (V,), of the views that the field explains.
        settings: how.
        progress: told steps done, and steps in all.
    """
    free = unseen(field, looked_at(field, cameras))
    poses = asked_cameras(field, free, settings) if settings.steps else None
    if poses is None:
        return torch.zeros_like(free)
    generator = torch.Generator().manual_seed(settings.seed)
    optimiser = torch.optim.Adam((field.density, field.colour), lr=settings.learning_rate, betas=(0.9, 0.95))
    for done in range(settings.steps):
        pose = poses[torch.randint(len(poses), (1,), generator=generator)].to(field.low.device)
        optimiser.zero_grad(set_to_none=True)
        _score(field, teacher, pose, settings, generator).backward()
        for values in (field.density, field.colour):
            if values.grad is not None:
                values.grad *= free
        optimiser.step()
        if progress is not None:
            progress(done + 1, settings.steps)
    return free


def _score(
    field: VoxelField, teacher: Teacher, pose: OrbitPose, settings: UnseenSettings, generator: torch.Generator
) -> Tensor:
    """A scalar whose gradient with respect to the field is the score's at one pose, (1,), through the encoder."""
    model, side = teacher.model, settings.side
    origins, directions = Camera.from_orbit(pose[0], hw=(side, side)).rays()
    offset = torch.rand(len(origins), generator=generator).to(origins)
    white, size = field.low.new_ones(3), model.settings.image_size
    seen = render(field, origins, directions, white, March(field.voxel, 1e-3), offset=offset)
    whole = functional.interpolate(seen.colour.T.unflatten(1, (side, side))[None], (size, size), mode="bilinear")
    latents = model.autoencoder.encode(whole.to(model.device, model.dtype)).float()
    last = len(model.schedule) - 1
    sigma = teacher.levels(round(settings.noise[0] * last), round(settings.noise[1] * last), 1, generator)
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    return (teacher.gradient(latents, pose, sigma, noise) * latents).sum()


def _shown(field: VoxelField, camera: Camera) -> tuple[Tensor, Tensor]:
    """Places that one camera sees, (P, 3), and the share of each in its ray, (P,)."""
    origins, directions = camera.rays()
    nothing = torch.ones(3).to(field.low)
    seen = render(field, origins.to(field.low), directions.to(field.low), nothing, March(field.voxel, 1e-3))
    return seen.shown, seen.share


def _cell(field: VoxelField, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Indices (z, y, x) of the voxels that points, (P, 3), lie in."""
    counts = points.new_tensor(field.grid[::-1])
    cell = ((points - field.low) / (field.high - field.low) * counts).long()
    x, y, z = torch.minimum(cell.clamp(min=0), counts.long() - 1).unbind(-1)
    return z, y, x
