"""Workers that are processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from zero123.jobs.workers import Event, Lost, Ready, Workers, attempt, cores, keep_to, thread_environment


class LocalPool:
    """Processes of this machine.

    Args:
        task: importable function of one item.
        workers: with `gpus`, slot k sees only GPU k.
    """

    def __init__(self, task: Callable[[Any], Any], workers: Workers) -> None:
        self._task, self._wanted = task, workers
        self._context = multiprocessing.get_context("spawn")
        self._workers: dict[int, tuple[BaseProcess, connection.Connection]] = {}

    def slots(self) -> int:
        """Workers for which this machine has cores and memory, or GPUs."""
        if self._wanted.gpus:
            return _gpus()
        return max(1, self._wanted.fitting(len(cores()), memory_to_spare()))

    def hire(self, slot: int) -> None:
        """Start the slot's process."""
        ours, theirs = self._context.Pipe()
        threads = self._wanted.threads
        process = self._context.Process(target=_serve, args=(theirs, self._task, threads), daemon=True)
        gpu = {"CUDA_VISIBLE_DEVICES": _gpu(slot)} if self._wanted.gpus else {}
        with _environment(thread_environment(threads) | gpu):  # in place before the first library is loaded there
            process.start()
        theirs.close()  # so that the end of the process is the end of the pipe
        self._workers[slot] = process, ours

    def give(self, slot: int, item: Any) -> None:
        """Send an item; a process that has died since is noticed as lost."""
        try:
            self._workers[slot][1].send(item)
        except (BrokenPipeError, ConnectionResetError):
            return  # its pipe has ended, which `events` reports

    def events(self, timeout: float) -> list[tuple[int, Event]]:
        """Answers of the processes, and `Lost` for those that ended."""
        speaking = connection.wait([pipe for _, pipe in self._workers.values()], timeout)
        found: list[tuple[int, Event]] = []
        for slot, pipe in [(slot, pipe) for slot, (_, pipe) in self._workers.items() if pipe in speaking]:
            try:
                found.append((slot, pipe.recv()))
            except (EOFError, ConnectionResetError):
                found.append((slot, Lost(self._post_mortem(slot))))
        return found

    def dismiss(self, slot: int) -> None:
        """Kill the process and what it started."""
        process, pipe = self._workers.pop(slot)
        try:
            os.killpg(process.pid or 0, signal.SIGKILL)
        except (ProcessLookupError, PermissionError, AttributeError):  # not yet a group of its own, or no groups here
            process.kill()
        process.join()
        pipe.close()

    def close(self) -> None:
        """Kill all of them."""
        for slot in list(self._workers):
            self.dismiss(slot)

    def _post_mortem(self, slot: int) -> str:
        process = self._workers[slot][0]
        process.join(5)
        code = process.exitcode
        self.dismiss(slot)
        if code is not None and code < 0:
            return f"killed by {signal.Signals(-code).name}" + (", out of memory?" if -code == signal.SIGKILL else "")
        return f"exit code {code}"


def _serve(pipe: connection.Connection, task: Callable[[Any], Any], threads: int) -> None:
    """What runs in a local process: items in, answers out, until the other end is closed."""
    if hasattr(os, "setsid"):
        os.setsid()  # Ctrl-C is for the parent, who ends this process with all it started
    keep_to(threads)
    try:
        pipe.send(Ready(socket.gethostname()))
        while True:
            pipe.send(attempt(task, pipe.recv()))
    except (EOFError, BrokenPipeError):
        return  # the parent is gone


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """The environment with `values` in it, for a process that is started meanwhile."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


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
