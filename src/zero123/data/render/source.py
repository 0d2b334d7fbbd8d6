"""An object to render: a mesh file, or the seed of a procedural object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zero123.meshes.deformation import Deformation
from zero123.meshes.load import SUFFIXES, MeshError
from zero123.meshes.mesh import Mesh, unit_cube

BLENDER_SUFFIXES = (*SUFFIXES, ".fbx")
"""Kinds of files that Blender reads; embree reads all but the last."""

_FARTHEST = 1e5
"""Sizes of itself that an object may lie away from the origin before 32-bit coordinates blur its shape."""


@dataclass(frozen=True)
class Source:
    """An object to render.

    Attributes:
        name: of its views.
        path: of its mesh; None for a procedural object.
        seed: of a procedural object.
        deformation: makes another shape of it; None leaves it as it is.
    """

    name: str
    path: Path | None = None
    seed: int = 0
    deformation: Deformation | None = None

    def parts(self) -> list[Mesh]:
        """The object's meshes inside the unit cube.

        Raises:
            MeshError: the file is not readable, without faces, or of absurd size or place.
        """
        return self._read() if self.deformation is None else self.deformation.of(self._read())

    def _read(self) -> list[Mesh]:
        if self.path is None:
            from zero123.data.procedural.generate import generate

            return [generate(self.seed)]
        from zero123.meshes.load import load

        if self.path.suffix.lower() == ".fbx":
            raise MeshError(f"{self.path}: FBX is read by Blender only; render it with --renderer blender")
        parts = load(self.path)
        corners = np.concatenate([part.vertices for part in parts]).astype(np.float64)
        low, high = corners.min(0), corners.max(0)
        check_extent(str(self.path), float((high - low).max()), float(np.abs(low + high).max() / 2))
        return unit_cube(parts)


def check_extent(name: str, side: float, away: float) -> None:
    """Refuse an object without extent, or so far from the origin that its coordinates have no digits for its shape.

    Args:
        name: what the line begins with.
        side: longest side of its bounding box, its own units.
        away: distance of the box's middle from the origin along an axis, its own units.

    Raises:
        MeshError: in one line.
    """
    if not (np.isfinite(side) and side > 1e-30):
        raise MeshError(f"{name}: its longest side is {side:g}; there is nothing to see")
    if away > _FARTHEST * side:
        raise MeshError(
            f"{name}: lies {away / side:.2g} times its size away from the origin, where its shape is lost to "
            "rounding; move it to the origin in its own program"
        )


def sources_of(meshes: Sequence[Path]) -> list[Source]:
    """Objects of mesh files and of the folders that hold some, at any depth, each with a name of its own.

    Names are the files' without ending. Where two are alike, all are named by their way from the given folder.

    Raises:
        ValueError: there are none, one that was named is not there, or two are one.
    """
    found: dict[Path, Path] = {}
    for given in meshes:
        if not given.exists():
            raise ValueError(f"{given}: no such file or folder")
        inside = sorted(given.rglob("*")) if given.is_dir() else [given]
        for file in inside:
            if file == given or (file.suffix.lower() in BLENDER_SUFFIXES and not file.name.startswith(".")):
                found.setdefault(file, file.relative_to(given) if file != given else Path(file.name))
    if not found:
        raise ValueError(f"no meshes found; give files or folders with {', '.join(BLENDER_SUFFIXES)}")
    ways = list(found.values())
    for names in (
        [way.stem for way in ways],
        ["-".join(way.with_suffix("").parts) for way in ways],
        ["-".join(way.parts).replace(".", "-") for way in ways],
    ):
        if len(set(names)) == len(names):
            return [Source(name, file) for name, file in zip(names, found, strict=True)]
    twice = next(name for name, count in Counter(names).items() if count > 1)
    alike = [str(file) for name, file in zip(names, found, strict=True) if name == twice]
    raise ValueError(f"two objects would be named {twice}: {', '.join(alike)}; render their folders separately")
