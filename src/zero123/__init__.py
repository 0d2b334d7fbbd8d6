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
    from zero123.verbs.evaluate import EvaluateSettings, evaluate
    from zero123.verbs.reconstruct import Object3D, reconstruct
    from zero123.verbs.views import Views, views

__version__ = "0.1.0"

_HOMES = {
    "Camera": "zero123.geometry.camera",
    "EvaluateSettings": "zero123.verbs.evaluate",
    "NovelViews": "zero123.pipeline",
    "Object3D": "zero123.verbs.reconstruct",
    "OrbitPose": "zero123.geometry.orbit",
    "PhotoSettings": "zero123.reconstruction.from_photo",
    "RelativePose": "zero123.geometry.orbit",
    "SamplingSettings": "zero123.diffusion.sampling",
    "Views": "zero123.verbs.views",
    "evaluate": "zero123.verbs.evaluate",
    "from_photo": "zero123.reconstruction.from_photo",
    "reconstruct": "zero123.verbs.reconstruct",
    "views": "zero123.verbs.views",
}

__all__ = [
    "Camera",
    "EvaluateSettings",
    "NovelViews",
    "Object3D",
    "OrbitPose",
    "PhotoSettings",
    "RelativePose",
    "SamplingSettings",
    "Views",
    "evaluate",
    "from_photo",
    "reconstruct",
    "views",
]


def __dir__() -> list[str]:
    """What a notebook offers behind `zero123.`."""
    return [*__all__, "__version__"]


def __getattr__(name: str) -> Any:
    """The public names, imported when first used: `zero123 --help` need not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'zero123' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
