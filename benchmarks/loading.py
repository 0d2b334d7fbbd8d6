"""Memory and time to load a released checkpoint: ours against torch.load and load_state_dict as the original does it.

    python benchmarks/loading.py FOLDER [--tiny] [--rounds 3]

FOLDER receives a Lightning checkpoint of the released names and shapes with averages and the states of an optimizer
(9 GB; --tiny: a small copy of the architecture), unless it is there already. Every measurement is a process of its
own, in turns, with the file in the page cache as far as it fits; the table holds medians.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

MANIFESTS = Path(__file__).resolve().parent.parent / "tests" / "golden"
WAYS = ("cat", "original fp32", "ours fp32", "ours bf16", "ours fp16")


def make(path: Path, manifest: Path) -> None:
    """Random numbers under the released names, as Lightning writes them; takes disk, not memory.

    Of AdamW's moments there are those of every fiftieth parameter, so that the file stays in the page cache.
    """
    import torch

    entries = {entry["key"]: entry for entry in json.loads(manifest.read_text())["tensors"]}
    numbers = path.with_suffix(".numbers")
    longest = max(math.prod(entry["shape"]) for entry in entries.values())
    (0.02 * torch.randn(longest, generator=torch.Generator().manual_seed(0))).numpy().tofile(numbers)

    def tensor(key: str) -> torch.Tensor:
        shape, dtype = entries[key]["shape"], getattr(torch, entries[key]["dtype"])
        return torch.from_file(str(numbers), shared=True, size=math.prod(shape), dtype=dtype).reshape(shape)

    state = {key: tensor(key) for key in entries}
    trained = [key for key in entries if key.startswith("model.diffusion_model.")][::50]
    moments = {n: {"step": 1, "exp_avg": tensor(k), "exp_avg_sq": tensor(k)} for n, k in enumerate(trained)}
    optimizer = [{"state": moments, "param_groups": [{"lr": 1e-4, "params": list(moments)}]}]
    content = {"epoch": 1, "global_step": 105000, "state_dict": state, "optimizer_states": optimizer, "callbacks": {}}
    torch.save(content, path)
    numbers.unlink()


def load_as_the_original(path: Path) -> object:
    """torch.load, then load_state_dict into a network that holds the averages too.

    The module stands for the original's: one parameter for each tensor, filled before it is loaded.
    """
    import torch

    class Network(torch.nn.Module):
        def __init__(self, shapes: dict[str, tuple[torch.Size, torch.dtype]]) -> None:
            super().__init__()
            for key, (shape, dtype) in shapes.items():
                self.register_buffer(key.replace(".", "_"), torch.ones(shape, dtype=dtype))

    whole = torch.load(path, map_location="cpu", weights_only=False)
    state = {key.replace(".", "_"): tensor for key, tensor in whole["state_dict"].items()}
    network = Network({key: (tensor.shape, tensor.dtype) for key, tensor in state.items()})
    network.load_state_dict(state, strict=False)
    return network


def measure(way: str, path: Path) -> None:
    """Seconds and peak memory of one way, printed as JSON; the imports are not part of the seconds."""
    import torch

    if way == "cat":
        begin = time.perf_counter()
        subprocess.run(["cat", str(path)], stdout=subprocess.DEVNULL, check=True)
        print(json.dumps({"seconds": time.perf_counter() - begin, "bytes": 0, "cpu": 0.0}))
        return
    who, precision = way.split()
    if who == "ours":
        import transformers.models.clip.modeling_clip  # noqa: F401

        from zero123.models.pretrained import load_model
    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    begin, processor = time.perf_counter(), time.process_time()
    model = load_model(path, kinds[precision]) if who == "ours" else load_as_the_original(path)
    seconds, processor = time.perf_counter() - begin, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    status = Path("/proc/self/status")
    if status.is_file():  # the kernel counts in two places
        high = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        peak = max(peak, int(high.split()[1]) * 1024)
    del model
    print(json.dumps({"seconds": seconds, "bytes": peak, "cpu": processor}))


def available() -> float:
    """Bytes of memory that may be taken, as Linux estimates it; elsewhere no limit is known."""
    lines = Path("/proc/meminfo").read_text().splitlines() if Path("/proc/meminfo").is_file() else []
    return next((1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")), math.inf)


def again(act: str, given: argparse.Namespace, *more: str) -> str:
    """What this program says in a process of its own."""
    command = [sys.executable, __file__, str(given.folder), *["--tiny"] * given.tiny, act, *more]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tiny", action="store_true", help="a small copy of the architecture")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--make", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    given = parser.parse_args()
    path = given.folder / ("tiny.ckpt" if given.tiny else "full.ckpt")
    if given.measure:
        measure(given.measure, path)
        return
    if given.make:
        make(path, MANIFESTS / ("manifest_tiny.json" if given.tiny else "manifest.json"))
        return
    given.folder.mkdir(parents=True, exist_ok=True)
    if not path.is_file():  # in another process: the peak of this one would be taken for that of its children
        again("--make", given)
    ways = given.ways.split(",")
    if "original fp32" in ways and available() < 2.2 * path.stat().st_size:
        print(f"original fp32 is left out: it needs about {2.1 * path.stat().st_size / 1e9:.0f} GB of memory\n")
        ways.remove("original fp32")
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(given.rounds):
        for way in ways:
            found[way].append(json.loads(again("--measure", given, way).splitlines()[-1]))
    print(f"{path.stat().st_size / 1e9:.1f} GB on disk, medians of {given.rounds}\n")
    print("| way | seconds | CPU seconds | peak memory |\n|---|---:|---:|---:|")
    for way, runs in found.items():
        middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        memory = f"{middle['bytes'] / 1e9:.2f} GB" if middle["bytes"] else ""
        print(f"| {way} | {middle['seconds']:.2f} | {middle['cpu']:.2f} | {memory} |")


if __name__ == "__main__":
    main()
