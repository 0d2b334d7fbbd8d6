"""Folders of GLB files in one small archive and back: what 256 pixels show of an object, and no more.

Places are kept to 1/4095 of an object's size, normals to 1/100, colours to 1/255 of the way from black to white, and
vertices come in the order in which faces use them, so that differences are small. Each kind of number is compressed by
itself. `pack` takes folders, `unpack` writes them again.
"""

from __future__ import annotations

import io
import json
import random
import struct
import sys
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TYPES = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
_STEPS = {"POSITION": 4095, "NORMAL": 200, "TEXCOORD_0": 4095, "COLOR_0": 255}
_CURVE = 2.2
"""Colours are light, and kept by its root, as the eye takes them."""


def pack(folders: list[Path], out: Path, limit: int) -> dict[str, int]:
    """Write GLB files to an archive of at most `limit` bytes: of the last folder as many, at random, as have room.

    Returns:
        How many of each folder are in it.
    """
    *first, last = [sorted(folder.glob("*.glb")) for folder in folders]
    random.Random(0).shuffle(last)
    always = [path for group in first for path in group]
    wanted, data = len(last), _archive([*always, *last])
    least = len(_archive(always)) if len(data) > limit and always else 0
    while len(data) > limit:
        if not wanted:
            raise ValueError(f"{len(data)} bytes without any of {folders[-1]}, {limit} are allowed")
        wanted = max(0, min(wanted - 1, int(wanted * (limit - least) / (len(data) - least) * 0.98)))
        data = _archive([*always, *last[:wanted]])
    out.write_bytes(data)
    return {f.name: n for f, n in zip(folders, (*map(len, first), wanted), strict=True)}


def _archive(paths: list[Path]) -> bytes:
    streams: dict[str, bytearray] = defaultdict(bytearray)
    heads = []
    for path in paths:
        document, data = read_glb(path.read_bytes())
        notes = _store(document, data, streams)
        heads.append({"name": f"{path.parent.name}/{path.name}", "gltf": document, **notes})
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("objects.json", json.dumps(heads, separators=(",", ":")))
        for name, stream in streams.items():
            archive.writestr(name, bytes(stream))
    return file.getvalue()


def unpack(archive: Path, out: Path) -> int:
    """Write the GLB files of an archive to folders below `out`; how many."""
    with zipfile.ZipFile(archive) as file:
        heads = json.loads(file.read("objects.json"))
        streams = {name: _Reader(file.read(name)) for name in file.namelist() if name != "objects.json"}
    for head in heads:
        path = out / head["name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(glb(head["gltf"], _restore(head, streams)))
    return len(heads)


class _Reader:
    """Takes bytes from the front of a stream."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, count: int) -> bytes:
        self._at += count
        return self._data[self._at - count : self._at]


def read_glb(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The document and the binary part of a GLB file."""
    length = struct.unpack_from("<I", data, 12)[0]
    return json.loads(data[20 : 20 + length]), data[28 + length :]


def glb(document: dict[str, Any], data: bytes) -> bytes:
    """The GLB file of a document and its binary part."""
    text = json.dumps(document, separators=(",", ":")).encode()
    text, data = text + b" " * (-len(text) % 4), data + b"\0" * (-len(data) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(data), b"BIN\0") + data
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def _span(document: dict[str, Any], index: int) -> tuple[int, type, tuple[int, int]]:
    """Where an accessor's numbers begin, their type, and their shape."""
    accessor = document["accessors"][index]
    view = document["bufferViews"][accessor["bufferView"]]
    shape = (accessor["count"], _WIDTHS[accessor["type"]])
    width = np.dtype(_TYPES[accessor["componentType"]]).itemsize * shape[1]
    if view.get("byteStride", width) != width or "sparse" in accessor:
        raise ValueError("numbers that lie apart are not packed; write the GLB anew")
    return view.get("byteOffset", 0) + accessor.get("byteOffset", 0), _TYPES[accessor["componentType"]], shape


def _read(document: dict[str, Any], data: bytes, index: int) -> NDArray:
    start, kind, shape = _span(document, index)
    return np.frombuffer(data, kind, shape[0] * shape[1], start).reshape(shape)


def _meshes(document: dict[str, Any]) -> list[tuple[dict[str, int], int]]:
    """Accessors by attribute, and of the indices, of every primitive that shares none with one before it."""
    found, used = [], set()
    for mesh in document["meshes"]:
        for primitive in mesh["primitives"]:
            own = {*primitive["attributes"].values(), primitive["indices"]}
            if used & own:
                raise ValueError("parts that share numbers are not packed; write the GLB anew")
            used |= own
            found.append((primitive["attributes"], primitive["indices"]))
    return found


def _store(document: dict[str, Any], data: bytes, streams: dict[str, bytearray]) -> dict[str, Any]:
    """Append an object's numbers to the streams; what else is needed to read them again."""
    ranges = {}
    for attributes, indices in _meshes(document):
        faces = _read(document, data, indices)[:, 0].astype(np.int64)
        count = document["accessors"][next(iter(attributes.values()))]["count"]
        used, first = np.unique(faces, return_index=True)
        order = used[np.argsort(first)]
        order = np.concatenate((order, np.setdiff1d(np.arange(count), used)))
        rank = np.empty(count, np.int64)
        rank[order] = np.arange(count)
        faces = rank[faces]
        newest = np.maximum.accumulate(np.concatenate(([-1], faces[:-1])))
        _append(streams, "faces", newest + 1 - faces, 4)
        for name, accessor in attributes.items():
            values = _read(document, data, accessor)[order]
            levels, low, high = _levels(name, values)
            ranges[str(accessor)] = (low, high)
            for column in range(levels.shape[1]):
                steps = np.diff(levels[:, column], prepend=0)
                _append(streams, f"{name}{column}", (steps << 1) ^ (steps >> 63), 2)  # small whichever way they go
    for image in document.get("images", ()):
        view = document["bufferViews"][image["bufferView"]]
        start = view.get("byteOffset", 0)
        streams["images"] += data[start : start + view["byteLength"]]
    return {"ranges": ranges, "bytes": len(data)}


def _levels(name: str, values: NDArray) -> tuple[NDArray[np.int64], list[float], list[float]]:
    """Numbers as whole steps between their lowest and highest, in each column or, of places, in all."""
    if name == "COLOR_0":
        values = (values / np.iinfo(values.dtype).max) ** (1 / _CURVE)
        low, high = np.zeros(values.shape[1]), np.ones(values.shape[1])
    else:
        low = values.min(0).astype(np.float64)
        side = values.max(0) - low if name != "POSITION" else np.full(values.shape[1], np.ptp(values, axis=0).max())
        high = low + np.where(side > 0, side, 1)
    levels = np.round((values - low) / (high - low) * _STEPS[name]).astype(np.int64)
    return levels, low.tolist(), high.tolist()


def _restore(head: dict[str, Any], streams: dict[str, _Reader]) -> bytes:
    """The binary part of an object."""
    document, data = head["gltf"], bytearray(head["bytes"])
    for attributes, indices in _meshes(document):
        start, kind, shape = _span(document, indices)
        gaps = _next(streams, "faces", shape[0], 4)
        fresh = np.cumsum(gaps == 0) - 1  # a gap of 0 is a vertex that comes for the first time
        faces = np.where(gaps == 0, fresh, fresh + 1 - gaps)
        _write(data, start, faces.astype(kind))
        for name, accessor in attributes.items():
            start, kind, shape = _span(document, accessor)
            columns = [_next(streams, f"{name}{column}", shape[0], 2) for column in range(shape[1])]
            levels = np.stack([np.cumsum((c >> 1) ^ -(c & 1)) for c in columns], axis=1)
            low, high = (np.asarray(bound) for bound in head["ranges"][str(accessor)])
            values = low + levels / _STEPS[name] * (high - low)
            if name == "COLOR_0":
                values = np.round(values**_CURVE * np.iinfo(kind).max)
            if name == "NORMAL":
                values = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)
            _write(data, start, values.astype(kind))
    for image in document.get("images", ()):
        view = document["bufferViews"][image["bufferView"]]
        start = view.get("byteOffset", 0)
        data[start : start + view["byteLength"]] = streams["images"].take(view["byteLength"])
    return bytes(data)


def _append(streams: dict[str, bytearray], name: str, values: NDArray[np.int64], width: int) -> None:
    """Append whole numbers below 256 ** width, their bytes of each place together."""
    for place in range(width):
        streams[f"{name}-{place}"] += ((values >> 8 * place) & 255).astype(np.uint8).tobytes()


def _next(streams: dict[str, _Reader], name: str, count: int, width: int) -> NDArray[np.int64]:
    places = (
        np.frombuffer(streams[f"{name}-{k}"].take(count), np.uint8).astype(np.int64) << 8 * k for k in range(width)
    )
    return np.sum(list(places), axis=0)


def _write(data: bytearray, start: int, values: NDArray) -> None:
    raw = values.tobytes()
    data[start : start + len(raw)] = raw


if __name__ == "__main__":
    verb, target, *rest = sys.argv[1:]
    if verb == "pack":  # OUT LIMIT FOLDER...
        print(pack([Path(folder) for folder in rest[1:]], Path(target), int(rest[0])))
    else:  # unpack ARCHIVE OUT
        print(unpack(Path(target), Path(rest[0])), "objects")
