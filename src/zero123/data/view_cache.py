"""The views of many objects as arrays: pictures and their latents, made once, mapped from disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zero123.data.arrays import GrowingArray
from zero123.data.broken import SHARE, BrokenItems
from zero123.data.formats.detect import open_source
from zero123.data.pictures import Edges, OpaqueNotice, training_pictures
from zero123.data.sources import ABOUT, ObjectSource, check_made_of, identity
from zero123.data.view_set import ViewSetError
from zero123.files import atomic_path
from zero123.geometry.camera import Camera

_ARRAYS = ("images", "latents", "poses", "first")


@dataclass(frozen=True)
class CacheSettings:
    """How views become arrays.

    Attributes:
        size: side of the pictures, pixels; None keeps the views'.
        edges: of objects on white.
        share: of broken objects, above which nothing is built.
        first_views: only so many views of each object; None for all.
        codec: what tells the autoencoder from others, for `open_for`; "" tells nothing.
    """

    size: int | None = None
    edges: Edges = "blended"
    share: float = SHARE
    first_views: int | None = None
    codec: str = ""

    def about(self, source: ObjectSource) -> dict[str, Any]:
        """What decides what is in a cache of these views, for JSON."""
        own = {"size": self.size, "edges": self.edges, "first_views": self.first_views, "codec": self.codec}
        return {**own, **identity(source)}


@dataclass(frozen=True)
class ViewCache:
    """Every view of a folder of view sets, encoded once; arrays stay on disk and are mapped.

    Attributes:
        images: pictures on white, (N, 3, H, W) uint8.
        latents: of each picture and of its mirror image, (N, 2, C, h, w) float16.
        poses: azimuth, elevation (radians) and radius, (N, 3) float32.
        first: index of each object's first view, and N at the end, (objects + 1,) int64.
    """

    images: NDArray[np.uint8]
    latents: NDArray[np.float16]
    poses: NDArray[np.float32]
    first: NDArray[np.int64]

    @classmethod
    def open(cls, folder: str | Path) -> ViewCache:
        """Map the arrays of a folder that `build` filled."""
        folder = Path(folder)
        if not (folder / "first.npy").is_file():
            raise ViewSetError(f"{folder}: not a cache of views; build it first")
        return cls(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS))

    @classmethod
    def open_for(cls, views: str | Path, folder: str | Path, settings: CacheSettings) -> ViewCache:
        """Map the arrays of a folder that `build` filled with these views in this way.

        Raises:
            ViewSetError: they are others, or made otherwise; in one line that says what differs.
        """
        cache, now = cls.open(folder), settings.about(open_source(views, "training"))
        if (Path(folder) / ABOUT).is_file():
            check_made_of(Path(folder), now)
            return cache
        size = cache.images.shape[-1]  # all that can be told of a cache of version 0.1.0
        if settings.size not in (None, size):
            raise ViewSetError(f"{folder}: holds pictures of {size} pixels, not {settings.size}; remove it")
        return cache

    @classmethod
    def build(
        cls,
        views: str | Path,
        folder: str | Path,
        encode: Callable[[Tensor], Tensor],
        settings: CacheSettings | None = None,
    ) -> ViewCache:
        """Read every object for training below `views`, of any format, and write arrays to `folder`.

        Objects that are broken, have one view, or differ in size from the first are skipped; `skipped.json` beside the
        arrays names them.

        Args:
            views: folder that `open_source` knows.
            folder: receives the arrays; one cache is held in memory one object at a time.
            encode: pictures (B, 3, H, W) in [0, 1] to latents (B, C, h, w).
            settings: size, edges, and how much may be broken.

        Raises:
            ViewSetError: there are no objects, or too many are broken.
        """
        settings = settings or CacheSettings()
        source = open_source(views, "training")
        broken, notice = BrokenItems(len(source.names), settings.share), OpaqueNotice()
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        about = settings.about(source)
        (folder / "first.npy").unlink(missing_ok=True)  # written last: its presence says that the others are whole
        first, shape = [0], None
        with ExitStack() as stack:
            files = {n: stack.enter_context(GrowingArray(folder / f"{n}.npy")) for n in ("images", "latents", "poses")}
            for index, name in enumerate(source.names):
                try:
                    chosen = settings.first_views and range(min(source.views(index), settings.first_views))
                    view_set = source.load(index, chosen or None)
                    notice.look(view_set, str(views))
                    pictures = training_pictures(view_set, settings.size, settings.edges)
                    _check_use(pictures, shape, name)
                except ViewSetError as error:
                    broken.add(name, str(error))
                    continue
                shape = shape or (name, tuple(pictures.shape[1:]))
                for key, rows in _encoded(view_set.camera, pictures, encode).items():
                    files[key].append(rows)
                first.append(first[-1] + len(view_set))
        if len(first) == 1:
            raise ViewSetError(f"{views}: none of its objects can be used; {broken.line()}")
        with atomic_path(folder / "skipped.json") as temporary:
            temporary.write_text(json.dumps({"objects": broken.total, "skipped": dict(broken.reasons)}, indent=1))
        with atomic_path(folder / ABOUT) as temporary:
            temporary.write_text(json.dumps(about, indent=1) + "\n")
        with atomic_path(folder / "first.npy") as temporary:
            np.save(temporary, np.asarray(first, np.int64))
        return cls.open(folder)


def _check_use(pictures: Tensor, first: tuple[str, tuple[int, ...]] | None, name: str) -> None:
    if len(pictures) < 2:
        raise ViewSetError(f"{name}: holds one view; a pair needs two")
    if first is not None and tuple(pictures.shape[1:]) != first[1]:
        raise ViewSetError(f"{name}: differs in size from {first[0]}; render all objects at one size")


def _encoded(camera: Camera, pictures: Tensor, encode: Callable[[Tensor], Tensor]) -> dict[str, NDArray]:
    """The rows of one object's views, by the array they belong to."""
    with torch.no_grad():
        both = torch.stack((encode(pictures), encode(pictures.flip(-1))), dim=1)
    return {
        "images": (pictures * 255).round().to(torch.uint8).numpy(),
        "latents": both.to(torch.float16).cpu().numpy(),
        "poses": pose_rows(camera),
    }


def pose_rows(camera: Camera) -> NDArray[np.float32]:
    """Azimuth, elevation (radians) and radius of cameras, (V, 3)."""
    pose = camera.orbit()
    return torch.stack((pose.azimuth, pose.elevation, pose.radius), dim=-1).float().numpy()
