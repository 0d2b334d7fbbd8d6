"""Mesh files to `Mesh` values: GLB, glTF, OBJ, PLY, STL with textures or vertex colours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zero123.meshes.mesh import Mesh, linear_to_srgb, srgb_to_linear

SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl")
_GREY = 0.7
_Y_UP = (".glb", ".gltf", ".obj")


class MeshError(ValueError):
    """A mesh file that cannot be used, said in one line."""


def load(path: str | Path) -> list[Mesh]:
    """The parts of an object, one per material, in the world frame (z up).

    GLB, glTF and OBJ are taken to be +Y up, front +Z, and are turned; PLY and STL are taken as they are. Base colour
    only.

    Raises:
        MeshError: no such file, a kind that is not read, cut short or damaged, nothing to draw in it, or numbers in it
            that are not finite.
    """
    import trimesh

    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise MeshError(f"{path}: cannot read this kind of mesh; use one of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise MeshError(f"{path}: no such file")
    check_whole(path)
    try:
        scene = trimesh.load_scene(path, process=False)
    except Exception as error:
        reason = " ".join(str(error).split())  # some of the reader's messages have several lines
        raise MeshError(f"{path}: not a readable mesh ({type(error).__name__}: {reason})") from error
    parts = []
    for node in scene.graph.nodes_geometry:
        world_from_part, name = scene.graph[node]
        if len(getattr(scene.geometry[name], "faces", ())):
            try:
                parts.append(_part(scene.geometry[name], world_from_part, path.suffix.lower()))
            except ValueError as error:
                raise MeshError(f"{path}: {error}") from error
    if not parts:
        raise MeshError(f"{path}: holds no triangles")
    return parts


def check_whole(path: Path) -> None:
    """Refuse files that are shorter than they say, of which readers' own messages are dark.

    Raises:
        MeshError: empty, cut short, or not what its ending says.
    """
    size = path.stat().st_size
    if not size:
        raise MeshError(f"{path}: is empty, 0 bytes")
    with path.open("rb") as file:
        head = file.read(84)
    suffix, needed = path.suffix.lower(), 0
    if suffix == ".glb":
        if head[:4] != b"glTF":
            raise MeshError(f"{path}: not a readable mesh (it is no GLB)")
        needed = int.from_bytes(head[8:12], "little")
    elif suffix == ".stl" and len(head) == 84 and not head.lstrip().startswith(b"solid"):
        needed = 84 + 50 * int.from_bytes(head[80:84], "little")
    elif suffix == ".gltf":
        try:
            json.loads(path.read_bytes())
        except ValueError as error:
            raise MeshError(f"{path}: not a readable mesh (its JSON is damaged: {error})") from error
    if size < needed:
        raise MeshError(f"{path}: cut short, it has {size} bytes and must have {needed}")


def _part(geometry: Any, world_from_part: NDArray[np.float64], suffix: str) -> Mesh:
    turn = [2, 0, 1] if suffix in _Y_UP else [0, 1, 2]
    count = len(geometry.vertices)
    if not (np.isfinite(geometry.vertices).all() and np.isfinite(world_from_part).all()):
        raise ValueError("holds points that are not finite numbers")
    uv, texture, colours = _appearance(geometry.visual, count, linear=suffix in (".glb", ".gltf"))
    for values, what in ((uv, "texture coordinates"), (colours, "colours")):
        if values is not None and not np.isfinite(values).all():
            raise ValueError(f"holds {what} that are not finite numbers")
    if texture is None and colours is None:
        colours = np.full((count, 3), _GREY, np.float32)
    rotation, translation = world_from_part[:3, :3], world_from_part[:3, 3]
    normals = geometry._cache.cache.get("vertex_normals")  # only what the file gave; the property would compute them
    if normals is not None:
        normals = _turned_normals(np.asarray(normals), rotation, turn)
    faces = np.asarray(geometry.faces, np.int64)
    with np.errstate(over="ignore"):  # what is too large for 32 bits becomes inf, which whoever needs its size refuses
        vertices = (np.asarray(geometry.vertices) @ rotation.T + translation).astype(np.float32)
    return Mesh(
        vertices=vertices[:, turn],
        faces=faces if np.linalg.det(rotation) > 0 else faces[:, ::-1],
        vertex_colours=colours,
        uv=uv,
        texture=texture,
        normals=normals,
    )


def _turned_normals(
    normals: NDArray[np.floating], rotation: NDArray[np.float64], turn: list[int]
) -> NDArray[np.float32] | None:
    """Unit normals in the world, or None to have them computed where the file's are lost or are no numbers."""
    try:
        world = normals @ np.linalg.inv(rotation)
    except np.linalg.LinAlgError:
        return None  # the part is flattened
    if not np.isfinite(world).all():
        return None
    unit = world / np.maximum(np.linalg.norm(world, axis=1, keepdims=True), 1e-12)
    return unit.astype(np.float32)[:, turn]


def _appearance(
    visual: Any, count: int, linear: bool
) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None, NDArray[np.float32] | None]:
    """Texture coordinates, texture and vertex colours (sRGB) or None; `linear`: the file's vertex colours are light."""
    attribute = getattr(visual, "vertex_attributes", {})
    colours = None
    if "color" in attribute:
        colours = _fraction(attribute["color"])[:, :3]
        colours = linear_to_srgb(colours) if linear else colours
    elif visual.kind in ("vertex", "face"):
        colours = _fraction(visual.vertex_colors)[:, :3]
        colours = linear_to_srgb(colours) if linear else colours
    material = getattr(visual, "material", None)
    image, tint = _base_colour(material)
    uv = getattr(visual, "uv", None)
    if image is not None and uv is not None:
        texture = linear_to_srgb(srgb_to_linear(image) * tint)
        return np.asarray(uv, np.float32), texture, None
    if colours is None and material is not None:
        colours = np.broadcast_to(linear_to_srgb(tint), (count, 3))
    elif colours is not None and (tint != 1).any():
        colours = linear_to_srgb(srgb_to_linear(colours) * tint)
    return None, None, None if colours is None else np.ascontiguousarray(colours, np.float32)


def _base_colour(material: Any) -> tuple[NDArray[np.float32] | None, NDArray[np.float32]]:
    """Base colour picture (sRGB) and factor (linear) of a PBR or plain material."""
    white = np.ones(3, np.float32)
    if material is None:
        return None, white
    image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    factor = getattr(material, "baseColorFactor", None)
    if factor is None and image is None:
        factor = getattr(material, "diffuse", None)
        tint = white if factor is None else srgb_to_linear(_fraction(factor)[:3])
    else:
        tint = white if factor is None else _fraction(factor)[:3]
    return None if image is None else _pixels(image), tint


def _pixels(image: Any) -> NDArray[np.float32]:
    try:
        return _fraction(np.asarray(image.convert("RGB")))
    except Exception as error:  # decoders raise whatever they like
        raise ValueError(f"its texture is damaged ({' '.join(str(error).split())})") from error


def _fraction(values: Any) -> NDArray[np.float32]:
    """Whole-number colours of any width to [0, 1]."""
    values = np.asarray(values)
    scale = np.iinfo(values.dtype).max if values.dtype.kind in "ui" else 1
    return (values / scale).astype(np.float32)
