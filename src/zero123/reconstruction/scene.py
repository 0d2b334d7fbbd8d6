"""The photo of a NeRF-synthetic scene: one picture of `transforms_train.json` and the height it was taken from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from zero123.data.formats.nerf import NerfScenes
from zero123.data.view_set import ViewSetError
from zero123.geometry.orbit import OrbitPose
from zero123.images.framing import frame as framed
from zero123.images.io import PictureError
from zero123.images.matting import Method, foreground
from zero123.images.photo import Photo
from zero123.pipeline import NovelViews

TRANSFORMS = "transforms_train.json"


@dataclass(frozen=True)
class ScenePhoto:
    """One frame of a scene.

    Attributes:
        rgba: straight alpha, (4, S, S), in [0, 1].
        pose: of its camera, as the scene says, (1,).
    """

    rgba: Tensor
    pose: OrbitPose


def scene_folder(path: Path) -> Path | None:
    """The scene a person named by its folder or its `transforms_train.json`; None if the path is something else."""
    if path.name == TRANSFORMS and path.is_file():
        return path.parent
    return path if (path / TRANSFORMS).is_file() else None


def scene_photo(folder: Path, frame: int = 0) -> ScenePhoto:
    """One frame of a scene; only its own picture is read.

    In the scenes that came with Zero-1-to-3 all frames show the same picture and only the first one's camera took it.

    Raises:
        ValueError: no such frame, damaged, not square, or a camera at the origin; in one line.
    """
    scenes = NerfScenes(folder, [folder], TRANSFORMS)
    count = scenes.views(0)
    if not 0 <= frame < count:
        raise ViewSetError(f"{folder / TRANSFORMS}: frame must be from 0 to {count - 1}, got {frame}")
    views = scenes.load(0, [frame]).views()
    height, width = views.images.shape[-2:]
    if height != width:
        raise ViewSetError(f"{folder / TRANSFORMS}: pictures must be square, frame {frame} is {width} x {height}")
    return ScenePhoto(views.images[0], views.camera.orbit().to(torch.float32))


def prepare_whole(views: NovelViews, rgba: Tensor, method: Method = "auto") -> Photo:
    """As `NovelViews.prepare`, but the object keeps its place and size in the picture, whose camera is known.

    Raises:
        PictureError: the picture shows no object, or is not square.
    """
    if rgba.shape[-1] != rgba.shape[-2]:
        raise PictureError(
            f"a picture from a known distance must be square, its middle that of the object; this one is "
            f"{rgba.shape[-1]} x {rgba.shape[-2]}"
        )
    cut, matte = foreground(rgba, method)
    return Photo(framed(cut, replace(views.framing, foreground_fraction=None)), matte, cut[3:])
