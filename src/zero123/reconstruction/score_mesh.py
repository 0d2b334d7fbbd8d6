"""Surface and colours of a field that a denoiser's score has made: no outlines say where it ends, its light does."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from zero123.fields.rendering import Field, March, cells_at, render
from zero123.fields.voxels import cell_centres
from zero123.geometry.camera import Camera
from zero123.meshes.finishing import clean
from zero123.meshes.mesh import Mesh
from zero123.meshes.surface import extract_surface
from zero123.meshes.texture import visible_vertices


@torch.no_grad()
def stopping_density(field: Field, march: March, cameras: Camera, occupied: Tensor | None = None) -> float:
    """Density where light stops: the median, over blocked rays, at the sample that has taken half of their light.

    Args:
        field: the field.
        march: as it is rendered.
        cameras: (V,), that look at it.
        occupied: see `rendering.render`.

    Raises:
        ValueError: no ray of any camera loses half of its light.
    """
    found = []
    for index in range(len(cameras.world_from_camera)):
        origins, directions = cameras[index].rays()
        nothing = torch.zeros_like(origins[:, :1])
        seen = render(_Opaque(field), origins, directions, nothing, march, occupied=occupied)
        gone = seen.weights.cumsum(dim=1)
        blocked = gone[:, -1] > 0.5
        first = (gone[blocked] < 0.5).sum(dim=1)
        before = torch.where(first > 0, gone[blocked].gather(1, (first - 1).clamp(min=0)[:, None])[:, 0], 0)
        share = seen.weights[blocked].gather(1, first[:, None])[:, 0] / (1 - before)
        found.append(-torch.log1p(-share.clamp(max=1 - 1e-6)) / march.step)
    densities = torch.cat(found)
    if not len(densities):
        raise ValueError("the field is empty: no camera sees anything that blocks half of its light")
    return float(densities.median())


@torch.no_grad()
def solid_surface(
    field: Field,
    march: March,
    cameras: Camera,
    faces: int,
    occupied: Tensor | None = None,
    cells: int = 128,
    blur: float = 1.0,
) -> Mesh:
    """The clean closed surface where density is half of what stops light; without colours.

    Args:
        field: the field.
        march: as it is rendered.
        cameras: (V,), by which the level is found.
        faces: triangles, at most about this many.
        occupied: see `rendering.render`.
        cells: along each side of the grid on which density is read.
        blur: of its share of light, cells (standard deviation); closes pinholes.

    Raises:
        ValueError: the field is empty.
    """
    from scipy.ndimage import gaussian_filter

    level = stopping_density(field, march, cameras, occupied) / 2
    centres = cell_centres((cells,) * 3, field.low, field.high).reshape(-1, 3)
    inside = torch.ones_like(centres[:, 0], dtype=torch.bool)
    if occupied is not None:
        inside = cells_at(occupied, centres, field.low, field.high)
    density = torch.zeros_like(centres[:, 0])
    density[inside] = torch.cat([field.sigma(part) for part in centres[inside].split(1 << 17)])
    # Share of light that a layer takes which takes half of it at the level: steep and bounded, as a surface should be.
    solid = -torch.expm1(-density * (math.log(2) / level)).reshape((cells,) * 3)
    smooth = gaussian_filter(solid.cpu().numpy(), blur, mode="nearest")
    if not smooth.max() > 0.5:
        raise ValueError("the field is empty: what there is of it is thinner than a cell")
    return clean(extract_surface(smooth, 0.5, field.low.cpu().numpy(), field.high.cpu().numpy()), faces)


def coloured_by_pictures(mesh: Mesh, pictures: Tensor, cameras: Camera) -> Mesh:
    """The mesh with vertex colours from pictures all around, each counting as squarely as it sees the surface.

    Vertices that no picture sees take the colour of the nearest one that is seen.

    Args:
        mesh: the mesh.
        pictures: (V, 3, H, W), in [0, 1].
        cameras: (V,), with the pictures' `hw`.

    Raises:
        ValueError: no picture sees the mesh.
    """
    from scipy.spatial import cKDTree

    total, colours = np.zeros(len(mesh.vertices)), np.zeros((len(mesh.vertices), 3))
    points = torch.from_numpy(mesh.vertices)
    for index, picture in enumerate(pictures):
        camera = cameras[index]
        pixels, _ = camera.project(points.to(camera.world_from_camera))
        place = pixels / pixels.new_tensor((camera.hw[1], camera.hw[0])) * 2 - 1
        read = torch.nn.functional.grid_sample(picture[None], place.to(picture)[None, None], align_corners=False)
        # Squares: a grazing look reads the background beside the outline.
        weight = visible_vertices(mesh, camera).astype(np.float64) ** 2
        total += weight
        colours += weight[:, None] * read[0, :, 0].T.double().numpy()
    seen = total > 1e-3
    if not seen.any():
        raise ValueError("no picture sees the mesh")
    colours[seen] /= total[seen, None]
    _, nearest = cKDTree(mesh.vertices[seen]).query(mesh.vertices[~seen])
    colours[~seen] = colours[seen][nearest]
    return mesh.replace(vertex_colours=np.clip(colours, 0, 1).astype(np.float32))


class _Opaque:
    """The density of a field, and a colour of one channel that is never looked at."""

    def __init__(self, field: Field) -> None:
        self._field, self.low, self.high = field, field.low, field.high

    def sigma(self, points: Tensor) -> Tensor:
        """As the field's."""
        return self._field.sigma(points)

    def features(self, points: Tensor) -> Tensor:
        """Zeros, (P, 1)."""
        return torch.zeros_like(points[:, :1])
