"""Meshes to files: GLB, OBJ, PLY and STL, all with +Y up and the object's front towards +Z as glTF asks."""

from __future__ import annotations

import io
import json
import os
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zero123.files import atomic_path
from zero123.meshes.mesh import Mesh, read_texture, srgb_to_linear, welded
from zero123.meshes.surface import is_watertight

FORMATS = (".glb", ".obj", ".ply", ".stl")
"""Endings of the files that can be written."""

_ARRAY_BUFFER, _ELEMENT_BUFFER = 34962, 34963
_UNSIGNED_SHORT, _UNSIGNED_INT, _FLOAT = 5123, 5125, 5126


def export_mesh(mesh: Mesh, path: str | os.PathLike[str]) -> Path:
    """Write a mesh in the format that the file's ending names: .glb, .obj, .ply or .stl.

    GLB holds everything; OBJ holds positions, normals and vertex colours (sRGB), and its texture, which is written
    beside it as .mtl and .png; PLY holds positions, normals and vertex colours; STL holds triangles only. A file
    appears whole or not at all.

    Raises:
        ValueError: the ending is another one, or the mesh is empty.
        OSError: the file cannot be written.
    """
    target = Path(path)
    writers = {".glb": to_glb, ".obj": to_obj, ".ply": to_ply, ".stl": to_stl}
    ending = target.suffix.lower()
    if ending not in writers:
        raise ValueError(f"a mesh file must end in {', '.join(writers)}, got {target.name!r}")
    data = writers[ending](mesh)
    if ending == ".obj" and mesh.texture is not None:
        data = _with_material(data, mesh.texture, target)
    with atomic_path(target) as temporary:
        Path(temporary).write_bytes(data)
    return target


def gltf_axes(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """World (x, y, z), z up and front +x, to glTF's (y, z, x): +Y up, front +Z; (N, 3)."""
    return np.ascontiguousarray(vectors[:, (1, 2, 0)], dtype=np.float32)


def to_glb(mesh: Mesh) -> bytes:
    """A binary glTF 2.0 file with one mesh.

    Vertex colours become COLOR_0 in linear light, as the standard has it; a texture is embedded as an sRGB PNG. The
    material is fully rough and not metallic, and single-sided if the mesh is closed.
    """
    _not_empty(mesh)
    positions = gltf_axes(mesh.vertices)
    buffer = _Buffer()
    bounds = {"min": positions.min(axis=0).tolist(), "max": positions.max(axis=0).tolist()}
    attributes = {
        "POSITION": buffer.accessor(positions, "VEC3", _FLOAT, **bounds),
        "NORMAL": buffer.accessor(gltf_axes(_unit_normals(mesh)), "VEC3", _FLOAT),
    }
    surface: dict[str, object] = {"metallicFactor": 0.0, "roughnessFactor": 1.0}
    if mesh.vertex_colours is not None and mesh.texture is None:
        linear = srgb_to_linear(np.clip(mesh.vertex_colours, 0, 1))
        # Sixteen bits: eight would show steps in dark tones. The fourth value, alpha, keeps rows aligned to four bytes.
        levels = np.round(np.pad(linear, ((0, 0), (0, 1)), constant_values=1.0) * 65535).astype(np.uint16)
        attributes["COLOR_0"] = buffer.accessor(levels, "VEC4", _UNSIGNED_SHORT, normalized=True)
    if mesh.texture is not None and mesh.uv is not None:
        # Our v counts from the lower edge, glTF's from the upper.
        flipped = np.stack((mesh.uv[:, 0], 1 - mesh.uv[:, 1]), axis=-1).astype(np.float32)
        attributes["TEXCOORD_0"] = buffer.accessor(flipped, "VEC2", _FLOAT)
        surface["baseColorTexture"] = {"index": 0}
    indices = buffer.accessor(mesh.faces.astype(np.uint32).reshape(-1), "SCALAR", _UNSIGNED_INT, _ELEMENT_BUFFER)
    document: dict[str, object] = {
        "asset": {"version": "2.0", "generator": "zero123"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "object"}],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": indices, "material": 0}]}],
        "materials": [{"pbrMetallicRoughness": surface, "doubleSided": not is_watertight(mesh)}],
    }
    if mesh.texture is not None:
        document["images"] = [{"bufferView": buffer.view(_png(mesh.texture), None), "mimeType": "image/png"}]
        document["samplers"] = [{"magFilter": 9729, "minFilter": 9987}]
        document["textures"] = [{"source": 0, "sampler": 0}]
    return buffer.glb(document)


def to_obj(mesh: Mesh) -> bytes:
    """A Wavefront OBJ file; vertex colours (sRGB) follow the positions, as MeshLab and Blender read them.

    Vertices that only a texture's cuts doubled are written once, so that the surface is closed in the file too.
    """
    _not_empty(mesh)
    whole, where = (mesh, np.arange(len(mesh.vertices))) if mesh.uv is None else welded(mesh)
    columns = [gltf_axes(whole.vertices)]
    if whole.vertex_colours is not None:
        columns.append(np.clip(whole.vertex_colours, 0, 1))
    text = io.StringIO()
    text.write("# zero123: +Y up, front +Z\n")
    values = np.concatenate(columns, axis=1)
    np.savetxt(text, values, fmt="v " + " ".join(["%.6f"] * values.shape[1]))
    np.savetxt(text, gltf_axes(_unit_normals(whole)), fmt="vn %.4f %.4f %.4f")
    corners = where[mesh.faces] + 1
    if mesh.uv is None:
        np.savetxt(text, np.repeat(corners, 2, axis=1), fmt="f %d//%d %d//%d %d//%d")
    else:
        np.savetxt(text, mesh.uv, fmt="vt %.6f %.6f")
        numbers = np.stack((corners, mesh.faces + 1, corners), axis=-1).reshape(-1, 9)
        np.savetxt(text, numbers, fmt="f %d/%d/%d %d/%d/%d %d/%d/%d")
    return text.getvalue().encode("ascii")


def _with_material(obj: bytes, texture: NDArray[np.float32], target: Path) -> bytes:
    """The OBJ with its material, which is written beside it, as is the picture that this names."""
    name = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in target.stem) or "model"
    material = f"newmtl surface\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {name}.png\n"
    for beside, data in ((f"{name}.png", _png(texture)), (f"{name}.mtl", material.encode())):
        with atomic_path(target.with_name(beside)) as temporary:
            Path(temporary).write_bytes(data)
    return f"mtllib {name}.mtl\nusemtl surface\n".encode() + obj


def to_ply(mesh: Mesh) -> bytes:
    """A binary little-endian PLY file; vertex colours are 8-bit sRGB, those of a texture brought to the vertices."""
    _not_empty(mesh)
    mesh = _without_cuts(mesh)
    fields = [(name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz")]
    columns = [*gltf_axes(mesh.vertices).T, *gltf_axes(_unit_normals(mesh)).T]
    if mesh.vertex_colours is not None:
        fields += [(name, "u1") for name in ("red", "green", "blue")]
        columns += [*np.round(np.clip(mesh.vertex_colours, 0, 1) * 255).astype(np.uint8).T]
    rows = np.rec.fromarrays(columns, dtype=fields)
    faces = np.empty(len(mesh.faces), dtype=[("count", "u1"), ("index", "<i4", 3)])
    faces["count"], faces["index"] = 3, mesh.faces
    names = "".join(f"property {'float' if kind == '<f4' else 'uchar'} {name}\n" for name, kind in fields)
    header = (
        f"ply\nformat binary_little_endian 1.0\nelement vertex {len(rows)}\n{names}"
        f"element face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    return header.encode("ascii") + rows.tobytes() + faces.tobytes()


def to_stl(mesh: Mesh) -> bytes:
    """A binary STL file; it has no colours."""
    _not_empty(mesh)
    triangles = np.zeros(
        len(mesh.faces), dtype=[("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")]
    )
    triangles["normal"] = gltf_axes(mesh.face_normals())
    triangles["corners"] = gltf_axes(mesh.vertices)[mesh.faces]
    return b"zero123".ljust(80, b" ") + struct.pack("<I", len(triangles)) + triangles.tobytes()


class _Buffer:
    """The binary part of a GLB file and the entries that describe it."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, object]] = []
        self.accessors: list[dict[str, object]] = []

    def view(self, data: bytes, target: int | None) -> int:
        """Append bytes; the number of their view."""
        entry: dict[str, object] = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data)}
        if target is not None:
            entry["target"] = target
        self.views.append(entry)
        self.data += data + b"\0" * (-len(data) % 4)
        return len(self.views) - 1

    def accessor(
        self, values: NDArray[np.generic], kind: str, component: int, target: int = _ARRAY_BUFFER, **extra: object
    ) -> int:
        """Append an array; the number of its accessor."""
        view = self.view(np.ascontiguousarray(values).tobytes(), target)
        entry = {"bufferView": view, "componentType": component, "count": len(values), "type": kind, **extra}
        self.accessors.append(entry)
        return len(self.accessors) - 1

    def glb(self, document: dict[str, object]) -> bytes:
        """The whole file."""
        described = {
            "bufferViews": self.views,
            "accessors": self.accessors,
            "buffers": [{"byteLength": len(self.data)}],
        }
        text = json.dumps({**document, **described}, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        chunks = struct.pack("<I4s", len(text), b"JSON") + text
        chunks += struct.pack("<I4s", len(self.data), b"BIN\0") + bytes(self.data)
        return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def _png(texture: NDArray[np.float32]) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.round(np.clip(texture, 0, 1) * 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def _without_cuts(mesh: Mesh) -> Mesh:
    """The mesh without a texture and its cuts; colours that it has only there are read at the vertices."""
    if mesh.uv is None:
        return mesh
    if mesh.texture is not None and mesh.vertex_colours is None:
        mesh = mesh.replace(vertex_colours=read_texture(mesh.texture, mesh.uv))
    return welded(mesh)[0]


def _unit_normals(mesh: Mesh) -> NDArray[np.float32]:
    """The mesh's own normals or computed ones, of length 1 even where the faces around a vertex cancel out.

    glTF allows no zero normal.
    """
    normals = mesh.vertex_normals() if mesh.normals is None else mesh.normals
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    return np.where(length > 0, normals / np.maximum(length, 1e-12), np.array((0, 0, 1), np.float32)).astype(np.float32)


def _not_empty(mesh: Mesh) -> None:
    if not len(mesh.faces):
        raise ValueError("mesh must have faces, got none")
