"""What this machine computes on: its devices, the number formats it is fast in, and the memory it has."""

from __future__ import annotations

import os
import shutil
import time
from importlib.util import find_spec

import torch


def default_device() -> str:
    """The fastest device of this machine: "cuda", "mps" or "cpu"."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def usable_device(name: str | torch.device | None) -> torch.device:
    """The device of that name, proven to work; None takes the fastest.

    Raises:
        ValueError: there is no such device here.
    """
    try:
        device = torch.device(name or default_device())
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device {str(name)!r} cannot be used on this machine; try cpu") from error
    return device


def fast_dtype(device: torch.device) -> torch.dtype:
    """The floating point type in which networks run fastest there without visible loss.

    bfloat16 where the processor multiplies it itself (elsewhere it is emulated and slow), float16 on GPUs that do not,
    else float32.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "mps":
        return torch.float16
    # torch knows these names on x86 processors only, and not in all its versions
    asked = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    native = any(getattr(torch.cpu, name, lambda: False)() for name in asked)
    return torch.bfloat16 if native else torch.float32


def make_sure_it_compiles(device: torch.device) -> None:
    """Refuse early what `torch.compile` would refuse after a minute, in a hundred lines.

    Raises:
        ValueError: a program or package it needs is missing.
    """
    compilers = (os.environ.get("CXX", ""), "c++", "g++", "clang++", "cl")
    if not any(shutil.which(name) for name in compilers if name):
        raise ValueError("compiling needs a C++ compiler (g++, clang++ or cl); install one, or do without compiling")
    if device.type == "cuda" and find_spec("triton") is None:
        raise ValueError("compiling for a GPU needs the package triton; install it, or do without compiling")


def free_memory(device: torch.device) -> int | None:
    """Bytes a GPU has to spare; None for devices that share the machine's memory."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None


def devices() -> dict[str, str]:
    """The devices of this machine that torch sees, each by the name it is asked for with, and what it is."""
    found = {
        f"cuda:{k}": f"{torch.cuda.get_device_name(k)}, {torch.cuda.get_device_properties(k).total_memory / 1e9:.0f} GB"
        for k in range(torch.cuda.device_count())
    }
    if torch.backends.mps.is_available():
        found["mps"] = "the GPU of this Mac"
    return {**found, "cpu": f"{torch.get_num_threads()} threads"}


def measured_speed(device: torch.device, dtype: torch.dtype, side: int = 768, seconds: float = 0.15) -> float:
    """Floating point operations a second of large matrix products there; the fastest of several tries.

    Raises:
        RuntimeError: the device does not compute in that type.
    """
    one = torch.ones(side, side, device=device, dtype=dtype)
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end or best == float("inf"):
        start = time.perf_counter()
        (one @ one)[0, 0].item()  # waits for the device
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is short; on processors PyTorch tells so in words alone."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
