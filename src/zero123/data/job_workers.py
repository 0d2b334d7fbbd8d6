"""Those who do jobs: processes of this machine, or actors of a Ray cluster, behind one small interface."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any, Protocol


class Halt(OSError):
    """Raised by a task for what no other item would survive either (disk full, a library missing); ends the run."""


@dataclass(frozen=True)
class Ready:
    """A worker has started and takes items; `where` is its machine."""

    where: str


@dataclass(frozen=True)
class Done:
    """A worker finished its item."""

    result: Any


@dataclass(frozen=True)
class Failed:
    """The task raised an error, here in one line; `halt` where it was a `Halt`."""

    reason: str
    halt: bool = False


@dataclass(frozen=True)
class Lost:
    """A worker is no more, and what it was doing is unknown."""

    reason: str


Event = Ready | Done | Failed | Lost


class Pool(Protocol):
    """Workers in numbered slots; a slot holds one worker at a time, and each does one item at a time."""

    def hire(self, slot: int) -> None:
        """Start a worker; it reports `Ready` when it is."""

    def give(self, slot: int, item: Any) -> None:
        """Hand an item to a ready worker."""

    def events(self, timeout: float) -> list[tuple[int, Event]]:
        """What happened since the last call; waits up to `timeout` seconds for something to happen."""

    def dismiss(self, slot: int) -> None:
        """End the slot's worker at once, whatever it does."""

    def close(self) -> None:
        """End all workers."""


def attempt(task: Callable[[Any], Any], item: Any) -> Done | Failed:
    """Do one item; an error becomes an answer."""
    try:
        return Done(task(item))
    except Halt as error:
        return Failed(_one_line(error), halt=True)
    except Exception as error:  # noqa: BLE001  one bad item of thousands must not end the others; its reason is told
        return Failed(_one_line(error))


class LocalPool:
    """Processes of this machine.

    Args:
        task: importable function of one item.
        gpus: slot k sees only GPU k.
    """

    def __init__(self, task: Callable[[Any], Any], gpus: bool = False) -> None:
        self._task, self._gpus = task, gpus
        self._context = multiprocessing.get_context("spawn")
        self._workers: dict[int, tuple[BaseProcess, connection.Connection]] = {}

    def hire(self, slot: int) -> None:
        """Start the slot's process."""
        ours, theirs = self._context.Pipe()
        environment = {"CUDA_VISIBLE_DEVICES": _gpu(slot)} if self._gpus else {}
        process = self._context.Process(target=_serve, args=(theirs, self._task, environment), daemon=True)
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


class RayPool:
    """Actors of a Ray cluster, one core each, or one GPU and one core.

    Args:
        task: function of one item, importable on every node.
        address: of the cluster, `auto`, or `local` for a cluster of this machine alone.
        gpus: every worker gets a GPU of its own.

    Raises:
        ImportError: Ray is not installed; names the extra.
        OSError: no cluster at this address.
    """

    def __init__(self, task: Callable[[Any], Any], address: str, gpus: bool = False) -> None:
        try:
            import ray
        except ImportError as error:
            raise ImportError("--cluster needs Ray: pip install 'zero123[cluster]'") from error
        self._ray = ray
        self._owned = not ray.is_initialized()
        if self._owned:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
            _knock(address)
            try:
                ray.init(address=address, log_to_driver=False, logging_level="ERROR")
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise OSError(f"no Ray cluster answers at {address!r}: {_one_line(error)}") from error
        self._actor = ray.remote(num_cpus=1, num_gpus=1 if gpus else 0, max_restarts=0)(_Actor)
        self._task = task
        self._gpus = gpus
        self._actors: dict[int, Any] = {}
        self._pending: dict[Any, int] = {}

    def slots(self) -> int:
        """Workers for which the cluster has room now."""
        return max(1, int(self._ray.cluster_resources().get("GPU" if self._gpus else "CPU", 1)))

    def hire(self, slot: int) -> None:
        """Ask for an actor; it starts when a node has room."""
        self._actors[slot] = self._actor.remote(self._task)
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
                found.append((slot, Failed(_one_line(error))))
            except self._ray.exceptions.RayError as error:
                self.dismiss(slot)
                found.append((slot, Lost(_one_line(error)[:200])))
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

    def __init__(self, task: Callable[[Any], Any]) -> None:
        self._task = task
        _one_thread()

    def ready(self) -> Ready:
        return Ready(socket.gethostname())

    def do(self, item: Any) -> Done | Failed:
        return attempt(self._task, item)


def _serve(pipe: connection.Connection, task: Callable[[Any], Any], environment: dict[str, str]) -> None:
    """What runs in a local process: items in, answers out, until the other end is closed."""
    if hasattr(os, "setsid"):
        os.setsid()  # Ctrl-C is for the parent, who ends this process with all it started
    os.environ.update(environment)
    _one_thread()
    pipe.send(Ready(socket.gethostname()))
    try:
        while True:
            pipe.send(attempt(task, pipe.recv()))
    except (EOFError, BrokenPipeError):
        return  # the parent is gone


def _knock(address: str) -> None:
    """See at once whether anybody answers at host:port, where Ray would try for five minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return  # `auto`, `local`: Ray itself looks
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise OSError(f"no Ray cluster answers at {address!r}: {_one_line(error)}") from error


def _one_thread() -> None:
    """One worker per core: threads within would fight for the same cores."""
    import torch

    torch.set_num_threads(1)


def _gpu(slot: int) -> str:
    """The GPU of a slot among those that the person left visible."""
    visible = [g for g in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if g]
    return visible[slot % len(visible)] if visible else str(slot)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text or type(error).__name__
