"""Fast CPU renderer: embree casts the rays, numpy shades what they hit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zero123.data.render.light import Light
from zero123.geometry.camera import Camera
from zero123.meshes.mesh import Mesh, linear_to_srgb, read_texture, srgb_to_linear

_CREASE = float(np.cos(np.radians(35)))
"""Shading is smooth across edges that bend less than this, where the mesh brings no normals."""

_SAMPLES = {
    1: ((0.5, 0.5),),
    4: ((0.375, 0.125), (0.875, 0.375), (0.125, 0.625), (0.625, 0.875)),
}
"""Places of the rays within a pixel; four on a rotated grid, so that level and upright edges get four levels."""


class EmbreeRenderer:
    """One object, ready to be drawn from many cameras.

    Args:
        parts: the object's meshes, in world units, z up.

    Raises:
        ImportError: embreex is not installed; names the extra.
    """

    def __init__(self, parts: Sequence[Mesh]) -> None:
        try:
            from embreex.mesh_construction import TriangleMesh
            from embreex.rtcore_scene import EmbreeScene
        except ImportError as error:
            raise ImportError("the embree renderer needs embreex: pip install 'zero123[data]'") from error
        self._parts = list(parts)
        self._corners = np.concatenate([p.vertices[p.faces] for p in self._parts]).astype(np.float32)
        self._part_of_face = np.repeat(np.arange(len(self._parts)), [len(p.faces) for p in self._parts])
        self._first_face = np.cumsum([0] + [len(p.faces) for p in self._parts])
        self._face_normals = np.concatenate([p.face_normals() for p in self._parts])
        self._normals = [_corner_normals(p) if p.normals is None else p.normals[p.faces] for p in self._parts]
        self._linear = [None if p.vertex_colours is None else srgb_to_linear(p.vertex_colours) for p in self._parts]
        self._textures = [None if p.texture is None else srgb_to_linear(p.texture) for p in self._parts]
        self._scene = EmbreeScene()
        TriangleMesh(self._scene, self._corners)

    def render(self, camera: Camera, light: Light | None = None, samples: int = 4) -> Tensor:
        """The object as `camera` sees it.

        Args:
            camera: one camera, `world_from_camera` (4, 4).
            light: None for the default light.
            samples: rays per pixel, 1 or 4.

        Returns:
            Straight-alpha sRGB picture, (4, H, W), in [0, 1]; colour is 0 where alpha is 0.
        """
        if samples not in _SAMPLES:
            raise ValueError(f"samples must be one of {sorted(_SAMPLES)}, got {samples}")
        height, width = camera.hw
        picture = np.zeros((height * width, 4), np.float32)
        origins, directions, pixel = self._rays(camera, samples)
        if len(pixel):
            hit = self._scene.run(origins, directions, output=True)
            seen = np.flatnonzero(hit["primID"] >= 0)
            colour = self._shade(hit, seen, directions, light or Light())
            count = np.bincount(pixel[seen], minlength=height * width)
            for channel in range(3):
                total = np.bincount(pixel[seen], weights=colour[:, channel], minlength=height * width)
                picture[:, channel] = total / np.maximum(count, 1)
            picture[:, 3] = count / samples
        return torch.from_numpy(picture.reshape(height, width, 4).transpose(2, 0, 1).copy())

    def _rays(self, camera: Camera, samples: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
        """Rays through the pixels that the object's bounding box may touch, and the pixel each belongs to."""
        height, width = camera.hw
        low, high = self._corners.min((0, 1)), self._corners.max((0, 1))
        box = np.stack(np.meshgrid(*zip(low, high, strict=True)), -1).reshape(-1, 3)
        where, depth = camera.project(torch.from_numpy(box).to(camera.world_from_camera.dtype))
        x0, y0, x1, y1 = 0, 0, width, height
        if bool((depth > 1e-3).all()):
            x0, y0 = (max(int(v), 0) for v in where.amin(0).floor())
            x1, y1 = (min(int(v) + 1, limit) for v, limit in zip(where.amax(0).ceil(), (width, height), strict=True))
        columns, rows = np.meshgrid(np.arange(x0, max(x1, x0)), np.arange(y0, max(y1, y0)))
        corner = np.stack((columns, rows), -1).reshape(-1, 1, 2)
        places = (corner + np.asarray(_SAMPLES[samples])).reshape(-1, 2)
        pixel = np.repeat((rows * width + columns).reshape(-1), samples)
        origins, directions = camera.rays(torch.from_numpy(places).to(camera.world_from_camera.dtype))
        as_float = (np.ascontiguousarray(t.to(torch.float32).numpy()) for t in (origins, directions))
        return (*as_float, pixel)  # type: ignore[return-value]

    def _shade(
        self, hit: dict[str, NDArray], seen: NDArray[np.int64], directions: NDArray[np.float32], light: Light
    ) -> NDArray[np.float32]:
        """SRGB colours of the hits, (N, 3)."""
        face = hit["primID"][seen].astype(np.int64)
        u, v = hit["u"][seen], hit["v"][seen]
        weights = np.stack((1 - u - v, u, v), axis=1)
        base = np.empty((len(seen), 3), np.float32)
        smooth = np.empty((len(seen), 3), np.float32)
        part_of_hit = self._part_of_face[face]
        for index, part in enumerate(self._parts):
            mine = np.flatnonzero(part_of_hit == index) if len(self._parts) > 1 else slice(None)
            own = face[mine] - self._first_face[index]
            vertex, weight = part.faces[own], weights[mine][:, :, None]
            smooth[mine] = (self._normals[index][own] * weight).sum(1)
            texture, linear = self._textures[index], self._linear[index]
            if texture is not None and part.uv is not None:
                base[mine] = read_texture(texture, (part.uv[vertex] * weight).sum(1))
            else:
                base[mine] = 0.45 if linear is None else (linear[vertex] * weight).sum(1)
        normals = _towards_viewer(smooth, self._face_normals[face], directions[seen])
        shaded = light.shade(base, normals, -directions[seen])
        return np.clip(linear_to_srgb(shaded), 0, 1)


def render(parts: Sequence[Mesh], camera: Camera, light: Light | None = None, samples: int = 4) -> Tensor:
    """One picture of an object, (4, H, W) straight alpha; use `EmbreeRenderer` for several views of the same object."""
    return EmbreeRenderer(parts).render(camera, light, samples)


def _corner_normals(mesh: Mesh) -> NDArray[np.float32]:
    """Unit normals of the corners of all faces, (F, 3, 3), averaged over faces joined by edges that bend little."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    faces, flat, count = mesh.faces, mesh.face_normals(), len(mesh.faces)
    edges = np.sort(np.stack((faces, np.roll(faces, -1, axis=1)), axis=-1).reshape(-1, 2), axis=1)
    order = np.lexsort(edges.T)
    edges, owner = edges[order], order // 3
    shared = (edges[1:] == edges[:-1]).all(1)
    one, other = owner[:-1][shared], owner[1:][shared]
    bends_little = (flat[one] * flat[other]).sum(1) > _CREASE
    one, other = one[bends_little], other[bends_little]
    graph = coo_array((np.ones(len(one)), (one, other)), shape=(count, count))
    _, group = connected_components(graph, directed=False)
    _, corner = np.unique(faces * count + group[:, None], return_inverse=True)
    corner = corner.reshape(-1)
    a, b, c = (mesh.vertices[faces[:, k]] for k in range(3))
    weighted = np.repeat(np.cross(b - a, c - a), 3, axis=0)
    total = np.stack([np.bincount(corner, weights=weighted[:, k]) for k in range(3)], axis=1)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return (total / np.where(length > 0, length, 1))[corner].reshape(-1, 3, 3).astype(np.float32)


def _towards_viewer(
    smooth: NDArray[np.float32], flat: NDArray[np.float32], directions: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Unit normals that face against the rays: smooth ones, or the face's own where those cancel out, (N, 3)."""
    length = np.linalg.norm(smooth, axis=1, keepdims=True)
    normals = np.where(length > 1e-6, smooth / np.maximum(length, 1e-6), flat)
    normals[(normals * directions).sum(1) > 0] *= -1
    return normals
