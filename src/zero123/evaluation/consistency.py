"""Whether views agree with each other: each is warped into every other along a given geometry and compared there.

No truth is needed: the geometry is what was reconstructed from these very views, so the figure says how well one solid,
evenly coloured object explains them. Blurred views agree easily; read it beside PSNR, never alone. Light that moves
with the camera and shiny surfaces lower it for perfect renders too: print the same figure of the true views beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from zero123.geometry.camera import Camera
from zero123.meshes.mesh import Mesh
from zero123.meshes.raster import rasterise

_STEEP = 6.0
"""Depth range over 3x3 pixels, in pixel sizes on the surface, from which a pixel is an edge or too slanted to compare:
about 70 degrees."""

_NEAR = 0.5
"""How far from the other view's surface a point may lie and still be the same, in pixel sizes there; the back of a
thinner wall would be taken for its front."""

_LEAST = 32
"""Pixels; pairs of views that share fewer are left out."""


@dataclass(frozen=True)
class Consistency:
    """How well views agree.

    Attributes:
        psnr: mean over pairs of views, decibels; nan where no two views share enough.
        pairs: view i warped into view j against view j, decibels, at [i, j], (V, V); nan where they share too little.
        coverage: share of object pixels that took part in at least one comparison, in [0, 1].
    """

    psnr: float
    pairs: Tensor
    coverage: float


def view_consistency(images: Tensor, camera: Camera, mesh: Mesh) -> Consistency:
    """Agreement of views by the surface of a mesh.

    Args:
        images: the views on a plain background, (V, 3, H, W), in [0, 1].
        camera: their cameras, `world_from_camera` (V, 4, 4), `hw` that of the views.
        mesh: the object in the same world.

    Raises:
        ValueError: under two views, or shapes that do not fit.
    """
    _check(images, camera)
    depths = [torch.from_numpy(rasterise(mesh, camera[v]).depth) for v in range(len(images))]
    return depth_consistency(images, camera, torch.stack(depths))


def depth_consistency(images: Tensor, camera: Camera, depths: Tensor) -> Consistency:
    """Agreement of views by depth maps.

    A pixel takes part where its 3x3 neighbours all show the surface, without an edge and not too slanted, where the
    other view shows the same point (its depth there agrees), and where it is so there too.

    Args:
        images: as for `view_consistency`.
        camera: as for `view_consistency`.
        depths: along each camera's z axis, world units, infinite where there is nothing, (V, H, W).

    Raises:
        ValueError: under two views, or shapes that do not fit.
    """
    _check(images, camera)
    if depths.shape != (len(images), *camera.hw):
        raise ValueError(f"depths must be {(len(images), *camera.hw)}, got {tuple(depths.shape)}")
    images, depths = images.double().cpu(), depths.double().cpu()
    camera = Camera(camera.world_from_camera.double().cpu(), camera.field_of_view, camera.hw)
    steady = _ranges(depths) <= _STEEP * depths / camera.focal
    pairs = torch.full((len(images), len(images)), float("nan"), dtype=torch.float64)
    compared = torch.zeros_like(steady)
    for j in range(len(images)):
        points, colours = _points(camera[j], depths[j], steady[j]), images[j][:, steady[j]]
        for i in range(len(images)):
            seen, place = _seen(camera[i], points, depths[i], steady[i])
            if i == j or int(seen.sum()) < _LEAST:
                continue
            error = F.grid_sample(images[i][None], place[None, None, seen], align_corners=False)[0, :, 0]
            error = (error - colours[:, seen]).square().mean()
            pairs[i, j] = -10 * torch.log10(error.clamp(min=1e-10))
            compared[j, steady[j]] |= seen
    covered = float(compared.sum() / depths.isfinite().sum().clamp(min=1))
    return Consistency(float(pairs.nanmean()), pairs, covered)


def _ranges(depths: Tensor) -> Tensor:
    """Largest minus smallest depth among each pixel's 3x3 neighbours; infinite where one shows nothing, (V, H, W)."""
    high, low = F.max_pool2d(depths, 3, 1, 1), -F.max_pool2d(-depths, 3, 1, 1)
    return torch.where(high.isfinite(), high - low, torch.inf)


def _points(camera: Camera, depth: Tensor, mask: Tensor) -> Tensor:
    """World points that the pixels of a mask show, (N, 3)."""
    origins, directions = camera.rays(camera.pixel_centres()[mask])
    forward = camera.world_from_camera[:3, 2]
    return origins + directions * (depth[mask] / (directions @ forward))[:, None]


def _seen(camera: Camera, points: Tensor, depth: Tensor, steady: Tensor) -> tuple[Tensor, Tensor]:
    """Which points a camera sees on steady ground, (N,), and where in its picture, in [-1, 1], (N, 2)."""
    height, width = camera.hw
    pixels, away = camera.project(points)
    inside = ((pixels >= 0) & (pixels < pixels.new_tensor((width, height)))).all(-1) & (away > 0)
    column = pixels[:, 0].nan_to_num().clamp(0, width - 1).long()
    row = pixels[:, 1].nan_to_num().clamp(0, height - 1).long()
    place = pixels / pixels.new_tensor((width, height)) * 2 - 1
    # Planes are straight in 1 / depth, so what is read between pixels is exact on them however slanted they are.
    surface = 1 / F.grid_sample((1 / depth)[None, None], place[None, None], align_corners=False)[0, 0, 0]
    near = (away - surface).abs() <= _NEAR * away / camera.focal
    return inside & steady[row, column] & near, place


def _check(images: Tensor, camera: Camera) -> None:
    if images.ndim != 4 or images.shape[1] != 3 or len(images) < 2 or images.shape[-2:] != camera.hw:
        raise ValueError(f"images must be (V, 3, {camera.hw[0]}, {camera.hw[1]}) with V over 1, got {images.shape}")
    if camera.world_from_camera.shape != (len(images), 4, 4):
        raise ValueError(f"camera must hold {len(images)} views, got {tuple(camera.world_from_camera.shape)}")
