"""What is known of an object's views, written beside them: source, cameras, lens, light, renderer."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from zero123 import __version__
from zero123.data.render.light import AreaLight, Light
from zero123.data.render.settings import RenderSettings
from zero123.data.render.source import Source
from zero123.data.view_set import ViewSet

NAME = "manifest.json"
_FORMAT = "zero123 views 1"
_SENSOR_MM = 32.0


def describe(
    source: Source, views: ViewSet, light: Light | AreaLight, renderer: dict[str, Any], settings: RenderSettings
) -> dict[str, Any]:
    """The manifest of one object's views, as JSON values; the views' files are named, not yet hashed."""
    camera = views.camera
    lens = {
        "field_of_view_deg": math.degrees(camera.field_of_view),
        "focal_mm": _SENSOR_MM / 2 / math.tan(camera.field_of_view / 2),
        "sensor_mm": _SENSOR_MM,
        "hw": list(camera.hw),
    }
    kind, origin = "area" if isinstance(light, AreaLight) else "studio", _origin(source)
    described = [
        {
            "file": f"{index:03d}.png",
            "source": origin,
            "world_from_camera": matrix.tolist(),
            "lens": lens,
            "light": {"kind": kind, **asdict(light)},
            "coverage": round(float(image[3].mean()), 5),
        }
        for index, (image, matrix) in enumerate(
            zip(views.images, camera.world_from_camera.to(torch.float64), strict=True)
        )
    ]
    return {
        "format": _FORMAT,
        "zero123": __version__,
        "object": source.name,
        "source": origin,
        "deformation": None if source.deformation is None else asdict(source.deformation),
        "renderer": renderer,
        "sampler": settings.cameras.sampler,
        "seed": settings.seed,
        "views": described,
    }


def write(folder: Path, values: dict[str, Any]) -> None:
    """Put the manifest beside its views, with the hash of each picture."""
    for view in values["views"]:
        view["sha256"] = _sha256(folder / view["file"])
    (folder / NAME).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def is_of(folder: Path, source: Source) -> bool:
    """Whether a folder's views are of this source, by file name and size; without a manifest they are taken to be."""
    try:
        origin = json.loads((folder / NAME).read_text(encoding="utf-8"))["source"]
    except FileNotFoundError:
        return True
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if source.path is None:
        return bool(origin == {"procedural": source.seed})
    size = source.path.stat().st_size if source.path.is_file() else None
    return bool(Path(origin.get("file", "")).name == source.path.name and size in (None, origin.get("bytes")))


def _origin(source: Source) -> dict[str, Any]:
    if source.path is None:
        return {"procedural": source.seed}
    return {"file": str(source.path), "bytes": source.path.stat().st_size, "sha256": _sha256(source.path)}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
