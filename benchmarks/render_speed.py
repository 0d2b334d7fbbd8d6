"""Pictures per second of the embree renderer on one core: 256x256, four rays per pixel, loading and set-up included.

    python benchmarks/render_speed.py [MESH_FOLDER]

Without a folder it renders procedural objects (without the time to make them).
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch

from zero123.data.procedural.generate import generate
from zero123.data.render.embree import EmbreeRenderer
from zero123.data.render.light import Light
from zero123.geometry.camera import Camera
from zero123.geometry.paths import random_views
from zero123.meshes.load import load
from zero123.meshes.mesh import Mesh, unit_cube

VIEWS, OBJECTS = 12, 40


def main() -> None:
    torch.set_num_threads(1)
    files = sorted(Path(sys.argv[1]).glob("*.glb")) if len(sys.argv) > 1 else []
    files = files[:: max(len(files) // OBJECTS, 1)][:OBJECTS]
    made: list[list[Mesh]] = [] if files else [[generate(seed)] for seed in range(OBJECTS)]
    camera = Camera.from_orbit(random_views(VIEWS, torch.Generator().manual_seed(0), (-0.3, 1.25)), hw=(256, 256))
    wall, processor = time.perf_counter(), time.process_time()
    for item in files or made:
        renderer = EmbreeRenderer(unit_cube(load(item)) if isinstance(item, Path) else item)
        for view in range(VIEWS):
            renderer.render(camera[view], Light())
    count = VIEWS * len(files or made)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    print(f"{count} pictures: {count / processor:.1f} per CPU second, {count / wall:.1f} per second")


if __name__ == "__main__":
    main()
