"""Workers that are actors of a Ray cluster."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from typing import Any

from zero123.jobs.workers import Done, Event, Failed, Lost, Ready, Workers, attempt, keep_to, one_line

_LONGEST_FOLDER = 40
"""Characters of a folder below which Ray's sockets still have names that the system takes (107 bytes in all)."""


class RayPool:
    """Actors of a Ray cluster: `workers.threads` cores each, its memory, and with `workers.gpus` a GPU.

    Args:
        task: function of one item, importable on every node.
        address: of the cluster, `auto`, or `local` for a cluster of this machine alone.
        workers: what each gets.

    Raises:
        ImportError: Ray is not installed; names the extra.
        OSError: no cluster at this address.
    """

    def __init__(self, task: Callable[[Any], Any], address: str, workers: Workers) -> None:
        self._ray, self._owned = _joined(address)
        self._actor = self._ray.remote(
            num_cpus=workers.threads, num_gpus=1 if workers.gpus else 0, memory=workers.memory, max_restarts=0
        )(_Actor)
        self._task, self._wanted = task, workers
        self._actors: dict[int, Any] = {}
        self._pending: dict[Any, int] = {}

    def slots(self) -> int:
        """Workers for which the nodes have room."""
        count = 0
        for node in self._ray.nodes():
            has = node["Resources"] if node["Alive"] else {}
            fitting = self._wanted.fitting(has.get("CPU", 0), has.get("memory"))
            count += min(fitting, int(has.get("GPU", 0))) if self._wanted.gpus else fitting
        return max(1, count)

    def hire(self, slot: int) -> None:
        """Ask for an actor; it starts when a node has room."""
        self._actors[slot] = self._actor.remote(self._task, self._wanted.threads)
        self._pending[self._actors[slot].ready.remote()] = slot

    def give(self, slot: int, item: Any) -> None:
        """Send an item to an actor that is ready."""
        self._pending[self._actors[slot].do.remote(item)] = slot

    def events(self, timeout: float) -> list[tuple[int, Event]]:
        """Answers of the actors, and `Lost` for those whose process or node is gone."""
        waiting = list(self._pending)
        done, _ = self._ray.wait(waiting, num_returns=1, timeout=timeout) if waiting else ([], [])
        found: list[tuple[int, Event]] = []
        for reference in done:
            slot = self._pending.pop(reference)
            try:
                found.append((slot, self._ray.get(reference)))
            except self._ray.exceptions.RayTaskError as error:  # the item could not even be read there
                found.append((slot, Failed(one_line(error))))
            except self._ray.exceptions.RayError as error:
                self.dismiss(slot)
                found.append((slot, Lost(one_line(error)[:200])))
        return found

    def dismiss(self, slot: int) -> None:
        """Kill the actor."""
        self._pending = {reference: other for reference, other in self._pending.items() if other != slot}
        self._ray.kill(self._actors.pop(slot), no_restart=True)

    def close(self) -> None:
        """Kill the actors, and leave the cluster if we joined it."""
        for slot in list(self._actors):
            self.dismiss(slot)
        if self._owned:
            self._ray.shutdown()


class _Actor:
    """What runs in a process of a node."""

    def __init__(self, task: Callable[[Any], Any], threads: int) -> None:
        self._task = task
        keep_to(threads)

    def ready(self) -> Ready:
        return Ready(socket.gethostname())

    def do(self, item: Any) -> Done | Failed:
        return attempt(self._task, item)


def gpus_of(address: str) -> int:
    """How many GPUs a Ray cluster has.

    Raises:
        ImportError, OSError: see `RayPool`.
    """
    ray, owned = _joined(address)
    try:
        return int(ray.cluster_resources().get("GPU", 0))
    finally:
        if owned:
            ray.shutdown()


def _joined(address: str) -> tuple[Any, bool]:
    """Ray, joined to a cluster, and whether it was not before."""
    try:
        import ray
    except ImportError as error:
        raise ImportError("--cluster needs Ray: pip install 'zero123[cluster]'") from error
    if ray.is_initialized():
        return ray, False
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    own: dict[str, Any] = {}
    if address == "local":
        own = {"include_dashboard": False, "_temp_dir": _short_folder()}
    else:
        _knock(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **own)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise OSError(f"no Ray cluster answers at {address!r}: {one_line(error)}") from error
    return ray, True


def _short_folder() -> str | None:
    """A folder for a cluster of this machine where the usual one's name is too long for sockets; else None."""
    usual = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    return "/tmp/ray" if sys.platform != "win32" and len(usual) > _LONGEST_FOLDER else None


def _knock(address: str) -> None:
    """See at once whether anybody answers at host:port, where Ray would try for five minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return  # `auto`: Ray itself looks
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise OSError(f"no Ray cluster answers at {address!r}: {one_line(error)}") from error
