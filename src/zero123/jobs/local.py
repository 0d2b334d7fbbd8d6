"""Workers that are processes of this machine."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from multiprocessing import connection
from pathlib import Path
from typing import Any

from zero123.jobs.child import Child
from zero123.jobs.workers import Event, Lost, Ready, Workers, attempt, cores


class LocalPool:
    """Processes of this machine.

    Args:
        task: importable function of one item.
        workers: with `gpus`, slot k sees only GPU k.
    """

    def __init__(self, task: Callable[[Any], Any], workers: Workers) -> None:
        self._task, self._wanted = task, workers
        self._workers: dict[int, Child] = {}

    def slots(self) -> int:
        """Workers for which this machine has cores and memory, or GPUs."""
        if self._wanted.gpus:
            return _gpus()
        return max(1, self._wanted.fitting(len(cores()), memory_to_spare()))

    def hire(self, slot: int) -> None:
        """Start the slot's process."""
        gpu = {"CUDA_VISIBLE_DEVICES": _gpu(slot)} if self._wanted.gpus else {}
        self._workers[slot] = Child(_serve, self._task, threads=self._wanted.threads, environment=gpu)

    def give(self, slot: int, item: Any) -> None:
        """Send an item; a process that has died since is noticed as lost."""
        try:
            self._workers[slot].pipe.send(item)
        except (BrokenPipeError, ConnectionResetError):
            return  # its pipe has ended, which `events` reports

    def events(self, timeout: float) -> list[tuple[int, Event]]:
        """Answers of the processes, and `Lost` for those that ended."""
        speaking = connection.wait([child.pipe for child in self._workers.values()], timeout)
        found: list[tuple[int, Event]] = []
        for slot, child in [(slot, child) for slot, child in self._workers.items() if child.pipe in speaking]:
            try:
                found.append((slot, child.pipe.recv()))
            except (EOFError, ConnectionResetError):
                found.append((slot, Lost(self._workers.pop(slot).post_mortem())))
        return found

    def dismiss(self, slot: int) -> None:
        """Kill the process and what it started."""
        self._workers.pop(slot).end()

    def close(self) -> None:
        """Kill all of them."""
        for slot in list(self._workers):
            self.dismiss(slot)


def _serve(pipe: connection.Connection, task: Callable[[Any], Any]) -> None:
    """What runs in a local process: items in, answers out."""
    pipe.send(Ready(socket.gethostname()))
    while True:
        pipe.send(attempt(task, pipe.recv()))


def memory_to_spare() -> int | None:
    """Bytes of memory that programs could still take here, container limits included; None where that is not told."""
    found = []
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        found.append(int(lines["MemAvailable"].split()[0]) * 1024)
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        if limit != "max":
            found.append(int(limit) - int(Path("/sys/fs/cgroup/memory.current").read_text()))
    except (OSError, KeyError, ValueError):  # not Linux, or no such group: what has been found counts
        pass
    return max(0, min(found)) if found else None


def _gpus() -> int:
    import torch

    count = torch.cuda.device_count()
    if not count:
        raise ValueError("one worker per GPU was asked for, but no CUDA device is seen here; use the CPU")
    return count


def _gpu(slot: int) -> str:
    """The GPU of a slot among those that the person left visible; they share where there are more workers."""
    visible = [g for g in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if g]
    return visible[slot % len(visible)] if visible else str(slot % _gpus())
