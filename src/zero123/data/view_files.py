"""The files of one object's views, as bytes: `NNN.png` and `NNN.npy` to pictures and cameras, every fault named."""

from __future__ import annotations

import io
import json
import math
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from zero123.data.view_set import ViewSet, ViewSetError, read_camera
from zero123.geometry.camera import FIELD_OF_VIEW, Camera

LENS = "lens.json"
"""Beside views of another format that were taken with another lens than the original's: {"field_of_view": radians}."""

MANIFEST = "manifest.json"
"""Beside views that we rendered; says lens, light, source and hashes (`data.render.manifest`)."""

LENS_FILES = (LENS, MANIFEST)

_WIDEST = 100.0
"""World units across that a camera may see at the object, which is about one: it is then a hundredth of the picture."""

_VIEW = re.compile(r"[0-9]+\.png")
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError)


def view_names(files: Iterable[str]) -> list[str]:
    """Names of the pictures among `files`, in the order of the views."""
    return sorted((f for f in files if _VIEW.fullmatch(f)), key=lambda name: (len(name), name))


@dataclass(frozen=True)
class ViewLevels:
    """The views of one object as their files hold them: a quarter of a `ViewSet`'s memory, and quick to lay on white.

    Attributes:
        levels: straight-alpha pictures, (V, H, W, 4) uint8.
        camera: the cameras, `world_from_camera` (V, 4, 4).
    """

    levels: NDArray[np.uint8]
    camera: Camera

    def __len__(self) -> int:
        return len(self.levels)

    def views(self) -> ViewSet:
        """The same as floats in [0, 1]."""
        return ViewSet(torch.from_numpy(self.levels).permute(0, 3, 1, 2).float() / 255, self.camera)


def read_views(files: Mapping[str, bytes], name: str, chosen: Sequence[int] | None = None) -> ViewLevels:
    """The views in the files of one object; a picture without alpha is taken as it is, all of it object.

    Stricter than `ViewSet.load`: pictures that show nothing and cameras that are no rigid motion are faults.

    Args:
        files: by their names in the object's folder.
        name: of the object, for messages.
        chosen: numbers of the views wanted, in that order; None for all. Only their files are looked at.

    Raises:
        ViewSetError: anything missing, damaged, empty or not finite, in one line.
    """
    names = view_names(files)
    if not names:
        raise ViewSetError(f"{name}: holds no views (expected 000.png with 000.npy, ...)")
    wanted = names if chosen is None else [names[index] for index in chosen]
    pictures = [picture_levels(files[view], f"{name}/{view}") for view in wanted]
    for view, picture in zip(wanted, pictures, strict=True):
        if picture.shape != pictures[0].shape:
            raise ViewSetError(f"{name}/{view}: differs in size from {wanted[0]}; render all views at one size")
    lens = field_of_view(files, name)
    matrices = np.stack([camera_seen(files, name, view, lens) for view in wanted])
    height, width = pictures[0].shape[:2]
    camera = Camera.from_blender_rt(torch.from_numpy(matrices), lens, (height, width))
    return ViewLevels(np.stack(pictures), camera)


def picture_levels(data: bytes, name: str) -> NDArray[np.uint8]:
    """The 8-bit straight-alpha levels of an encoded picture, (H, W, 4); opaque where it has no alpha.

    Raises:
        ViewSetError: damaged, cut short, or transparent everywhere.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Pillow warns of is harmless or raised below
        try:
            with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
                image.load()
                if image.mode == "F" or image.mode.startswith("I"):
                    raise ViewSetError(f"{name}: 16-bit grey; write 8-bit RGB or RGBA")
                levels = np.asarray(image.convert("RGBA"))
        except ViewSetError:
            raise
        except (*_DECODE_ERRORS, Image.DecompressionBombError) as error:
            raise ViewSetError(f"{name}: not a whole picture ({len(data)} bytes)") from error
    if not levels[..., 3].any():
        raise ViewSetError(f"{name}: shows nothing, it is transparent everywhere")
    return levels


def camera_matrix(files: Mapping[str, bytes], name: str, view: str) -> NDArray[np.float32]:
    """The (3, 4) world-to-Blender-camera matrix of the picture `view`.

    Raises:
        ViewSetError: missing, damaged, not finite, no rigid motion, or a camera at the origin.
    """
    file = view.removesuffix(".png") + ".npy"
    if file not in files:
        raise ViewSetError(f"{name}/{file}: missing; every view needs its 3x4 world-to-camera matrix")
    matrix = read_camera(io.BytesIO(files[file]), f"{name}/{file}")
    rotation = matrix[:, :3].astype(np.float64)
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-2 or np.linalg.det(rotation) < 0:
        raise ViewSetError(f"{name}/{file}: its first three columns are no rotation")
    if np.linalg.norm(matrix[:, 3]) < 1e-6:
        raise ViewSetError(f"{name}/{file}: the camera is at the origin, inside the object")
    return matrix


def camera_seen(files: Mapping[str, bytes], name: str, view: str, lens: float) -> NDArray[np.float32]:
    """As `camera_matrix`, of a camera for which an object in the unit cube is more than a speck.

    Args:
        files: by their names in the object's folder.
        name: of the object, for messages.
        view: its picture's file.
        lens: horizontal field of view, radians.

    Raises:
        ViewSetError: also where it sees more than a hundred world units across: the scene was measured in other units.
    """
    matrix = camera_matrix(files, name, view)
    away = float(np.linalg.norm(matrix[:, 3].astype(np.float64)))
    across = 2 * away * math.tan(lens / 2)
    if across > _WIDEST:
        raise ViewSetError(
            f"{name}/{view}: its camera is {away:.3g} world units away and sees {across:.3g} of them across, but "
            "objects are about 1 across: divide its scene's lengths by the object's size"
        )
    return matrix


def field_of_view(files: Mapping[str, bytes], name: str) -> float:
    """The horizontal field of view, radians, by `lens.json` or `manifest.json`; else the original's.

    Raises:
        ViewSetError: the file says no angle between 0 and pi.
    """
    said_by = next((file for file in LENS_FILES if file in files), None)
    if said_by is None:
        return FIELD_OF_VIEW
    try:
        content = json.loads(files[said_by])
        if said_by == LENS:
            angle = float(content["field_of_view"])
        else:
            angle = math.radians(content["views"][0]["lens"]["field_of_view_deg"])
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ViewSetError(f"{name}/{said_by}: says no field of view ({type(error).__name__}: {error})") from error
    if not 0 < angle < math.pi:
        raise ViewSetError(f"{name}/{said_by}: the field of view must be between 0 and pi radians, got {angle}")
    return angle


def origin(files: Mapping[str, bytes]) -> str:
    """What the views were rendered from, as their manifest has it: the mesh's SHA-256, or the seed of a made object.

    Nothing where that is not said.
    """
    try:
        said = json.loads(files[MANIFEST])["source"]
        return str(said["sha256"]) if "sha256" in said else f"procedural {said['procedural']}"
    except (ValueError, KeyError, TypeError):
        return ""


def hashes(files: Mapping[str, bytes]) -> dict[str, str]:
    """SHA-256 of pictures as their manifest has them, by file name; none where there is no such manifest."""
    try:
        return {str(view["file"]): str(view["sha256"]) for view in json.loads(files[MANIFEST])["views"]}
    except (ValueError, KeyError, TypeError):
        return {}
