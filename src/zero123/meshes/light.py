"""Light that a picture has left in a surface's colours: how it depends on the normal, and colours without it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from zero123.meshes.mesh import Mesh, linear_to_srgb, srgb_to_linear

_MOST = 1.0
"""Length of the light at most; what faces it is then e^2 times as bright as what faces away."""
_PAINTS = 0.1
"""Share of red and green in a colour by which two paints differ."""
_ROUNDS, _KNEE = 12, 0.05
_DARK = 1e-3
"""Linear light below which a colour says nothing of the light on it."""


def light_on(mesh: Mesh) -> NDArray[np.float64]:
    """The light on a mesh, (3,): a surface of unit normal n shows its own colour times exp(light . n).

    To first order in n, what lights from all around and a lamp far away do to a matt body (Ramamoorthi and Hanrahan,
    2001, "An efficient representation for irradiance environment maps", of which this is the logarithm). Colours alike
    in hue count as one paint, and their brightness may differ by the light alone; most of each paint decides (least
    absolute differences). A body painted darker below than above in one hue cannot be told from a lit one.

    Args:
        mesh: with vertex colours.

    Raises:
        ValueError: the mesh has no colours.
    """
    if mesh.vertex_colours is None:
        raise ValueError("mesh must have vertex_colours, got None")
    colour, normals = srgb_to_linear(mesh.vertex_colours).astype(np.float64), mesh.vertex_normals().astype(np.float64)
    total = colour.sum(axis=1)
    told = total > 3 * _DARK
    if told.sum() < 4:
        return np.zeros(3)
    area = _areas(mesh)[told]
    share = np.rint(colour[told, :2] / total[told, None] / _PAINTS).astype(np.int64)
    paint = np.unique(share, axis=0, return_inverse=True)[1].reshape(-1)
    bright, facing = np.log(total[told] / 3), normals[told]
    weight, light = area.copy(), np.zeros(3)
    for _ in range(_ROUNDS):
        ours, theirs = bright - _means(bright, paint, weight), facing - _means(facing, paint, weight)
        # A small pull to no light decides where normals hardly differ within any paint.
        system = (theirs * weight[:, None]).T @ theirs + 0.02 * weight.sum() * np.eye(3)
        light = np.linalg.solve(system, (theirs * weight[:, None]).T @ ours)
        weight = area / np.maximum(np.abs(ours - theirs @ light), _KNEE)
    return light * min(1.0, _MOST / max(float(np.linalg.norm(light)), 1e-9))


def without_light(
    colours: NDArray[np.floating], normals: NDArray[np.floating], light: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Colours as they would be under even light, (K, 3), sRGB in [0, 1].

    Args:
        colours: (K, 3), sRGB in [0, 1].
        normals: unit normals there, (K, 3).
        light: from `light_on`, or a share of it, (3,).
    """
    shade = np.exp(normals @ light)[:, None]
    return linear_to_srgb(np.clip(srgb_to_linear(colours.astype(np.float32)) / shade, 0, 1)).astype(np.float32)


def _areas(mesh: Mesh) -> NDArray[np.float64]:
    """A third of the area of the faces around each vertex, (N,)."""
    a, b, c = (mesh.vertices[mesh.faces[:, k]].astype(np.float64) for k in range(3))
    face = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 6
    total: NDArray[np.float64] = np.zeros(len(mesh.vertices))
    np.add.at(total, mesh.faces.reshape(-1), np.repeat(face, 3))
    return total


def _means(values: NDArray[np.float64], group: NDArray[np.int64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each value the weighted mean of its group, as the values."""
    columns = values.reshape(len(values), -1)
    total = np.maximum(np.bincount(group, weight), 1e-12)
    sums = np.stack([np.bincount(group, weight * column) for column in columns.T], axis=1)
    return (sums / total[:, None])[group].reshape(values.shape)
