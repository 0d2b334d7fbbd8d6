"""Time and memory of every step from a picture to a view: ours against the original's way and plain diffusers.

    python benchmarks/inference.py [--model mini|FILE] [--device cpu|cuda] [--rounds 3] [--pictures 1]

Without --model a file with the released names and shapes and golden numbers is made in benchmarks/weights (5 GB).
Every way runs in processes of its own, in turns; figures are medians over rounds, of CPU seconds (all threads) on a
CPU and of seconds on a GPU. Whole pictures take the original's way minutes on a CPU and are drawn in the first
PICTURES rounds only; twelve views are drawn where that is more than one view twelve times.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE

import torch
from ways import ROOT, describe, evaluations, make, released_weights

from zero123.machine import default_device

WAYS = ("original", "diffusers", "ours", "ours int8")
STEPS = ("load", "encode", "guided step", "decode", "one view", "twelve views")


def measured(act: Callable[[], object], device: torch.device, times: int = 1) -> dict[str, float]:
    """Seconds and CPU seconds of the fastest of `times` runs."""
    best = {"seconds": float("inf"), "cpu": float("inf")}
    for _ in range(times):
        wall, cpu = time.perf_counter(), time.process_time()
        act()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best["seconds"] = min(best["seconds"], time.perf_counter() - wall)
        best["cpu"] = min(best["cpu"], time.process_time() - cpu)
    return best


def work(way: str, model: str, device: torch.device, pictures: bool) -> dict[str, dict[str, float]]:
    """One process: every step of one way."""
    import transformers.models.clip.modeling_clip  # noqa: F401  imports are nobody's loading time

    found = {}
    loaded: list = []
    found["load"] = measured(lambda: loaded.append(make(way, model, device)), device)
    one = loaded[0]
    size = one.model.settings.image_size
    one.use(torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)))
    one.step(), one.decode()  # the first call of everything prepares the library
    found["encode"] = measured(one.encode, device, 3)
    found["guided step"] = measured(one.step, device, 5)
    found["decode"] = measured(one.decode, device, 3)
    if pictures or device.type == "cuda" or way.startswith("ours"):
        if device.type == "cuda":
            one.picture()
        found["one view"] = measured(one.picture, device)
    if way.startswith("ours"):
        found["twelve views"] = measured(lambda: one.picture(12), device)
    if device.type == "cuda":
        found["memory"] = {"bytes": float(torch.cuda.max_memory_allocated(device))}
        if way.startswith("ours"):
            found["256 views"] = measured(lambda: one.picture(256), device)
    else:
        found["memory"] = {"bytes": 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}
    return found


def operations(model: str) -> float:
    """Floating point operations of one guided evaluation of one view."""
    from torch.utils.flop_counter import FlopCounterMode

    one = make("diffusers", model, torch.device("cpu"))
    size = one.model.settings.image_size
    one.use(torch.rand(1, 3, size, size))
    with FlopCounterMode(display=False) as counter:
        one.step()
    return float(counter.get_total_flops())


def report(found: dict[str, list[dict[str, dict[str, float]]]], device: torch.device) -> None:
    """The table, as Markdown."""
    unit = "seconds" if device.type == "cuda" else "cpu"
    print(f"| {'seconds' if unit == 'seconds' else 'CPU seconds'} | " + " | ".join(found) + " |")
    print("|---|" + "---:|" * len(found))
    for step in STEPS:
        cells = []
        for runs in found.values():
            values = [run[step][unit] for run in runs if step in run]
            cells.append(f"{statistics.median(values):.3g}" if values else "")
        print(f"| {step} | " + " | ".join(cells) + " |")
    print("| evaluations a view | " + " | ".join(str(evaluations(way)) for way in found) + " |")
    peaks = [statistics.median(run["memory"]["bytes"] for run in runs) / 1e9 for runs in found.values()]
    print("| peak memory, GB | " + " | ".join(f"{peak:.2f}" for peak in peaks) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="")
    parser.add_argument("--device", default=default_device())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=1)
    parser.add_argument("--ways", default=",".join(WAYS), help="plain diffusers runs the released layout only")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    given = parser.parse_args()
    device = torch.device(given.device)
    model = given.model or str(released_weights(ROOT / "benchmarks" / "weights" / "released.safetensors"))
    if given.work:
        print(json.dumps(work(given.work, model, device, given.pictures > 0)))
        return
    ways = [way for way in given.ways.split(",") if way != "diffusers" or given.model != "mini"]
    found: dict[str, list[dict[str, dict[str, float]]]] = {way: [] for way in ways}
    for index in range(given.rounds):
        for way in ways:
            command = [sys.executable, __file__, "--model", model, "--device", given.device, "--work", way]
            command += ["--pictures", "1" if index < given.pictures else "0"]
            quiet = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}  # threads that wait shall not count as working
            lines = subprocess.run(command, check=True, stdout=PIPE, text=True, env=quiet).stdout.splitlines()
            found[way].append(json.loads(lines[-1]))
    print(f"{Path(model).name} on {describe(device)}, medians of {given.rounds}\n")
    report(found, device)
    flops = operations(model)
    print(f"\none guided evaluation is {flops / 1e12:.3g} TFLOP")
    for way, runs in found.items():
        each = statistics.median(run["guided step"]["seconds"] for run in runs)
        many = [run["256 views"]["seconds"] for run in runs if "256 views" in run]
        line = f"- {way}: {flops / 1e12 / each:.3g} TFLOP/s in a guided step of one view"
        if many:
            rate = 256 / statistics.median(many)
            line += f"; {rate:.3g} views a second in batches, {rate * EVALS * flops / 1e12:.3g} TFLOP/s"
        print(line)


EVALS = evaluations("ours")

if __name__ == "__main__":
    main()
