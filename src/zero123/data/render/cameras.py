"""Cameras of an object by the name of their sampler, and lists of cameras in JSON files."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch

from zero123.data.render.settings import CameraSettings, GivenCamera
from zero123.geometry.camera import FIELD_OF_VIEW, Camera
from zero123.geometry.orbit import OrbitPose
from zero123.geometry.paths import cube_normalised, random_views, rings


def draw_cameras(settings: CameraSettings, size: int, generator: torch.Generator) -> Camera:
    """The cameras of one object, `world_from_camera` (V, 4, 4); random only through `generator`."""
    hw = (size, size)
    if settings.sampler == "list":
        matrices = torch.tensor([camera.world_from_camera for camera in settings.given]).reshape(-1, 4, 4)
        return Camera(matrices, settings.given[0].field_of_view, hw)
    return Camera.from_orbit(_poses(settings, generator), settings.field_of_view, hw)


def _poses(settings: CameraSettings, generator: torch.Generator) -> OrbitPose:
    if settings.sampler == "rings":
        heights = [math.radians(e) for e in settings.rings_deg]
        return rings(heights, settings.azimuths, sum(settings.radius) / 2)
    if settings.sampler == "original":
        return cube_normalised(settings.views, generator, settings.radius)
    if settings.sampler == "sphere":
        return random_views(settings.views, generator, radius_range=settings.radius)
    low, high = (math.radians(e) for e in settings.elevation_deg)
    return random_views(settings.views, generator, (low, high), settings.radius)


def read_cameras(path: str | Path) -> tuple[GivenCamera, ...]:
    """The cameras in a JSON file.

    The file holds `{"field_of_view_deg": 49.13, "cameras": [...]}`, or the list alone. A camera is
    `{"azimuth_deg": 0, "elevation_deg": 20, "radius": 1.85}`, looking at the origin, or `{"world_from_camera": [[...],
    ...]}`, 4x4 with OpenCV axes.

    Raises:
        ValueError: not such a file, or a camera in it that is not rigid and finite; in one line.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file of cameras") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a JSON file ({error})") from error
    listed = content.get("cameras") if isinstance(content, dict) else content
    if not isinstance(listed, list) or not listed:
        raise ValueError(f'{path}: expected a list of cameras, or {{"cameras": [...]}} with at least one')
    degrees = content.get("field_of_view_deg") if isinstance(content, dict) else None
    if degrees is not None and not (isinstance(degrees, int | float) and 0 < degrees < 180):
        raise ValueError(f"{path}: field_of_view_deg must be between 0 and 180, got {degrees!r}")
    field_of_view = FIELD_OF_VIEW if degrees is None else math.radians(degrees)
    return tuple(_camera(entry, field_of_view, f"{path}: camera {k}") for k, entry in enumerate(listed))


def _camera(entry: Any, field_of_view: float, where: str) -> GivenCamera:
    try:
        if "world_from_camera" in entry:
            matrix = torch.tensor(entry["world_from_camera"], dtype=torch.float64)
        else:
            angles = (float(entry["azimuth_deg"]), float(entry["elevation_deg"]), float(entry["radius"]))
            pose = OrbitPose.from_degrees(*(torch.tensor([v], dtype=torch.float64) for v in angles))
            matrix = Camera.from_orbit(pose).world_from_camera[0]
    except (KeyError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(
            f"{where}: needs azimuth_deg, elevation_deg and radius, or world_from_camera ({reason})"
        ) from error
    if matrix.shape != (4, 4) or not bool(matrix.isfinite().all()):
        raise ValueError(f"{where}: expected 4x4 finite numbers, got shape {tuple(matrix.shape)}")
    rotation = matrix[:3, :3]
    rigid = torch.allclose(rotation @ rotation.T, torch.eye(3, dtype=matrix.dtype), atol=1e-4)
    if not rigid or float(torch.linalg.det(rotation)) < 0 or matrix[3].tolist() != [0, 0, 0, 1]:
        raise ValueError(f"{where}: world_from_camera is not a rotation and a place (scale, mirror or last row)")
    return GivenCamera(tuple(matrix.reshape(-1).tolist()), field_of_view)
