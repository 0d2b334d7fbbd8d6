"""Whether views show the outline that a mesh has from their cameras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from zero123.geometry.camera import Camera
from zero123.meshes.load import SUFFIXES, MeshError, load
from zero123.meshes.mesh import Mesh, unit_cube
from zero123.meshes.raster import rasterise

Frame = Literal["zero123", "blender"]
"""Where the front of a glTF (+Z) looks in the world of the views: to +x here, to -y in Blender; up is z in both."""

_SIDE = 128  # pixels at which outlines are compared
_TURNS = (0, 90, 180, 270)
_FITS = 0.9  # agreement from which another turn of the mesh is named as the reason


@dataclass(frozen=True)
class Agreement:
    """How well views fit a mesh.

    Attributes:
        shares: intersection over union of outline and view, of each view, 0 to 1.
        turn_deg: by which the mesh would have to be turned about z to fit, where that is so; else 0.
    """

    shares: list[float]
    turn_deg: int


def mesh_files(folder: Path) -> dict[str, Path]:
    """The meshes below a folder by their names without ending.

    Raises:
        MeshError: there are none.
    """
    found = {path.stem: path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES}
    if not found:
        raise MeshError(f"{folder}: holds no meshes ({', '.join(SUFFIXES)})")
    return found


def agreement(
    mesh: Path, cameras: Sequence[Camera], outlines: Sequence[NDArray[np.bool_]], frame: Frame = "zero123"
) -> Agreement:
    """Compare a mesh, in the unit cube as renders have it, with what its views show.

    Args:
        mesh: file.
        cameras: one per view, `world_from_camera` (4, 4).
        outlines: where each view shows the object, (H, W).
        frame: how the mesh stood when it was rendered.

    Raises:
        MeshError: the file cannot be used.
    """
    whole = _joined(unit_cube(load(mesh)), frame)
    shares = [_share(whole, camera, outline) for camera, outline in zip(cameras, outlines, strict=True)]
    worst = int(np.argmin(shares))
    if shares[worst] >= _FITS:
        return Agreement(shares, 0)
    turned = {turn: _share(_turned(whole, turn), cameras[worst], outlines[worst]) for turn in _TURNS}
    best = max(_TURNS, key=lambda turn: turned[turn])
    return Agreement(shares, best if turned[best] >= _FITS else 0)


def _joined(parts: list[Mesh], frame: Frame) -> Mesh:
    """The parts as one mesh without colours, in the world of the views."""
    firsts = np.cumsum([0, *(len(part.vertices) for part in parts)])
    vertices = np.concatenate([part.vertices for part in parts])
    faces = np.concatenate([part.faces + first for part, first in zip(parts, firsts, strict=False)])
    whole = Mesh(vertices, faces)
    return whole if frame == "zero123" else _turned(whole, 270)


def _turned(mesh: Mesh, degrees: int) -> Mesh:
    """The mesh turned counter-clockwise about z, seen from above."""
    cosine, sine = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    turn = np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]], np.float32)
    return Mesh(mesh.vertices @ turn, mesh.faces)


def _share(mesh: Mesh, camera: Camera, outline: NDArray[np.bool_]) -> float:
    """Intersection over union, at about `_SIDE` pixels."""
    height, width = outline.shape
    factor = max(1, round(max(height, width) / _SIDE))
    while height % factor or width % factor:
        factor -= 1
    small = outline.reshape(height // factor, factor, width // factor, factor).mean(axis=(1, 3)) > 0.5
    drawn = rasterise(mesh, camera.resized((height // factor, width // factor))).face >= 0
    union = (small | drawn).sum()
    return float((small & drawn).sum() / union) if union else 0.0
