"""An object to render: a mesh file, or the seed of a procedural object."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from zero123.meshes.load import SUFFIXES, MeshError
from zero123.meshes.mesh import Mesh, unit_cube

BLENDER_SUFFIXES = (*SUFFIXES, ".fbx")
"""Kinds of files that Blender reads; embree reads all but the last."""

_FARTHEST = 1e5
"""Sizes of itself that an object may lie away from the origin before 32-bit coordinates blur its shape."""


@dataclass(frozen=True)
class Source:
    """An object to render: a mesh file, or the seed of a procedural object where `path` is None."""

    name: str
    path: Path | None = None
    seed: int = 0

    def parts(self) -> list[Mesh]:
        """The object's meshes inside the unit cube.

        Raises:
            MeshError: the file is not readable, without faces, or of absurd size or place.
        """
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


def missing_textures(path: Path) -> list[str]:
    """Pictures that an OBJ's materials or a glTF name and that are not there; other kinds say so when they are read."""
    suffix = path.suffix.lower()
    if suffix == ".gltf":
        named = _gltf_pictures(path)
    elif suffix == ".obj":
        named = _obj_pictures(path)
    else:
        return []
    return [name for name in named if not (path.parent / name).is_file()]


def _gltf_pictures(path: Path) -> list[str]:
    try:
        images = json.loads(path.read_text(encoding="utf-8")).get("images", [])
        return [unquote(i["uri"]) for i in images if "uri" in i and not i["uri"].startswith("data:")]
    except (OSError, ValueError, AttributeError, TypeError):
        return []  # the reader of meshes says what is wrong with it


def _obj_pictures(path: Path) -> list[str]:
    named = []
    for library in _values(path, "mtllib"):
        if (path.parent / library).is_file():
            # options such as `-s 1 1 1` come before the name
            named += [
                re.sub(r"^(-\w+(\s+[-\d.]+|\s+on|\s+off)*\s+)*", "", v)
                for v in _values(path.parent / library, "map_Kd")
            ]
        else:
            named.append(library)
    return [name.replace("\\", "/") for name in named]


def _values(path: Path, key: str) -> list[str]:
    """What follows `key` at the beginning of the lines of a text file."""
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            found = [line.strip()[len(key) :].strip() for line in lines if line.lstrip().startswith(key + " ")]
    except OSError:
        return []  # the reader of meshes says what is wrong with it
    return list(dict.fromkeys(found))


def sources_of(meshes: Sequence[Path]) -> list[Source]:
    """Objects of mesh files and of the folders that hold some, at any depth, each with a name of its own.

    Names are the files' without ending. Where two are alike, all are named by their way from the given folder.

    Raises:
        ValueError: there are none, or two are one.
    """
    found: dict[Path, Path] = {}
    for given in meshes:
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
