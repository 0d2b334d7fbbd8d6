"""Pictures, cameras and points of one object, written so that nerfstudio, COLMAP and gsplat can go on from them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zero123.files import atomic_path
from zero123.geometry.camera import Camera
from zero123.geometry.conventions import Colmap, Nerfstudio
from zero123.images import io
from zero123.meshes.mesh import Mesh
from zero123.meshes.texture import Sight


@dataclass(frozen=True)
class Points:
    """Points on a surface and who sees them.

    Attributes:
        places: (P, 3), world units.
        colours: (P, 3), 0 to 255.
        pixels: where each camera has them, (x, y) with pixel centres at +0.5, (V, P, 2).
        seen: whether it sees them, (V, P).
    """

    places: NDArray[np.float32]
    colours: NDArray[np.uint8]
    pixels: NDArray[np.float64]
    seen: NDArray[np.bool_]


def write_scene(folder: Path, images: Tensor, camera: Camera, mesh: Mesh, count: int = 5000) -> None:
    """Write a scene: `images/`, `transforms.json` with `points.ply`, and `sparse/0/` as COLMAP's text model.

    `transforms.json` is nerfstudio's (OpenGL axes, camera to world) and has `camera_angle_x` for readers of
    NeRF-synthetic scenes. `sparse/0/` has one PINHOLE camera, poses as world-to-camera quaternions (OpenCV axes) and
    points with their tracks; gsplat reads it beside `images/`. World axes are ours: z up, front to +x. Pictures have
    straight alpha, and white where they are transparent, for programs that leave alpha out.

    Args:
        folder: made if missing; files of the same names are replaced.
        images: (V, 4, H, W), straight alpha, in [0, 1].
        camera: V cameras of that size.
        mesh: the surface from which points are drawn.
        count: points drawn; those that no camera sees are left out.

    Raises:
        ValueError: shapes do not fit.
        OSError: the folder cannot be written.
    """
    views = len(images)
    if images.shape != (views, 4, *camera.hw) or camera.world_from_camera.shape != (views, 4, 4):
        raise ValueError(
            f"images must be (V, 4, {camera.hw[0]}, {camera.hw[1]}) for {tuple(camera.world_from_camera.shape)} "
            f"cameras, got {tuple(images.shape)}"
        )
    names = [f"{view:03d}.png" for view in range(views)]
    for name, image in zip(names, images, strict=True):
        clear = torch.where(image[3:] > 0, image[:3], 1.0)
        io.save(folder / "images" / name, torch.cat((clear, image[3:])))
    points = surface_points(mesh, camera, count)
    transforms = {
        **Nerfstudio.of(camera).transforms([f"images/{name}" for name in names]),
        "ply_file_path": "points.ply",
    }
    _write(folder / "transforms.json", json.dumps(transforms, indent=1))
    _write(folder / "points.ply", _ply(points))
    for name, text in colmap_text(names, camera, points).items():
        _write(folder / "sparse" / "0" / name, text)


def surface_points(mesh: Mesh, camera: Camera, count: int, seed: int = 0) -> Points:
    """Points spread evenly over a surface, without those that no camera sees."""
    generator = np.random.default_rng(seed)
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=-1).astype(np.float64)
    face = generator.choice(len(area), count, p=area / area.sum())
    weights = generator.dirichlet((1, 1, 1), count)
    places = (mesh.vertices[mesh.faces[face]] * weights[..., None]).sum(axis=1).astype(np.float32)
    normals = mesh.face_normals()[face]
    seen = np.stack([Sight(mesh, one).squarely(places, normals) > 0.1 for one in _each(camera)])
    pixels = np.stack([one.project(torch.from_numpy(places).to(one.position))[0].double() for one in _each(camera)])
    kept = seen.any(axis=0)
    colours = np.round(255 * np.clip(mesh.colours_at(face, weights), 0, 1)).astype(np.uint8)
    return Points(places[kept], colours[kept], pixels[:, kept], seen[:, kept])


def colmap_text(names: list[str], camera: Camera, points: Points) -> dict[str, str]:
    """COLMAP's text model, each file by its name (its documentation, "Output format")."""
    form = Colmap.of(Camera(camera.world_from_camera.double(), camera.field_of_view, camera.hw))
    lens = " ".join(map(str, (1, form.model, form.width, form.height, *form.params))) + "\n"
    pictures, tracks = [], [[] for _ in points.places]  # type: list[str], list[list[str]]
    for view, name in enumerate(names):
        pose = " ".join(f"{value:.10g}" for value in (*form.qvec[view].tolist(), *form.tvec[view].tolist()))
        own = np.nonzero(points.seen[view])[0]
        for number, point in enumerate(own):
            tracks[point].append(f"{view + 1} {number}")
        spots = " ".join(f"{points.pixels[view, p, 0]:.3f} {points.pixels[view, p, 1]:.3f} {p + 1}" for p in own)
        pictures.append(f"{view + 1} {pose} 1 {name}\n{spots}\n")
    rows = [
        f"{number + 1} {place[0]:.6f} {place[1]:.6f} {place[2]:.6f} {red} {green} {blue} 0 {' '.join(track)}\n"
        for number, (place, (red, green, blue), track) in enumerate(
            zip(points.places, points.colours, tracks, strict=True)
        )
    ]
    return {"cameras.txt": lens, "images.txt": "".join(pictures), "points3D.txt": "".join(rows)}


def _ply(points: Points) -> bytes:
    rows = np.rec.fromarrays(
        [*points.places.T, *points.colours.T],
        dtype=[(n, "<f4") for n in ("x", "y", "z")] + [(n, "u1") for n in ("red", "green", "blue")],
    )
    lines = [f"property float {n}\n" for n in "xyz"] + [f"property uchar {n}\n" for n in ("red", "green", "blue")]
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(rows)}\n{''.join(lines)}end_header\n"
    return header.encode() + rows.tobytes()


def _each(camera: Camera) -> list[Camera]:
    return [camera[view] for view in range(len(camera.world_from_camera))]


def _write(path: Path, content: str | bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
