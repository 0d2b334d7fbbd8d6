"""A small software rasteriser: which triangle each pixel sees; pictures, depth and normals of meshes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zero123.geometry.camera import Camera
from zero123.meshes.mesh import Mesh

_BATCH = 2_000_000
"""Pixel candidates held at a time: about 300 MB of temporaries."""


@dataclass(frozen=True)
class Fragments:
    """What each pixel centre sees.

    Attributes:
        face: index of the nearest face, -1 for none, (H, W).
        barycentric: weights of the face's corners on the surface (perspective-correct), (H, W, 3); 0 where there is
            none.
        depth: along the camera's z axis, world units, (H, W); infinite where there is none.
    """

    face: NDArray[np.int64]
    barycentric: NDArray[np.float64]
    depth: NDArray[np.float64]


def rasterise(mesh: Mesh, camera: Camera) -> Fragments:
    """The nearest face at each pixel centre of one camera; faces that reach behind the camera are left out."""
    pixels, depth = camera.project(torch.from_numpy(mesh.vertices).to(camera.world_from_camera))
    return rasterise_flat(pixels.double().numpy()[mesh.faces], depth.double().numpy()[mesh.faces], camera.hw)


def rasterise_flat(corner: NDArray[np.float64], depths: NDArray[np.float64], hw: tuple[int, int]) -> Fragments:
    """The nearest triangle at each pixel centre of a picture.

    Args:
        corner: (x, y) of the triangles' corners, pixels, (F, 3, 2); either way around.
        depths: of the corners, (F, 3); triangles with one at 0 or below are left out.
        hw: height and width of the picture, pixels.
    """
    height, width = hw
    seen = Fragments(np.full((height, width), -1), np.zeros((height, width, 3)), np.full((height, width), np.inf))
    low = np.clip(np.ceil(corner.min(axis=1) - 0.5), 0, (width, height)).astype(np.int64)
    high = np.clip(np.floor(corner.max(axis=1) - 0.5) + 1, 0, (width, height)).astype(np.int64)
    sides = np.maximum(high - low, 0) * (depths.min(axis=1) > 1e-6)[:, None]
    faces = np.nonzero(sides.prod(axis=1))[0]
    ends = np.cumsum(sides[faces].prod(axis=1))
    batches: Any = np.searchsorted(ends, np.arange(_BATCH, ends[-1], _BATCH)) if len(ends) else []
    for batch in np.split(faces, batches):
        _draw(batch, low, sides, corner, depths, seen)
    return seen


def _draw(
    faces: NDArray[np.int64],
    low: NDArray[np.int64],
    sides: NDArray[np.int64],
    corner: NDArray[np.float64],
    depths: NDArray[np.float64],
    seen: Fragments,
) -> None:
    """Write the faces into `seen` wherever they are nearer than what is there."""
    area = sides[faces].prod(axis=1)
    face = np.repeat(faces, area)
    place = np.arange(len(face)) - np.repeat(np.cumsum(area) - area, area)
    x = low[face, 0] + place % sides[face, 0]
    y = low[face, 1] + place // sides[face, 0]
    a, b, c = (corner[face, k] - np.stack((x, y), axis=-1) - 0.5 for k in range(3))
    flat = np.stack((_cross(b, c), _cross(c, a), _cross(a, b)), axis=-1)
    total = flat.sum(axis=-1)
    inside = (total != 0) & ((flat * np.sign(total)[:, None]) >= 0).all(axis=-1)
    face, x, y, flat = face[inside], x[inside], y[inside], flat[inside] / total[inside, None]
    # Straight lines in the picture carry 1 / depth linearly, not depth.
    inverse = flat / depths[face]
    depth = 1 / inverse.sum(axis=-1)
    pixel = y * seen.face.shape[1] + x
    order = np.lexsort((depth, pixel))
    nearest = order[np.unique(pixel[order], return_index=True)[1]]
    nearest = nearest[depth[nearest] < seen.depth.reshape(-1)[pixel[nearest]]]
    seen.face.reshape(-1)[pixel[nearest]] = face[nearest]
    seen.depth.reshape(-1)[pixel[nearest]] = depth[nearest]
    seen.barycentric.reshape(-1, 3)[pixel[nearest]] = inverse[nearest] * depth[nearest, None]


def draw_picture(mesh: Mesh, camera: Camera, samples: int = 2, shade: float = 0.0) -> NDArray[np.float32]:
    """A picture of a mesh from one camera.

    Args:
        mesh: with a texture or vertex colours, or neither for light grey.
        camera: one camera, `world_from_camera` (4, 4).
        samples: sub-pixels along each side of a pixel.
        shade: 0 shows the colours as they are, 1 darkens surfaces fully as they turn away from the camera.

    Returns:
        Straight-alpha picture, (4, H, W), in [0, 1], sRGB.
    """
    height, width = camera.hw
    fine = camera.resized((height * samples, width * samples))
    seen = rasterise(mesh, fine)
    hit = seen.face >= 0
    colour = mesh.colours_at(seen.face[hit], seen.barycentric[hit])
    if shade:
        towards = -camera.world_from_camera[:3, 2].double().numpy()
        facing = np.clip(_normals_at(mesh, seen, hit) @ towards, 0, 1)
        colour = colour * (1 - shade + shade * facing[:, None])
    picture = np.zeros((height * samples, width * samples, 4))
    picture[hit] = np.concatenate((colour, np.ones_like(colour[:, :1])), axis=-1)
    mean = picture.reshape(height, samples, width, samples, 4).mean(axis=(1, 3))
    mean[..., :3] /= np.where(mean[..., 3:] > 0, mean[..., 3:], 1)
    return np.clip(mean, 0, 1).transpose(2, 0, 1).astype(np.float32)


def draw_depth_and_normals(mesh: Mesh, camera: Camera) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How far each pixel's surface is and where it looks.

    Returns:
        Depth along the camera's z axis, world units, (H, W), infinite beside the object; unit normals in the camera's
        axes (x right, y down, z forward), (3, H, W), zero beside the object.
    """
    seen = rasterise(mesh, camera)
    hit = seen.face >= 0
    normals = np.zeros((*camera.hw, 3))
    normals[hit] = _normals_at(mesh, seen, hit) @ camera.world_from_camera[:3, :3].double().numpy()
    return seen.depth.astype(np.float32), normals.transpose(2, 0, 1).astype(np.float32)


def _normals_at(mesh: Mesh, seen: Fragments, hit: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Unit normals in the world where the mesh is seen, (K, 3)."""
    own = mesh.vertex_normals() if mesh.normals is None else mesh.normals
    normals = (own[mesh.faces[seen.face[hit]]] * seen.barycentric[hit][..., None]).sum(axis=1)
    return normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)


def _cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
