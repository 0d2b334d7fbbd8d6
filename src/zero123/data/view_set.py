"""Pictures of one object and their cameras, on disk as the original's renders are: `NNN.png` beside `NNN.npy`."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zero123.files import replace_folder
from zero123.geometry.camera import FIELD_OF_VIEW, Camera
from zero123.images import io


class ViewSetError(ValueError):
    """A folder of views that cannot be used, said in one line."""


@dataclass(frozen=True)
class ViewSet:
    """The views of one object.

    Attributes:
        images: straight-alpha pictures, (V, 4, H, W), in [0, 1].
        camera: the cameras, `world_from_camera` (V, 4, 4).
    """

    images: Tensor
    camera: Camera

    def __len__(self) -> int:
        return len(self.images)

    def save(self, folder: str | Path) -> None:
        """Write the folder whole or not at all; one that is there already is replaced."""
        folder = Path(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            for index, (image, matrix) in enumerate(zip(self.images, self.camera.to_blender_rt(), strict=True)):
                io.save(temporary / f"{index:03d}.png", image)
                np.save(temporary / f"{index:03d}.npy", matrix.numpy())
            temporary.chmod(0o755)
            replace_folder(temporary, folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise

    @classmethod
    def load(cls, folder: str | Path, field_of_view: float = FIELD_OF_VIEW) -> ViewSet:
        """Read every view of a folder; pictures must be of one size, pictures without alpha count as opaque.

        Raises:
            ViewSetError: no views, a picture without its camera, a camera of the wrong shape, sizes that differ.
        """
        folder = Path(folder)
        pictures = sorted(folder.glob("[0-9]*.png"), key=lambda path: (len(path.name), path.name))
        if not pictures:
            raise ViewSetError(f"{folder}: holds no views (expected 000.png with 000.npy, ...)")
        images, matrices = [], []
        for path in pictures:
            image = io.load(path)
            images.append(image if len(image) == 4 else torch.cat((image, torch.ones_like(image[:1]))))
            matrices.append(_read_camera_file(path.with_suffix(".npy")))
            if images[-1].shape != images[0].shape:
                raise ViewSetError(f"{path}: differs in size from {pictures[0].name}; render all views at one size")
        height, width = images[0].shape[-2:]
        camera = Camera.from_blender_rt(torch.from_numpy(np.stack(matrices)), field_of_view, (height, width))
        return cls(torch.stack(images), camera)


def read_camera(file: BinaryIO, name: str) -> NDArray[np.float32]:
    """The world-to-camera matrix (3, 4) in an open `.npy` file; pickles in it are refused.

    Raises:
        ViewSetError: damaged, of another shape, or not finite; the line begins with `name`.
    """
    try:
        matrix = np.load(file, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ViewSetError(f"{name}: not a readable camera matrix ({error})") from error
    if matrix.shape != (3, 4) or matrix.dtype.kind not in "fiu" or not np.isfinite(matrix).all():
        raise ViewSetError(f"{name}: expected a finite 3x4 matrix, got shape {matrix.shape} of {matrix.dtype}")
    return matrix.astype(np.float32)


def _read_camera_file(path: Path) -> NDArray[np.float32]:
    try:
        with path.open("rb") as file:
            return read_camera(file, str(path))
    except FileNotFoundError:
        raise ViewSetError(f"{path}: missing; every view needs its 3x4 world-to-camera matrix") from None
    except ViewSetError:
        raise
    except OSError as error:
        raise ViewSetError(f"{path}: not a readable camera matrix ({error})") from error
