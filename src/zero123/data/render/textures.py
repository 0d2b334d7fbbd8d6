"""Pictures that a mesh file names: which are missing or damaged, before a renderer shows grey in their place."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from PIL import Image

_JSON_CHUNK = b"JSON"


def texture_fault(path: Path, decode: bool = True) -> str | None:
    """What is wrong with the pictures of a GLB, glTF or OBJ; other kinds say so when they are read.

    Args:
        path: the mesh file.
        decode: pictures for the base colour must be of a kind that is read here, too; Blender reads more kinds.

    Returns:
        A line that follows the file's name, or None. A file that is no such mesh has no fault here: its reader tells.
    """
    try:
        if path.suffix.lower() in (".glb", ".gltf"):
            return _gltf_fault(path, decode)
        if path.suffix.lower() == ".obj":
            return _obj_fault(path, decode)
    except (OSError, ValueError, AttributeError, TypeError, KeyError, IndexError):
        pass
    return None


def _gltf_fault(path: Path, decode: bool) -> str | None:
    content, binary = _gltf(path)
    images = content.get("images", [])
    for image in images:
        uri = image.get("uri", "data:")
        if not uri.startswith("data:") and not (path.parent / unquote(uri)).is_file():
            return _missing(unquote(uri))
    if decode:
        for number in sorted(set(_base_colours(content))):
            image = images[number]
            name = unquote(image["uri"]) if not image.get("uri", "data:").startswith("data:") else f"number {number}"
            if not _is_picture(_picture(path, content, binary, image)):
                return _damaged(name)
    return None


def _gltf(path: Path) -> tuple[dict[str, Any], bytes]:
    """The JSON of a glTF, and the bytes that a GLB carries behind it."""
    data = path.read_bytes()
    if path.suffix.lower() == ".gltf":
        return dict(json.loads(data)), b""
    length = int.from_bytes(data[12:16], "little")
    if data[16:20] != _JSON_CHUNK:
        raise ValueError("no JSON chunk")
    return dict(json.loads(data[20 : 20 + length])), data[28 + length :]


def _base_colours(content: dict[str, Any]) -> Iterator[int]:
    """Numbers of the images that colour a surface."""
    for material in content.get("materials", []):
        gloss = material.get("extensions", {}).get("KHR_materials_pbrSpecularGlossiness", {})
        used = (material.get("pbrMetallicRoughness", {}).get("baseColorTexture"), gloss.get("diffuseTexture"))
        for texture in filter(None, used):
            source = content["textures"][texture["index"]].get("source")
            if source is not None:
                yield source


def _picture(path: Path, content: dict[str, Any], binary: bytes, image: dict[str, Any]) -> bytes | None:
    """The encoded picture; None where it lies in a file of its own that holds other things too."""
    uri = image.get("uri")
    if uri is not None:
        return (
            base64.b64decode(uri.partition(",")[2])
            if uri.startswith("data:")
            else (path.parent / unquote(uri)).read_bytes()
        )
    view = content["bufferViews"][image["bufferView"]]
    if path.suffix.lower() == ".gltf" or view.get("buffer", 0):
        return None
    start = view.get("byteOffset", 0)
    return binary[start : start + view["byteLength"]]


def _obj_fault(path: Path, decode: bool) -> str | None:
    for library in _values(path, "mtllib"):
        if not (path.parent / library).is_file():
            return f"its materials {library} are missing; put the file there"
        for value in _values(path.parent / library, "map_Kd"):
            # options such as `-s 1 1 1` come before the name
            name = re.sub(r"^(-\w+(\s+[-\d.]+|\s+on|\s+off)*\s+)*", "", value).replace("\\", "/")
            if not (path.parent / name).is_file():
                return _missing(name)
            if decode and not _is_picture((path.parent / name).read_bytes()):
                return _damaged(name)
    return None


def _values(path: Path, key: str) -> list[str]:
    """What follows `key` at the beginning of the lines of a text file."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        found = [line.strip()[len(key) :].strip() for line in lines if line.lstrip().startswith(key + " ")]
    return list(dict.fromkeys(found))


def _is_picture(data: bytes | None) -> bool:
    """Whether it begins as a picture does; whether it also ends well, its decoder says."""
    if data is None:
        return True
    try:
        with Image.open(io.BytesIO(data)):
            return True
    except Exception:  # noqa: BLE001  decoders raise whatever they like
        return False


def _missing(name: str) -> str:
    return f"its texture {name} is missing; put it there"


def _damaged(name: str) -> str:
    return f"its texture {name} is damaged, huge, or of a kind that is not read"
