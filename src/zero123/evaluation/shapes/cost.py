"""Seconds and peak memory of a piece of work."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

_EVERY = 0.02
"""Seconds between two looks at the memory."""


@dataclass
class Cost:
    """What some work took.

    Attributes:
        seconds: by the clock on the wall.
        gigabytes: 1e9 bytes; allocated on a GPU at most, else resident in this process at most, all of it counted,
            libraries too; None where nobody counts.
    """

    seconds: float = 0.0
    gigabytes: float | None = None


@contextmanager
def measured(device: torch.device) -> Iterator[Cost]:
    """Measure the block; what it cost is known after it, failed or not."""
    cost, peak, done = Cost(), [resident()], threading.Event()

    def look() -> None:
        while not done.wait(_EVERY):
            peak.append(max(filter(None, (peak.pop(), resident())), default=None))

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    start = time.perf_counter()
    try:
        yield cost
    finally:
        cost.seconds = time.perf_counter() - start
        done.set()
        watcher.join()
        most = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak[0]
        cost.gigabytes = None if most is None else most / 1e9


def resident() -> int | None:
    """Bytes of this process that are in memory now; None where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
