"""One picture to its views and mesh, in a worker whose model stays loaded; its folder appears whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch

from zero123 import __version__
from zero123.batch import results
from zero123.batch.pictures import Picture
from zero123.batch.settings import BatchSettings, ModelChoice, as_json
from zero123.files import replace_folder
from zero123.geometry.orbit import OrbitPose
from zero123.images import io
from zero123.images.photo import Photo
from zero123.images.sheets import contact_sheet, save_video
from zero123.jobs import Halt, staging
from zero123.meshes.export import export_mesh
from zero123.pipeline import NovelViews
from zero123.reconstruction.from_photo import PhotoSettings, Progress, from_photo, source_at

NOBODY_CAN = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Disk full, quota reached, disk read-only: the next picture would meet them too."""

_POISONED = 70
"""Exit code of a worker whose GPU no longer answers; another one begins its picture again."""


@dataclass(frozen=True, eq=False)  # a worker gets one, which is itself the key to the model loaded for it
class Order:
    """What a worker is told once, for all its pictures.

    Attributes:
        out: folder of the results, seen by all workers.
        settings: what is made.
        model: settled.
        identity: of the model, as the one who gave the order found it.
        foreign: the worker may be on another machine, whose model and version are to be compared.
        version: of this package, where the order was given.
    """

    out: Path
    settings: BatchSettings
    model: ModelChoice
    identity: dict[str, Any]
    foreign: bool = False
    version: str = __version__


def make(picture: Picture, order: Order) -> dict[str, Any]:
    """Make what is ordered of one picture and put it in its place; its manifest. Runs in a worker.

    Raises:
        PictureError: the picture cannot be read, or shows no object.
        Halt: the model cannot be loaded, or the disk is full: what no picture would survive.
    """
    noted = as_json(order.settings, order.identity)
    if results.is_done(order.out, picture, noted):  # by a worker that was given up for lost
        return results.read(order.out / picture.name) or {}
    views = _model(order)
    unfinished = staging(order.out, "batch", picture.name[:100])
    try:
        values = draw(picture, order.settings, order.identity, views, unfinished) | {"settings": noted}
        (unfinished / results.NAME).write_text(json.dumps(values, indent=1, default=str) + "\n", encoding="utf-8")
        _put(unfinished, order.out, picture, noted)
    except OSError as error:
        if error.errno in NOBODY_CAN:
            raise Halt(told(error, order.out)) from error
        raise
    except RuntimeError:
        if _gpu_is_lost(views):
            os._exit(_POISONED)
        raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return values


def told(error: OSError, out: Path) -> str:
    """What is said of an error that nobody can do anything about but the person."""
    return f"cannot write into {out}: {error.strerror}; what is done is kept, the same command goes on"


def draw(
    picture: Picture,
    settings: BatchSettings,
    identity: dict[str, Any],
    views: NovelViews,
    folder: Path,
    formats: Sequence[str] = ("glb",),
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Make everything of one picture.

    Args:
        picture: to read.
        settings: what is made.
        identity: of the model, see `ModelChoice.identity`.
        views: the model.
        folder: to write into.
        formats: of the mesh, endings that `export_mesh` knows.
        progress: told what is being done, steps done, and steps in all.

    Returns:
        What was made and how, as JSON values.

    Raises:
        PictureError: the picture cannot be read, or shows no object.
        OSError: the folder cannot be written.
    """
    start = time.monotonic()
    photo = views.prepare(picture.path, settings.background)
    noted = results.picture_json(picture)
    given = settings.photo_elevation_deg is not None
    source = (
        source_at(settings.photo_elevation_deg) if settings.photo_elevation_deg is not None else views.source(photo)
    )
    known = given or views.model.place_reader is not None
    io.save(folder / "input.png", photo.rgba)
    io.save(folder / "mask.png", photo.mask)
    if settings.azimuth_deg:
        _draw_views(photo, source, settings, views, folder, progress)
    drawn = time.monotonic()
    if settings.faces is not None:
        source, known = _draw_mesh(photo, settings.mesh(), views, folder, formats, progress), True
    end = time.monotonic()
    return {
        "format": results.FORMAT,
        "zero123": __version__,
        "name": picture.name,
        "picture": noted,
        "model": {"name": views.model.settings.name, "licence": views.model.settings.licence, **identity},
        "seed": settings.sampling.seed,
        "elevation_deg": round(float(source.elevation[0].rad2deg()), 3) if known else None,
        "elevation_is": "given" if given else "estimated" if known else "not used",
        "object": {"found_by": photo.matte.method, "coverage": photo.matte.coverage, "cropped": photo.matte.cropped},
        "seconds": {"views": round(drawn - start, 3), "mesh": round(end - drawn, 3), "all": round(end - start, 3)},
        "worker": f"{socket.gethostname()}:{os.getpid()}",
        "device": str(views.device),
        "outputs": sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()),
    }


def _draw_views(
    photo: Photo,
    source: OrbitPose,
    settings: BatchSettings,
    views: NovelViews,
    folder: Path,
    progress: Progress | None,
) -> None:
    told = None if progress is None else partial(progress, "views")
    pictures = views(photo, settings.moves(), settings.sampling, source, told)
    samples = settings.sampling.samples
    for index, image in enumerate(pictures):
        name = f"{index // samples:03d}" + (f"-{index % samples}" if samples > 1 else "")
        io.save(folder / "views" / f"{name}.png", image)
    everything = torch.cat((photo.on_white[None], pictures))
    io.save(folder / "sheet.png", contact_sheet(everything, min(len(everything), 7)))
    if settings.fps is not None:
        save_video(folder / "orbit.mp4", pictures, settings.fps)


def _draw_mesh(
    photo: Photo,
    settings: PhotoSettings,
    views: NovelViews,
    folder: Path,
    formats: Sequence[str],
    progress: Progress | None,
) -> OrbitPose:
    """The mesh and the views it was made from, written; where the photo was taken to be from."""
    found, images, poses = from_photo(views, photo, settings, progress)
    for ending in formats:
        export_mesh(found.mesh, folder / f"model.{ending}")
    io.save(folder / "reconstruction-views.png", contact_sheet(images, 7))
    return poses[:1]


@lru_cache(maxsize=1)
def _model(order: Order) -> NovelViews:
    """This process's model, loaded once for all its pictures."""
    where = f" on {socket.gethostname()}" if order.foreign else ""
    if order.foreign and order.version != __version__:
        raise Halt(f"zero123 is {__version__}{where}, and {order.version} where the batch was begun; install the same")
    try:
        found = order.model.identity() if order.foreign else order.identity
        views = order.model.load()
    except (ImportError, ValueError, OSError) as error:
        raise Halt(f"the model cannot be loaded{where}: {error}") from error
    if found != order.identity:
        raise Halt(f"the model {order.model.name}{where} is not the one where the batch was begun; copy it there")
    return views


def _put(unfinished: Path, out: Path, picture: Picture, noted: dict[str, Any]) -> None:
    """Put finished results in their place, unless another worker has just done so."""
    try:
        replace_folder(unfinished, out / picture.name)
    except OSError:
        if not results.is_done(out, picture, noted):
            raise


def _gpu_is_lost(views: NovelViews) -> bool:
    """Whether an error has left the GPU's context unusable, for all that this process may yet try."""
    if views.device.type != "cuda":
        return False
    try:
        torch.zeros(1, device=views.device).cpu()
    except torch.OutOfMemoryError:
        return False
    except RuntimeError:
        return True
    return False
