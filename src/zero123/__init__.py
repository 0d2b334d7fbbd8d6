"""From one picture of an object to any view of it, and to a coloured 3D mesh."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zero123.diffusion.sampling import SamplingSettings
    from zero123.geometry.camera import Camera
    from zero123.geometry.orbit import OrbitPose, RelativePose
    from zero123.pipeline import NovelViews
    from zero123.reconstruction.from_photo import PhotoSettings, from_photo

__version__ = "0.1.0"

_HOMES = {
    "Camera": "zero123.geometry.camera",
    "NovelViews": "zero123.pipeline",
    "OrbitPose": "zero123.geometry.orbit",
    "PhotoSettings": "zero123.reconstruction.from_photo",
    "RelativePose": "zero123.geometry.orbit",
    "SamplingSettings": "zero123.diffusion.sampling",
    "from_photo": "zero123.reconstruction.from_photo",
}

__all__ = ["Camera", "NovelViews", "OrbitPose", "PhotoSettings", "RelativePose", "SamplingSettings", "from_photo"]


def __getattr__(name: str) -> Any:
    """The public names, imported when first used: `zero123 --help` need not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'zero123' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
