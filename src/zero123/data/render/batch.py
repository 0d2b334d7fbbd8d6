"""Render many objects with all cores: mesh files or procedural seeds in, view sets out."""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from zero123.data.view_set import ViewSet
from zero123.geometry.camera import Camera
from zero123.geometry.paths import random_views
from zero123.meshes.mesh import Mesh, unit_cube

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RenderSettings:
    """How an object is photographed.

    Attributes:
        views: pictures of each object.
        size: side of the square pictures, pixels.
        samples: rays per pixel, 1 or 4.
        elevation_deg: lowest and highest camera; uniform in area between them.
        radius: nearest and farthest camera, world units.
        seed: with the object's name it decides cameras and light.
    """

    views: int = 12
    size: int = 128
    samples: int = 4
    elevation_deg: tuple[float, float] = (-17.0, 72.0)
    radius: tuple[float, float] = (1.5, 2.2)
    seed: int = 0


@dataclass(frozen=True)
class Source:
    """An object to render: a mesh file, or the seed of a procedural object where `path` is None."""

    name: str
    path: Path | None = None
    seed: int = 0

    def parts(self) -> list[Mesh]:
        """The object's meshes inside the unit cube."""
        if self.path is not None:
            from zero123.meshes.load import load

            return unit_cube(load(self.path))
        from zero123.data.procedural.generate import generate

        return [generate(self.seed)]


def render_object(source: Source, settings: RenderSettings) -> ViewSet:
    """Views of one object under one random light; the same source and settings give the same views on every machine."""
    from zero123.data.render.embree import EmbreeRenderer
    from zero123.data.render.light import Light

    entropy = [settings.seed, zlib.crc32(source.name.encode())]
    numbers = np.random.default_rng(entropy)
    generator = torch.Generator().manual_seed(int(numbers.integers(2**62)))
    low, high = (math.radians(e) for e in settings.elevation_deg)
    pose = random_views(settings.views, generator, (low, high), settings.radius)
    camera = Camera.from_orbit(pose, hw=(settings.size, settings.size))
    light = Light.random(numbers)
    renderer = EmbreeRenderer(source.parts())
    images = torch.stack([renderer.render(camera[view], light, settings.samples) for view in range(settings.views)])
    return ViewSet(images, camera)


def render_all(
    sources: Sequence[Source], out: Path, settings: RenderSettings, processes: int | None = None
) -> Iterator[tuple[Source, str | None]]:
    """Render every source to `out/<name>/`, skipping those that are there already.

    Args:
        sources: objects, each with a name of its own.
        out: folder that receives one view set per object.
        settings: cameras, size, seed.
        processes: None for one per core.

    Yields:
        Each source when it is done, with None, or with one line that says why it failed.
    """
    todo = [s for s in sources if not (out / s.name).is_dir()]
    for source in sources:
        if (out / source.name).is_dir():
            yield source, None
    if not todo:
        return
    work = partial(_render_one, out=out, settings=settings)
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes or os.cpu_count() or 1, initializer=_single_thread) as pool:
        yield from pool.imap_unordered(work, todo)


def _single_thread() -> None:
    torch.set_num_threads(1)


def _render_one(source: Source, out: Path, settings: RenderSettings) -> tuple[Source, str | None]:
    try:
        views = render_object(source, settings)
        if not bool((views.images[:, 3] > 0).flatten(1).any(1).all()):
            return source, f"{source.name}: a view shows nothing"
        views.save(out / source.name)
    except ImportError:
        raise
    except Exception as error:  # noqa: BLE001  one bad object of thousands must not end the others
        return source, f"{source.name}: {' '.join(str(error).split()) or type(error).__name__}"
    return source, None
