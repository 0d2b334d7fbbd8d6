"""Render many objects on all cores, GPUs or machines: mesh files or procedural seeds in, view sets out."""

from __future__ import annotations

import errno
import shutil
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch

from zero123 import jobs
from zero123.data.render import manifest
from zero123.data.render.cameras import draw_cameras
from zero123.data.render.light import AreaLight, Light
from zero123.data.render.renderer import Renderer, random_light, renderer_for
from zero123.data.render.settings import CameraSettings, CyclesSettings, Machine, RenderSettings
from zero123.data.render.source import Source, sources_of
from zero123.data.view_set import ViewSet
from zero123.files import replace_folder
from zero123.geometry.camera import Camera
from zero123.jobs import Halt, JobFolder, Workers
from zero123.meshes.deformation import Deformation

__all__ = [
    "CameraSettings",
    "CyclesSettings",
    "Machine",
    "RenderSettings",
    "Source",
    "Workers",
    "render_all",
    "render_object",
    "sources_of",
]

_DEFORM = 1
"""Of the numbers drawn by an object's name, those that deform it; none stands for cameras and light."""

_NOBODY_CAN = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Disk full, quota reached, disk read-only: the next object would meet them too."""


def view_of(source: Source, settings: RenderSettings) -> tuple[Camera, Light | AreaLight]:
    """Cameras and light of an object: by its name and the settings alone, the same on every machine."""
    numbers = np.random.default_rng([settings.seed, zlib.crc32(source.name.encode())])
    generator = torch.Generator().manual_seed(int(numbers.integers(2**62)))
    camera = draw_cameras(settings.cameras, settings.size, generator)
    return camera, random_light(settings, numbers)


def deformed(source: Source, settings: RenderSettings) -> Source:
    """The source as it is rendered: deformed by its name and the settings alone, the same on every machine."""
    if settings.stretch == settings.swell == 1:
        return source
    numbers = np.random.default_rng([settings.seed, zlib.crc32(source.name.encode()), _DEFORM])
    return replace(source, deformation=Deformation.drawn(numbers, settings.stretch, settings.swell))


def render_object(source: Source, settings: RenderSettings, renderer: Renderer | None = None) -> ViewSet:
    """Views of one object under one random light; the same source and settings give the same views on every machine."""
    camera, light = view_of(source, settings)
    renderer = renderer or renderer_for(settings, Machine())
    return ViewSet(renderer.render(deformed(source, settings), camera, light), camera)


def render_all(
    sources: Sequence[Source],
    out: Path,
    settings: RenderSettings,
    workers: Workers | None = None,
    cluster: str | None = None,
    *,
    machine: Machine | None = None,
    retry_failed: bool = False,
) -> Iterator[tuple[Source, str | None]]:
    """Render every source to `out/<name>/`, whole or not at all, skipping those that are there or failed before.

    `out/failures.jsonl` lists what failed, with reasons; `out/render.json` holds the settings.

    Args:
        sources: objects, each with a name of its own.
        out: folder that receives one view set per object; with a cluster, one that every node sees.
        settings: cameras, size, light, renderer, seed.
        workers: how many, on cores or GPUs, and how long an object may take.
        cluster: address of a Ray cluster; None for processes of this machine.
        machine: where Blender is and what it computes with.
        retry_failed: try again what failed before.

    Yields:
        Each source when it is done, with None, or with one line that says why it failed.

    Raises:
        OSError: the folder is not writable, another run uses it, the disk is full, no cluster answers.
        ValueError: the folder was begun with other settings, or there is no GPU where one is asked for.
        ImportError: a renderer or Ray is not installed.
    """
    machine = machine or Machine()
    if settings.renderer == "embree" and machine.device != "cpu":
        raise ValueError(f"--device {machine.device} is for --renderer blender; embree computes on the processor")
    if cluster is None:
        renderer_for(settings, machine).close()  # says at once what is missing
    try:
        with JobFolder(out, settings.as_json(), "render", "object") as folder:
            todo = []
            for source in sources:
                state = _state(source, folder, retry_failed)
                if state is None:
                    todo.append(source)
                else:
                    yield source, state or None
            task = partial(_render_one, out=out.resolve(), settings=settings, machine=machine)
            with closing(jobs.run(task, todo, workers, cluster)) as outcomes:  # workers end before the folder is left
                for outcome in outcomes:
                    yield outcome.item, _noted(outcome, folder)
    except OSError as error:
        if error.errno in _NOBODY_CAN:
            raise OSError(_told(error, out)) from error
        raise


def _noted(outcome: jobs.Outcome[Source, None], folder: JobFolder) -> str | None:
    """None, or why an object failed, which is noted in the folder's list."""
    name, error = outcome.item.name, outcome.error
    if error is None and not (folder.folder / name).is_dir():
        error = f"written on {outcome.where}, not seen here; -o must be a folder that all machines share"
    if error is None:
        folder.succeeded(name)
        return None
    folder.failed(name, error, outcome.attempts)
    return f"{name}: {error}"


def _told(error: OSError, out: Path) -> str:
    return f"cannot write into {out}: {error.strerror}; what is done is kept, the same command goes on"


def _state(source: Source, folder: JobFolder, retry_failed: bool) -> str | None:
    """None where there is work to do, nothing where it is done, or why it will not be."""
    views = folder.folder / source.name
    if views.is_dir():
        if manifest.is_of(views, source):
            folder.succeeded(source.name)
            return ""
        reason = f"{views} holds views of another object or of another version of it; delete or rename one of them"
        folder.failed(source.name, reason, 0)
        return f"{source.name}: {reason}"
    before = folder.failures.get(source.name)
    if before is not None and not retry_failed:
        return f"{source.name}: {before.get('reason')} (failed in an earlier run; --retry-failed tries again)"
    return None


def _render_one(source: Source, out: Path, settings: RenderSettings, machine: Machine) -> None:
    """Render one object and put it in its place; runs in a worker."""
    if (out / source.name).is_dir():
        return  # by a worker that was given up for lost
    staging = jobs.staging(out, "render", source.name)
    try:
        renderer = _renderer(settings, machine)
        camera, light = view_of(source, settings)
        source = deformed(source, settings)
        views = ViewSet(renderer.render(source, camera, light), camera)
        _check(views)
        views.save(staging)
        manifest.write(staging, manifest.describe(source, views, light, renderer.describe(), settings))
        replace_folder(staging, out / source.name)
    except ImportError as error:
        raise Halt(str(error)) from error
    except OSError as error:
        if error.errno in _NOBODY_CAN:
            raise Halt(_told(error, out)) from error
        raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@lru_cache(maxsize=1)
def _renderer(settings: RenderSettings, machine: Machine) -> Renderer:
    """This process's renderer; Blender is started once and serves many objects."""
    return renderer_for(settings, machine)


def _check(views: ViewSet) -> None:
    """Refuse views that show nothing, which say that the object or its cameras are wrong."""
    empty = (~(views.images[:, 3] > 0).flatten(1).any(1)).nonzero().flatten().tolist()
    if empty:
        raise ValueError(f"a view shows nothing (the first: {empty[0]:03d})")
