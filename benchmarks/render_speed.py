"""Pictures per second of one core, by both renderers, loading and set-up included.

    python benchmarks/render_speed.py [MESH_FOLDER] [--renderer embree|blender] [--blender PYTHON] [--size 256] ...

Without a folder it renders procedural objects, written to files first. Blender is asked as the original asked it: 512
pixels, 128 samples, denoised, its light.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from zero123.data.procedural.generate import generate
from zero123.data.render.batch import CameraSettings, CyclesSettings, Machine, RenderSettings, Source
from zero123.data.render.batch import view_of as cameras_and_light
from zero123.data.render.renderer import renderer_for
from zero123.meshes.export import export_mesh

OBJECTS = {"embree": 40, "blender": 4}
VIEWS = 12


def main() -> None:
    arguments = _arguments()
    blender = arguments.renderer == "blender"
    torch.set_num_threads(1)
    size = arguments.size or (512 if blender else 256)
    settings = RenderSettings(
        CameraSettings(views=VIEWS),
        size=size,
        renderer=arguments.renderer,
        light="original" if blender else "studio",
        cycles=CyclesSettings(samples=arguments.samples),
        need_textures=False,
    )
    with tempfile.TemporaryDirectory() as folder:
        sources = _sources(arguments.meshes, arguments.objects or OBJECTS[arguments.renderer], Path(folder))
        renderer = renderer_for(settings, Machine(arguments.blender, arguments.device))
        seconds = []
        wall, processor = time.perf_counter(), _processor()
        for source in sources:
            begun = time.perf_counter()
            renderer.render(source, *cameras_and_light(source, settings))
            seconds.append(time.perf_counter() - begun)
        wall = time.perf_counter() - wall
        described = renderer.describe()
        renderer.close()
        processor = _processor() - processor
    count = VIEWS * len(sources)
    print(f"{described['name']} {described['version']}, {size} pixels, {len(sources)} objects of {VIEWS} views")
    print(f"{count} pictures: {count / processor:.3g} per CPU second, {count / wall:.3g} per second")
    print(f"seconds an object: median {np.median(seconds):.2f}, longest {max(seconds):.2f}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("meshes", nargs="?", type=Path)
    parser.add_argument("--renderer", default="embree", choices=["embree", "blender"])
    parser.add_argument("--blender")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda", "optix"])
    parser.add_argument("--size", type=int)
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--objects", type=int)
    return parser.parse_args()


def _sources(meshes: Path | None, count: int, folder: Path) -> list[Source]:
    if meshes is None:
        made = [export_mesh(generate(seed), folder / f"{seed}.glb") for seed in range(count)]
        return [Source(path.stem, path) for path in made]
    files = sorted(meshes.glob("*.glb"))
    return [Source(path.stem, path) for path in files[:: max(len(files) // count, 1)][:count]]


def _processor() -> float:
    """CPU seconds of this process and of those it started and saw end."""
    return sum(
        getattr(resource.getrusage(who), field)
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        for field in ("ru_utime", "ru_stime")
    )


if __name__ == "__main__":
    main()
