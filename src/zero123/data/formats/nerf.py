"""NeRF-synthetic scenes: `transforms_*.json` with one lens and a world-from-camera matrix per picture."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zero123.data.view_files import LENS, ViewLevels, read_views
from zero123.data.view_set import ViewSetError
from zero123.geometry.camera import Camera


@dataclass(frozen=True)
class _Scene:
    """What the JSON of a scene says.

    Attributes:
        pictures: paths of the pictures.
        matrices: world-from-camera with OpenGL axes, (V, 4, 4).
        field_of_view: horizontal, radians.
    """

    pictures: list[Path]
    matrices: NDArray[np.float32]
    field_of_view: float


class NerfScenes:
    """Scenes of NeRF's synthetic data, each an object; lens and distances are kept as they are.

    The views of a scene are those of all its `transforms*.json` in order of their names (test, train, val), or of the
    chosen one. Matrices are `transform_matrix`, camera to world, OpenGL axes; the lens is `camera_angle_x`, radians
    (Mildenhall et al., 2020, arXiv:2003.08934, as its released data has it).

    Args:
        root: the folder of a scene, or of several.
        scenes: folders of scenes.
        which: only this file of each scene, such as "transforms_train.json"; None for all.
        radius: all camera centres of a scene are scaled so that their mean distance to the origin is this, since models
            know objects of one size; None leaves them.
    """

    def __init__(
        self, root: Path, scenes: Sequence[Path], which: str | None = None, radius: float | None = None
    ) -> None:
        self.root = root
        self.names: Sequence[str] = [scene.name for scene in scenes]
        self.training = len(scenes)
        self._scenes = list(scenes)
        self._which = which
        self._radius = radius
        self._read: dict[int, _Scene] = {}

    @staticmethod
    def found(root: Path) -> list[Path]:
        """The folders of scenes: `root` itself, or those directly below it; none if there are none."""
        if any(root.glob("transforms*.json")):
            return [root.resolve()]
        return sorted({path.parent for path in root.glob("[!.]*/transforms*.json")})

    def views(self, index: int) -> int:
        """How many frames the scene names."""
        return len(self._scene(index).pictures)

    def load(self, index: int, chosen: Sequence[int] | None = None) -> ViewLevels:
        """Views of a scene; only the pictures of the chosen ones are read."""
        scene = self._scene(index)
        wanted = range(len(scene.pictures)) if chosen is None else chosen
        files = dict.fromkeys((_picture(view) for view in range(len(scene.pictures))), b"")
        files |= self._files(scene, wanted)
        return read_views(files, self.names[index], chosen)

    def files(self, index: int) -> dict[str, bytes]:
        """The scene as a view set: pictures as they are, cameras as `NNN.npy`, the lens as `lens.json`."""
        scene = self._scene(index)
        return self._files(scene, range(len(scene.pictures)))

    def _files(self, scene: _Scene, wanted: Sequence[int]) -> dict[str, bytes]:
        files = {LENS: json.dumps({"field_of_view": scene.field_of_view}).encode()}
        for view in wanted:
            path = scene.pictures[view]
            try:
                files[_picture(view)] = path.read_bytes()
            except OSError as error:
                raise ViewSetError(f"{path}: cannot be read ({error.strerror or error})") from error
            matrix = io.BytesIO()
            camera = Camera.from_opengl(torch.from_numpy(scene.matrices[view]))
            np.save(matrix, camera.to_blender_rt().numpy())
            files[_picture(view).replace(".png", ".npy")] = matrix.getvalue()
        return files

    def _scene(self, index: int) -> _Scene:
        if index not in self._read:
            self._read[index] = _scaled(_scene(self._scenes[index], self._which), self._radius)
        return self._read[index]


def _picture(view: int) -> str:
    return f"{view:03d}.png"


def _scene(folder: Path, which: str | None) -> _Scene:
    listed = sorted(folder.glob("transforms*.json")) if which is None else [folder / which]
    pictures: list[Path] = []
    matrices: list[Any] = []
    angles = set()
    for path in listed:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            angles.add(float(content["camera_angle_x"]))
            for number, frame in enumerate(content["frames"]):
                pictures.append(_path(folder, str(frame["file_path"]), path))
                matrices.append(np.asarray(frame["transform_matrix"], np.float32).reshape(4, 4))
                if not np.isfinite(matrices[-1]).all():
                    raise ViewSetError(f"{path}: transform_matrix of frame {number} is not finite")
        except ViewSetError:
            raise
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise ViewSetError(f"{path}: not NeRF's camera_angle_x and frames ({reason})") from error
    if not pictures:
        raise ViewSetError(f"{folder}: its transforms name no frames")
    if len(angles) > 1 or not 0 < min(angles) < math.pi:
        raise ViewSetError(f"{folder}: camera_angle_x must be one angle between 0 and pi, got {sorted(angles)}")
    return _Scene(pictures, np.stack(matrices), angles.pop())


def _path(folder: Path, file: str, said_by: Path) -> Path:
    """A frame's picture; the format leaves `.png` out."""
    if Path(file).is_absolute() or ".." in Path(file).parts:
        raise ViewSetError(f"{said_by}: {file} lies outside the scene")
    return folder / (file if file.lower().endswith(".png") else f"{file}.png")


def _scaled(scene: _Scene, radius: float | None) -> _Scene:
    if radius is None:
        return scene
    matrices = scene.matrices.copy()
    matrices[:, :3, 3] *= radius / np.linalg.norm(matrices[:, :3, 3], axis=1).mean()
    return _Scene(scene.pictures, matrices, scene.field_of_view)
