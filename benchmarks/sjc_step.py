"""Time and memory of one full-size step of SJC: released shapes, 100^3 field, the original's documented settings.

    python benchmarks/sjc_step.py [--model mini|FILE] [--device cpu|cuda] [--dtype float32|bfloat16] [--steps 3]

Without --model a file with the released names and shapes and golden numbers is made in benchmarks/weights (5 GB). The
original's step took 25 to 28 CPU seconds and 18.0 GiB on one thread of a CPU with bfloat16 in hardware.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time

import torch
from ways import ROOT, describe, released_weights

from zero123 import NovelViews
from zero123.machine import default_device
from zero123.presets import SJC_ORIGINAL
from zero123.reconstruction.score_fit import ScoreFit


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="")
    parser.add_argument("--device", default=default_device())
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--int8", action="store_true")
    given = parser.parse_args()
    device = torch.device(given.device)
    name = given.model or str(released_weights(ROOT / "benchmarks" / "weights" / "released.safetensors"))
    views = NovelViews.from_pretrained(name, device, getattr(torch, given.dtype), int8=given.int8)
    size = views.model.settings.image_size
    photo = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    fit = ScoreFit(views.model, photo, 0.3, SJC_ORIGINAL)
    wall, cpu = [], []
    for _ in range(given.steps + 1):
        start, used = time.perf_counter(), time.process_time()
        fit.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
    else:
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{views.model.settings.name}, {given.dtype}, on {describe(device)}; {torch.get_num_threads()} threads")
    print(f"first step {cpu[0]:.3g} CPU s; then, medians of {given.steps}:")
    print(f"{statistics.median(cpu[1:]):.3g} CPU s, {statistics.median(wall[1:]):.3g} s, peak {peak / 2**30:.3g} GiB")


if __name__ == "__main__":
    main()
