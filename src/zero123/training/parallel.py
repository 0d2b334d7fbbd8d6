"""Several processes as one run: how they share work and weights, what they agree on, and how they stop together."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor

from zero123.data.pairs import PairBatch
from zero123.machine import default_device
from zero123.training.settings import TrainSettings

_LOST = re.compile(r"gloo|nccl|connection (closed|reset|refused)|broken pipe|timed out", re.IGNORECASE)
"""What torch's messages say when another process is gone; they have no type of their own."""


def check_launch() -> None:
    """Refuse options of `accelerate launch` that do not do what they say.

    Raises:
        ValueError: there are such, in one line.
    """
    told = os.environ
    if told.get("ACCELERATE_USE_FSDP", "").lower() == "true":
        raise ValueError("accelerate launch --use_fsdp: leave it out and give the setting sharded=true instead")
    # with --cpu accelerate names an address for the other processes, but starts none
    several = told.get("ACCELERATE_USE_CPU", "").lower() == "true" and "MASTER_ADDR" in told
    if several and PartialState(cpu=True).num_processes == 1:
        raise ValueError(
            "accelerate launch --cpu starts one process, whatever --num_processes says: give --multi_gpu in its place, "
            "which also works without GPUs, or use torchrun"
        )


def accelerator_for(settings: TrainSettings, folder: Path) -> Accelerator:
    """Accelerate's view of this process, of the others and of the device.

    Raises:
        ValueError: a combination that does not work, in one line.
    """
    check_launch()
    works = {"precision": ("no", "bf16"), "optimiser": ("adamw",), "power_averages": (False,)}
    for name, values in works.items():
        if settings.sharded and (value := getattr(settings, name)) not in values:
            raise ValueError(f"sharded=true does not work with {name}={value}".lower() + "; leave one of the two out")
    cpu = default_device() == "cpu"  # asked for nothing, accelerate starts no group of CPU processes
    # Torch may sort gradients anew after a process's first step and then add more than two in another order than a run
    # that was never stopped; with this flag it does not. It also allows for a head that is not trained.
    loose = PartialState(cpu=cpu).num_processes > 2 or not settings.objective.source_weight
    accelerator = Accelerator(
        mixed_precision=settings.precision,
        cpu=cpu,
        log_with=list(settings.track) or None,
        project_dir=str(folder),
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=loose, gradient_as_bucket_view=True)],
    )
    if settings.sharded and accelerator.num_processes == 1:
        raise ValueError("sharded=true needs several processes; start it with torchrun or accelerate launch")
    return accelerator


def mean_of(accelerator: Accelerator, parts: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each number's mean over the processes, the same on all of them; every process calls this with the same names."""
    if accelerator.num_processes == 1:
        return parts
    values = torch.stack([value.double().reshape(()) for value in parts.values()]).to(accelerator.device)
    torch.distributed.all_reduce(values)
    return dict(zip(parts, (values / accelerator.num_processes).cpu(), strict=True))


def decided(accelerator: Accelerator, decide: Callable[[], Any]) -> Any:
    """What the first process decides (anything JSON can say), known to all; what it refuses, all refuse.

    Raises:
        ValueError: `decide` raised it, or an OSError.
    """
    answer: dict[str, Any] = {}
    if accelerator.is_main_process:
        try:
            answer["value"] = decide()
        except ValueError as error:
            answer["error"] = str(error)
        except OSError as error:
            answer["error"] = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
    if accelerator.num_processes > 1:
        answer = json.loads(_told(json.dumps(answer), accelerator.device))
    if "error" in answer:
        raise ValueError(answer["error"])
    return answer["value"]


def _told(text: str, device: torch.device) -> str:
    """The first process's text; plain bytes, since torch's own way of sending objects runs pickles."""
    data = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8).to(device)
    length = torch.tensor(len(data), device=device)
    torch.distributed.broadcast(length, src=0)
    if torch.distributed.get_rank():
        data = torch.empty(int(length), dtype=torch.uint8, device=device)
    torch.distributed.broadcast(data, src=0)
    return bytes(data.cpu().tolist()).decode()


@contextmanager
def together(accelerator: Accelerator) -> Iterator[None]:
    """Say in one line that another process died, where torch says it in many.

    Raises:
        ConnectionError: another process of the run is gone.
    """
    try:
        yield
    except RuntimeError as error:
        if accelerator.num_processes == 1 or not _LOST.search(str(error)):
            raise
        raise ConnectionError(
            f"process {accelerator.process_index} of {accelerator.num_processes} stopped training: another process of "
            "the run has died; nothing up to the newest checkpoint is lost, the same command goes on from there"
        ) from error


class StopSign:
    """Notes that somebody asked this process to stop (SIGTERM, or SIGUSR1 as Slurm can send before the time is up).

    The run then ends after the step it is in, with a checkpoint. A second signal does what it would have done, and so
    does every signal after the run, unless it ended because another process died: then the first is still only noted.
    """

    def __init__(self) -> None:
        self._asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSign:
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGTERM", "SIGUSR1"):
                number = getattr(signal, name, None)  # Windows has no SIGUSR1
                if number is not None:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, ConnectionError):
            return  # the launcher now stops whoever is left, and the line that says why has yet to be written
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        self._asked = True
        signal.signal(number, self._before[number])

    @property
    def seen(self) -> Tensor:
        """1 if this process was asked, else 0, for the processes to add up."""
        return torch.tensor(float(self._asked))


def on_device(batch: PairBatch, device: torch.device) -> PairBatch:
    """A batch of pairs where the model is."""
    own = {f.name: getattr(batch, f.name) for f in fields(batch)}
    return PairBatch(**{name: value.to(device) if hasattr(value, "to") else value for name, value in own.items()})
