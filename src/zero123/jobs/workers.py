"""What is expected of those who work, what they report, and the small interface behind which they stand."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class Halt(OSError):
    """Raised by a task for what no other item would survive either (disk full, a library missing); ends the run."""


@dataclass(frozen=True)
class Workers:
    """How many work, and what is expected of them.

    Attributes:
        count: None for as many as this machine, or the cluster as it is at the start, has cores, memory, or (with
            `gpus`) GPUs for.
        gpus: every worker gets a GPU of its own, named to it by CUDA_VISIBLE_DEVICES.
        time_limit: seconds an item may take; None for no limit.
        attempts: how often an item is begun whose worker dies, before it is given up. An error that the task raises
            and a time-out are final: another try would end as they did.
        threads: cores of each worker, 1 or more.
        memory: bytes that each worker takes of the machine's memory, about; None: little.
    """

    count: int | None = None
    gpus: bool = False
    time_limit: float | None = None
    attempts: int = 3
    threads: int = 1
    memory: int | None = None

    def __post_init__(self) -> None:
        if self.count is not None and self.count < 1:
            raise ValueError(f"workers must be at least 1, got {self.count}")
        if self.time_limit is not None and self.time_limit <= 0:
            raise ValueError(f"the time limit must be more than 0 seconds, got {self.time_limit}")
        for name in ("attempts", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def fitting(self, cores: float, memory: float | None) -> int:
        """How many fit into a machine: by its cores, and its memory in bytes where that is known."""
        count = int(cores) // self.threads
        if self.memory is not None and memory is not None:
            count = min(count, int(memory // self.memory))
        return count


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

    def slots(self) -> int:
        """Workers for which there is room, at least 1."""

    def hire(self, slot: int) -> None:
        """Start a worker; it reports `Ready` when it is."""

    def give(self, slot: int, item: Any) -> None:
        """Hand an item to a ready worker."""

    def events(self, timeout: float) -> Sequence[tuple[int, Event]]:
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
        return Failed(one_line(error), halt=True)
    except Exception as error:  # noqa: BLE001  one bad item of thousands must not end the others; its reason is told
        return Failed(one_line(error))


def keep_to(threads: int) -> None:
    """Keep this worker to its cores: more threads would fight with those of the other workers."""
    os.environ.update(thread_environment(threads))  # for what is loaded from now on
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    if "cv2" in sys.modules:  # has threads of its own, which no variable of the environment limits
        sys.modules["cv2"].setNumThreads(threads)


def thread_environment(threads: int) -> dict[str, str]:
    """What libraries look at when they are loaded to know how many cores are theirs."""
    return dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))


def one_line(error: BaseException) -> str:
    """What an error says, or what it is called where it says nothing."""
    text = " ".join(str(error).split())
    return text or type(error).__name__


def cores() -> Sequence[int]:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return range(os.cpu_count() or 1)
