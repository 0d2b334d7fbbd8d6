"""A triangle mesh as plain arrays, in the world frame (z up)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Mesh:
    """Triangles with optional colours per vertex and a texture, which comes first where there are both.

    Attributes:
        vertices: (N, 3) float32, world units, z up.
        faces: (F, 3) int64 indices, counter-clockwise seen from outside.
        vertex_colours: (N, 3) float32 sRGB in [0, 1], or None.
        uv: (N, 2) float32 texture coordinates, u to the right and v up from the lower left corner, or None.
        texture: (H, W, 3) float32 sRGB in [0, 1], first row on top, or None.
        normals: (N, 3) float32 unit normals that a file or an artist gave, or None to have them computed.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int64]
    vertex_colours: NDArray[np.float32] | None = None
    uv: NDArray[np.float32] | None = None
    texture: NDArray[np.float32] | None = None
    normals: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        count = len(self.vertices)
        if self.vertices.ndim != 2 or self.vertices.shape[1] != 3:
            raise ValueError(f"vertices must be (N, 3), got {self.vertices.shape}")
        if self.faces.ndim != 2 or self.faces.shape[1] != 3:
            raise ValueError(f"faces must be (F, 3), got {self.faces.shape}")
        if len(self.faces) and (self.faces.min() < 0 or self.faces.max() >= count):
            raise ValueError(f"faces must index the {count} vertices, got {self.faces.min()} to {self.faces.max()}")
        for name, width in (("vertex_colours", 3), ("uv", 2), ("normals", 3)):
            values = getattr(self, name)
            if values is not None and values.shape != (count, width):
                raise ValueError(f"{name} must be ({count}, {width}), got {values.shape}")
        if self.texture is not None and self.uv is None:
            raise ValueError("texture needs uv, got None")

    def replace(self, **changes: object) -> Mesh:
        """A copy with some attributes changed."""
        return replace(self, **changes)  # type: ignore[arg-type]

    def unit_cube(self) -> Mesh:
        """The mesh moved and scaled so that its bounding box is centred at the origin with longest side 1."""
        return unit_cube([self])[0]

    def face_normals(self) -> NDArray[np.float32]:
        """Unit normals of the faces, (F, 3); zero for faces without area."""
        a, b, c = (self.vertices[self.faces[:, k]] for k in range(3))
        return unit(np.cross(b - a, c - a))

    def vertex_normals(self) -> NDArray[np.float32]:
        """Unit normals of the vertices, weighted by face area, (N, 3)."""
        a, b, c = (self.vertices[self.faces[:, k]] for k in range(3))
        weighted = np.cross(b - a, c - a)
        total = np.zeros_like(self.vertices)
        for k in range(3):
            np.add.at(total, self.faces[:, k], weighted)
        return unit(total)

    def colours_at(self, face: NDArray[np.int64], barycentric: NDArray[np.floating]) -> NDArray[np.float32]:
        """Colours of points on faces, sRGB: the texture's, else the vertices', else light grey.

        Args:
            face: (K,).
            barycentric: weights of the face's corners, (K, 3).

        Returns:
            (K, 3), in [0, 1].
        """
        corners, weights = self.faces[face], barycentric[..., None]
        if self.texture is not None and self.uv is not None:
            return read_texture(self.texture, (self.uv[corners] * weights).sum(axis=1))
        if self.vertex_colours is not None:
            return (self.vertex_colours[corners] * weights).sum(axis=1).astype(np.float32)
        return np.full((len(face), 3), 0.8, np.float32)


def welded(mesh: Mesh) -> tuple[Mesh, NDArray[np.int64]]:
    """The mesh with one vertex for all that lie at exactly the same place, as before it was cut for a texture.

    Returns:
        The mesh without texture coordinates and texture, and for each old vertex the number of its new one, (N,).
    """
    _, first, where = np.unique(mesh.vertices, axis=0, return_index=True, return_inverse=True)
    where = where.reshape(-1)
    kept = {
        name: None if values is None else values[first]
        for name, values in (("vertex_colours", mesh.vertex_colours), ("normals", mesh.normals))
    }
    return Mesh(mesh.vertices[first], where[mesh.faces].astype(np.int64), **kept), where.astype(np.int64)


def read_texture(texture: NDArray[np.float32], uv: NDArray[np.floating]) -> NDArray[np.float32]:
    """Bilinear look-up with wrap-around; (H, W, C) at texture coordinates (K, 2) as in `Mesh`, (K, C)."""
    height, width = texture.shape[:2]
    x, y = uv[:, 0] * width - 0.5, (1 - uv[:, 1]) * height - 0.5
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    fx, fy = (x - left)[:, None].astype(np.float32), (y - top)[:, None].astype(np.float32)
    left, right, top, bottom = left % width, (left + 1) % width, top % height, (top + 1) % height
    upper = texture[top, left] * (1 - fx) + texture[top, right] * fx
    lower = texture[bottom, left] * (1 - fx) + texture[bottom, right] * fx
    return upper * (1 - fy) + lower * fy


def linked(faces: NDArray[np.int64], count: int) -> tuple[Any, NDArray[np.float64]]:
    """Which of N vertices share an edge, sparse (N, N), 1 where they do, and with how many, at least 1, (N, 1)."""
    from scipy.sparse import coo_matrix

    a, b, c = faces.T
    rows, columns = np.concatenate((a, b, b, c, c, a)), np.concatenate((b, a, c, b, a, c))
    links = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(count, count)).tocsr()
    links.data[:] = 1.0
    return links, np.maximum(np.asarray(links.sum(axis=1)), 1)


def concatenate(meshes: list[Mesh]) -> Mesh:
    """Join meshes that carry vertex colours (or nothing) into one; textures are not joined."""
    if any(m.texture is not None for m in meshes):
        raise ValueError("only meshes without textures can be joined; bake them to vertex colours first")
    offsets = np.cumsum([0] + [len(m.vertices) for m in meshes[:-1]])
    coloured = all(m.vertex_colours is not None for m in meshes)
    return Mesh(
        vertices=np.concatenate([m.vertices for m in meshes]),
        faces=np.concatenate([m.faces + o for m, o in zip(meshes, offsets, strict=True)]),
        vertex_colours=np.concatenate([m.vertex_colours for m in meshes]) if coloured else None,
    )


def unit_cube(parts: list[Mesh]) -> list[Mesh]:
    """Parts moved and scaled together so that their bounding box is centred at the origin with longest side 1."""
    corners = np.concatenate([part.vertices for part in parts])
    low, high = corners.min(0), corners.max(0)
    middle, side = (low + high) / 2, float((high - low).max()) or 1.0
    return [part.replace(vertices=((part.vertices - middle) / side).astype(np.float32)) for part in parts]


def srgb_to_linear(colour: NDArray[np.float32]) -> NDArray[np.float32]:
    """Display colours to light, both in [0, 1]. IEC 61966-2-1."""
    low = colour / 12.92
    return np.where(colour <= 0.04045, low, ((np.maximum(colour, 0) + 0.055) / 1.055) ** 2.4).astype(np.float32)


def linear_to_srgb(light: NDArray[np.float32]) -> NDArray[np.float32]:
    """Light to display colours, both in [0, 1]. IEC 61966-2-1."""
    high = 1.055 * np.maximum(light, 0) ** (1 / 2.4) - 0.055
    return np.where(light <= 0.0031308, light * 12.92, high).astype(np.float32)


def unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Vectors (..., 3) of length 1; those of none stay so."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return (vectors / np.where(length > 0, length, 1)).astype(np.float32)
