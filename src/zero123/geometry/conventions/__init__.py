"""Cameras as other programs write them: OpenCV, COLMAP, nerfstudio, Blender, OpenGL and PyTorch3D, to and from ours.

Each class holds what its program wants under the names that its program uses: `Colmap.of(camera)` leads there and
`.camera()` back. `docs/conventions.md` draws their axes. The world stays ours, z up; `with_world` changes that too.
"""

from __future__ import annotations

from zero123.geometry.conventions.graphics import Blender, OpenGL, PyTorch3D
from zero123.geometry.conventions.photogrammetry import Colmap, Nerfstudio, OpenCV
from zero123.geometry.conventions.worlds import BLENDER_IMPORT_FROM_WORLD, GLTF_FROM_WORLD, with_world

__all__ = [
    "BLENDER_IMPORT_FROM_WORLD",
    "GLTF_FROM_WORLD",
    "Blender",
    "Colmap",
    "Nerfstudio",
    "OpenCV",
    "OpenGL",
    "PyTorch3D",
    "with_world",
]
