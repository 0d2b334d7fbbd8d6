"""Colour from pictures onto a surface: what a camera sees of it, how squarely, and what colour it sees there."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zero123.geometry.camera import Camera
from zero123.meshes.mesh import Mesh
from zero123.meshes.raster import rasterise


def visible_vertices(mesh: Mesh, camera: Camera, tolerance: float = 0.01) -> NDArray[np.float32]:
    """How squarely a camera sees each vertex: cosine between normal and line of sight, 0 where hidden, (N,).

    Args:
        mesh: the mesh.
        camera: one camera.
        tolerance: how far behind the nearest surface a vertex may lie and still count as seen, world units.
    """
    return Sight(mesh, camera, tolerance).squarely(mesh.vertices, mesh.vertex_normals())


class Sight:
    """What one camera sees of a mesh."""

    def __init__(self, mesh: Mesh, camera: Camera, tolerance: float = 0.01) -> None:
        """Look once.

        Args:
            mesh: the mesh.
            camera: one camera, `world_from_camera` (4, 4).
            tolerance: how far behind the nearest surface a point may lie and still count as seen, world units.
        """
        self.camera = camera
        self.tolerance = tolerance
        self._depth = rasterise(mesh, camera).depth

    def squarely(self, points: NDArray[np.floating], normals: NDArray[np.floating]) -> NDArray[np.float32]:
        """Cosine between normal and line of sight, 0 where hidden, (K,), of points and unit normals, (K, 3) each."""
        camera, (height, width) = self.camera, self.camera.hw
        pixels, depth = (t.double().numpy() for t in camera.project(torch.from_numpy(points).to(camera.position)))
        column, row = np.floor(pixels[:, 0]).astype(int), np.floor(pixels[:, 1]).astype(int)
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height) & (depth > 0)
        nearest = self._depth[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
        towards = camera.position.double().numpy() - points
        towards /= np.linalg.norm(towards, axis=-1, keepdims=True)
        cosine = np.clip(np.einsum("ij,ij->i", normals, towards), 0, 1)
        # Within one pixel a slanted surface changes its depth: the more it turns away, the more room it needs.
        slant = np.sqrt(1 - cosine**2) / np.maximum(cosine, 0.3)
        reach = self.tolerance + slant * depth / camera.focal
        return np.where(inside & (depth < nearest + reach), cosine, 0).astype(np.float32)

    def read(
        self, picture: Tensor, points: NDArray[np.floating], normals: NDArray[np.floating], margin: float = 1.5
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """A picture's colours on the surface and how far to believe them.

        Grazing and hidden points and those near the outline count little or not: there a small error of the shape would
        paint background.

        Args:
            picture: what the camera saw, straight alpha, (4, H, W), in [0, 1].
            points: (K, 3), world units.
            normals: unit normals there, (K, 3).
            margin: distance from the outline over which belief falls to zero, pixels.

        Returns:
            Colours, (K, 3), and belief, (K,), both in [0, 1].

        Raises:
            ValueError: the picture's shape is not (4, H, W) of the camera.
        """
        camera = self.camera
        if picture.shape != (4, *camera.hw):
            raise ValueError(f"picture must be (4, {camera.hw[0]}, {camera.hw[1]}), got {tuple(picture.shape)}")
        pixels, _ = camera.project(torch.from_numpy(points).to(camera.position))
        place = (pixels / pixels.new_tensor((camera.hw[1], camera.hw[0])) * 2 - 1).to(picture)[None, None]
        layers = torch.cat((picture[:3] * picture[3:], picture[3:], _inside(picture[3], margin)[None]))[None]
        read = torch.nn.functional.grid_sample(layers, place, align_corners=False)[0, :, 0].T.double().numpy()
        colour = np.clip(read[:, :3] / np.maximum(read[:, 3:4], 1e-3), 0, 1)
        squarely = np.clip((self.squarely(points, normals) - 0.2) / 0.4, 0, 1)
        return colour, squarely * np.clip(read[:, 4], 0, 1)


def project_colours(mesh: Mesh, picture: Tensor, camera: Camera, strength: float = 1.0, margin: float = 1.5) -> Mesh:
    """The mesh with the colours of a picture where that picture saw it, blended by view angle into the colours it has.

    Args:
        mesh: with vertex colours.
        picture: what the camera saw, straight alpha, (4, H, W), in [0, 1]; the camera's `hw`.
        camera: one camera, `world_from_camera` (4, 4).
        strength: weight of the picture where it looks squarely at the surface, in [0, 1].
        margin: distance from the outline over which the picture's weight falls to zero, pixels.

    Raises:
        ValueError: the mesh has no colours or the picture's shape is not (4, H, W).
    """
    if mesh.vertex_colours is None:
        raise ValueError("mesh must have vertex_colours, got None")
    colour, belief = Sight(mesh, camera).read(picture, mesh.vertices, mesh.vertex_normals(), margin)
    weight = strength * belief[:, None]
    return mesh.replace(vertex_colours=((1 - weight) * mesh.vertex_colours + weight * colour).astype(np.float32))


def _inside(alpha: Tensor, margin: float) -> Tensor:
    """1 well inside the outline, falling to 0 within about `margin` pixels of it; (H, W) -> (H, W)."""
    reach = int(np.ceil(margin))
    eroded = -torch.nn.functional.max_pool2d(-(alpha > 0.5).float()[None, None], 2 * reach + 1, 1, reach)
    return torch.nn.functional.avg_pool2d(eroded, 3, 1, 1, count_include_pad=True)[0, 0].to(alpha)
