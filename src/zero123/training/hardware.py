"""How much of the hardware training uses: arithmetic of a pass, peaks of devices, memory."""

from __future__ import annotations

import time
from functools import lru_cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from zero123.data.pairs import PairBatch
from zero123.training.objective import Objective

PEAKS: tuple[tuple[str, float, float], ...] = (
    ("B200", 2250, 75),
    ("H200", 989.4, 66.9),
    ("H100 PCIe", 756, 51.2),
    ("H100 NVL", 835, 60),
    ("H100", 989.4, 66.9),
    ("A100", 312, 19.5),
    ("A800", 312, 19.5),
    ("A10G", 70, 35),
    ("A10", 125, 31.2),
    ("A40", 149.7, 37.4),
    ("RTX A6000", 154.8, 38.7),
    ("RTX 6000 Ada", 364.2, 91.1),
    ("L40S", 362, 91.6),
    ("L40", 181, 90.5),
    ("L4", 121, 30.3),
    ("RTX 4090", 165.2, 82.6),
    ("RTX 3090", 71, 35.6),
    ("V100", 125, 15.7),
    ("T4", 65, 8.1),
)
"""GPUs by a part of their name: dense TFLOP/s in 16 bits with 32-bit sums, and in plain float32.

From NVIDIA's data sheets and architecture white papers (half of the figures "with sparsity" where only those are
given; SXM versions where the name leaves it open). The first entry that fits counts.
"""


def pass_flops(objective: Objective, batch: PairBatch) -> float:
    """Floating point operations of training on one pair: forward, backward, without what checkpointing does again.

    Torch's counter sees products and convolutions, which are nearly all; a multiplication and an addition are two.
    Parameters are left without gradients.

    Args:
        objective: not wrapped for several processes yet.
        batch: on the objective's device; its first `views` pairs are used.
    """
    unet = objective.model.unet
    recomputed = unet.is_gradient_checkpointing
    if recomputed:
        unet.disable_gradient_checkpointing()
    counter = FlopCounterMode(display=False)
    try:
        with counter:
            objective(batch, torch.Generator().manual_seed(0))[0].backward()
    finally:
        objective.zero_grad(set_to_none=True)
        if recomputed:
            unet.enable_gradient_checkpointing()
    return counter.get_total_flops() / len(batch.latent)


def peak_flops(device: torch.device, precision: str) -> float | None:
    """The most a device computes per second; None for a GPU that is not in the table.

    A CPU's is measured, as the fastest product of matrices with the threads torch has here.

    Args:
        device: where training runs.
        precision: as accelerate names it.
    """
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
    if device.type == "cpu":
        return _measured(dtype, torch.get_num_threads())
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    for part, half, single in PEAKS:
        if part.lower() in name.lower():
            return 1e12 * (single if dtype == torch.float32 else half)
    return None


@lru_cache
def _measured(dtype: torch.dtype, threads: int) -> float:
    """Operations per second of the fastest of a few products on the CPU; `threads` only tells measurements apart."""
    best, side = float("inf"), 768
    left = right = torch.ones(side, side, dtype=dtype)
    until = time.perf_counter() + 0.3
    while time.perf_counter() < until:
        start = time.perf_counter()
        torch.mm(left, right)
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best


def peak_memory(device: torch.device) -> float | None:
    """GB (1e9 bytes) at most so far: allocated on a GPU, resident for a CPU; None where nobody counts."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    try:
        import resource
        import sys
    except ImportError:  # Windows
        return None
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest * (1 if sys.platform == "darwin" else 1024) / 1e9
