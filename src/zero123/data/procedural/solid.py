"""Closed triangle surfaces that parts of generated objects are made of: moving, mirroring, joining, row meshing."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Solid:
    """A closed surface with outward winding.

    Attributes:
        vertices: (N, 3) float64, z up.
        faces: (F, 3) int64, counter-clockwise seen from outside.
        colours: (N, 3) sRGB in [0, 1], or None while unpainted.
    """

    vertices: Array
    faces: NDArray[np.int64]
    colours: Array | None = None

    @property
    def low(self) -> Array:
        """Lower corner of the bounding box, (3,)."""
        return np.asarray(self.vertices.min(0))

    @property
    def high(self) -> Array:
        """Upper corner of the bounding box, (3,)."""
        return np.asarray(self.vertices.max(0))

    def moved(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Solid:
        """The solid shifted by (x, y, z)."""
        return replace(self, vertices=self.vertices + np.array([x, y, z]))

    def scaled(self, x: float, y: float, z: float) -> Solid:
        """The solid scaled about the origin by positive factors."""
        return replace(self, vertices=self.vertices * np.array([x, y, z]))

    def turned(self, axis: str, angle: float) -> Solid:
        """The solid turned about a coordinate axis ("x", "y" or "z") by `angle` radians, counter-clockwise."""
        i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
        vertices = self.vertices.copy()
        cosine, sine = np.cos(angle), np.sin(angle)
        vertices[:, i] = cosine * self.vertices[:, i] - sine * self.vertices[:, j]
        vertices[:, j] = sine * self.vertices[:, i] + cosine * self.vertices[:, j]
        return replace(self, vertices=vertices)

    def mirrored(self) -> Solid:
        """The mirror image in the plane y = 0, still wound outwards."""
        return replace(self, vertices=self.vertices * np.array([1.0, -1.0, 1.0]), faces=self.faces[:, ::-1])

    def grounded(self, z: float = 0.0) -> Solid:
        """The solid moved up or down so that its lowest point is at height `z`."""
        return self.moved(z=z - float(self.low[2]))


def join(solids: list[Solid]) -> Solid:
    """One solid made of painted or unpainted ones; painted only if all are."""
    offsets = np.cumsum([0] + [len(s.vertices) for s in solids[:-1]])
    colours = [s.colours for s in solids if s.colours is not None]
    return Solid(
        np.concatenate([s.vertices for s in solids]),
        np.concatenate([s.faces + o for s, o in zip(solids, offsets, strict=True)]),
        np.concatenate(colours) if len(colours) == len(solids) else None,
    )


def both_sides(solid: Solid) -> list[Solid]:
    """The solid and its mirror image in y = 0."""
    return [solid, solid.mirrored()]


def around(solid: Solid, count: int) -> list[Solid]:
    """`count` copies of the solid, evenly turned about the z axis."""
    return [solid.turned("z", 2 * np.pi * k / count) for k in range(count)]


def close_rows(rows: Array, bottom: Array, top: Array) -> Solid:
    """The surface through a stack of loops, closed by a point at each end.

    Args:
        rows: (K, S, 3) loops, each counter-clockwise seen from the top.
        bottom: (3,) point that closes the first loop.
        top: (3,) point that closes the last loop.
    """
    count, size = rows.shape[:2]
    near = np.arange(size)
    after = (near + 1) % size
    last = (count - 1) * size
    poles = count * size
    fan_bottom = np.stack([np.full(size, poles), after, near], 1)
    fan_top = np.stack([np.full(size, poles + 1), last + near, last + after], 1)
    vertices = np.concatenate([rows.reshape(-1, 3), bottom[None], top[None]])
    faces = np.concatenate([_quads(count - 1, size, count * size), fan_bottom, fan_top])
    return Solid(vertices, faces)


def wrap_rows(rows: Array) -> Solid:
    """The torus-like surface through loops (K, S, 3) of which the last is followed by the first."""
    count, size = rows.shape[:2]
    return Solid(rows.reshape(-1, 3), _quads(count, size, count * size))


def _quads(bands: int, size: int, total: int) -> NDArray[np.int64]:
    start = np.arange(bands)[:, None] * size
    near = np.arange(size)[None]
    after = (near + 1) % size
    a, b = start + near, start + after
    c, d = (b + size) % total, (a + size) % total
    return np.stack([np.stack([a, b, c], -1), np.stack([a, c, d], -1)], 2).reshape(-1, 3)


def refine(points: Array, spacing: float, closed: bool = False) -> Array:
    """A polyline (K, D) with points added so that no step is longer than `spacing`; the corners stay."""
    ends = np.roll(points, -1, 0) if closed else points[1:]
    starts = points if closed else points[:-1]
    pieces = []
    for start, end in zip(starts, ends, strict=True):
        steps = max(1, int(np.ceil(np.linalg.norm(end - start) / spacing - 1e-6)))
        pieces.append(start + (end - start) * (np.arange(steps) / steps)[:, None])
    return np.concatenate(pieces if closed else [*pieces, points[-1:]])
