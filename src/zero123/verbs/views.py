"""`views`: one picture in, the object's other views out."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from zero123.diffusion.sampling import SamplingSettings
from zero123.files import atomic_path, writable_folder
from zero123.geometry.camera import Camera
from zero123.geometry.conventions import Nerfstudio
from zero123.geometry.orbit import RelativePose, relative_moves
from zero123.images import io
from zero123.images.forms import PictureLike, moving_html, png
from zero123.images.matting import Method
from zero123.images.photo import Photo
from zero123.images.sheets import contact_sheet
from zero123.images.spread import Samples
from zero123.pipeline import NovelViews
from zero123.reconstruction.from_photo import source_at
from zero123.verbs.models import ready
from zero123.verbs.progress import Told, progress_shown


@dataclass(frozen=True)
class Views:
    """Views of an object; a notebook shows them beside the picture they were made from.

    Attributes:
        photo: the picture made ready.
        moves: camera moves from the picture's camera, (V,).
        camera: where the views are seen from, (V,), if the picture was taken from where the model believes, or was
            told.
        pictures: on white, (V * samples, 3, S, S) in [0, 1]; samples of one view side by side.
        samples: pictures of each view.
        doubt: what the model doubts of several samples, see `images.spread`.
    """

    photo: Photo
    moves: RelativePose
    camera: Camera
    pictures: Tensor
    samples: int = 1
    doubt: Tensor | None = None

    def __repr__(self) -> str:
        height, width = self.pictures.shape[-2:]
        return f"<{len(self.moves)} views, {self.samples} of each, {width}x{height} pixels>"

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Image.Image:
        """One picture, as a Pillow image."""
        return io.to_pillow(self.pictures[index])

    def to_pillow(self) -> list[Image.Image]:
        """The pictures as Pillow images."""
        return [io.to_pillow(picture) for picture in self.pictures]

    def to_numpy(self) -> NDArray[np.uint8]:
        """The pictures as an array, (V * samples, S, S, 3), 0 to 255."""
        return np.stack([np.asarray(picture) for picture in self.to_pillow()])

    @property
    def spread(self) -> Tensor:
        """Where the model guesses: how far true views may be from these, (V, S, S); see `images.spread`.

        Raises:
            ValueError: there is one sample of each view only.
        """
        return Samples.of(self.pictures, self.samples, self.doubt).spread

    def sheet(self, columns: int = 6) -> Tensor:
        """The picture and all views in rows, each with its move below, (3, H, W) in [0, 1]."""
        moves = self.moves
        labels = [
            f"{a:+.0f}° {e:+.0f}°" for a, e in zip(moves.azimuth.rad2deg(), moves.elevation.rad2deg(), strict=True)
        ]
        everything = torch.cat((self.photo.on_white[None], self.pictures))
        named = ["picture", *(label for label in labels for _ in range(self.samples))]
        return contact_sheet(everything, min(columns, len(everything)), named)

    def moving(self, fps: float = 8.0) -> str:
        """The views one after the other, as HTML: `IPython.display.HTML(views.moving())`."""
        return moving_html(self.pictures, fps, f"{len(self)} views of an object, one after the other")

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write `views/NNN.png` (`NNN-K.png` for samples), `sheet.png` and `transforms.json`, their cameras.

        Raises:
            OSError: the folder cannot be written.
        """
        out = writable_folder(Path(folder))
        names = [
            f"views/{k // self.samples:03d}" + (f"-{k % self.samples}.png" if self.samples > 1 else ".png")
            for k in range(len(self))
        ]
        for name, picture in zip(names, self.pictures, strict=True):
            io.save(out / name, picture)
        io.save(out / "sheet.png", self.sheet())
        each = self.camera[torch.arange(len(self.moves)).repeat_interleave(self.samples)]
        with atomic_path(out / "transforms.json") as temporary:
            temporary.write_text(json.dumps(Nerfstudio.of(each).transforms(names), indent=1), encoding="utf-8")
        return out

    def _repr_png_(self) -> bytes:
        return png(self.sheet())


def views(
    picture: PictureLike,
    azimuth_deg: float | Sequence[float] = (30.0, 60.0, 90.0, 180.0, -90.0, -60.0, -30.0),
    elevation_deg: float | Sequence[float] = 0.0,
    radius: float | Sequence[float] = 0.0,
    *,
    model: str | Path | NovelViews = "mini",
    sampling: SamplingSettings | None = None,
    photo_elevation_deg: float | None = None,
    background: Method = "auto",
    progress: bool | Told = True,
) -> Views:
    """The object of a picture from other sides.

    >>> zero123.views("chair.png", [30, 60, 90], 20)

    Args:
        picture: a file, a Pillow image, a numpy array (H, W, 3|4), or a tensor (3|4, H, W).
        azimuth_deg: the camera's moves to the right, degrees; one, or one for each view.
        elevation_deg: up, degrees; one, or one for each view.
        radius: away, world units; one, or one for each view.
        model: "mini", a name of `zero123 weights list`, a path, or one that is loaded.
        sampling: steps, guidance, seed, samples; None for what suits the model.
        photo_elevation_deg: height above the horizon the picture was taken from; None lets the model say.
        background: how the object is found; see `images.matting.foreground`.
        progress: whether a bar is shown, or who is told instead.

    Raises:
        PictureError: the picture cannot be used.
        WeightsError: the model cannot be loaded.
        ValueError: a move out of range, or lists that do not go together.
    """
    moves = relative_moves(_listed(azimuth_deg), _listed(elevation_deg), _listed(radius))
    source = None if photo_elevation_deg is None else source_at(photo_elevation_deg)
    sampling = sampling or SamplingSettings()
    loaded = ready(model)
    photo = loaded.prepare(picture, background)
    source = source or loaded.source(photo)
    with progress_shown(progress) as told:
        drawn = loaded.samples(photo, moves, sampling, source, lambda done, total: told("views", done, total))
    pictures = drawn.pictures.flatten(0, 1)
    camera = Camera.from_orbit(source.moved(moves), hw=(pictures.shape[-2], pictures.shape[-1]))
    return Views(photo, moves, camera, pictures, sampling.samples, drawn.doubt)


def _listed(values: float | Sequence[float]) -> list[float]:
    return [float(values)] if isinstance(values, int | float) else [float(value) for value in values]
