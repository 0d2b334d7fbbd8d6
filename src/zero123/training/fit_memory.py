"""How many pairs go through the network at once on a machine with so much memory, measured before a run begins."""

from __future__ import annotations

import contextlib
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from zero123.data.pairs import Pairs
from zero123.models.view_model import ViewModel
from zero123.training.objective import Objective
from zero123.training.parallel import on_device
from zero123.training.preparation import averaged_names, prepare
from zero123.training.settings import TrainSettings

_CPU_OVERHEAD = 600_000_000
"""Bytes of the interpreter and its libraries, which the person who names a limit for a CPU means to include."""

_ROOM = 0.92
"""Share of the limit that is filled: allocators lose some in pieces that fit nothing."""

_ENOUGH = 4
"""Pairs at once from which keeping activations is worth their memory; below, they are computed again."""


@dataclass(frozen=True)
class Plan:
    """What fits.

    Attributes:
        settings: with batch, accumulation and checkpointing chosen.
        peak: bytes at the fullest moment, estimated.
        limit: bytes that were allowed.
        seconds: of an optimiser step, from the passes that were measured.
    """

    settings: TrainSettings
    peak: int
    limit: int
    seconds: float

    def line(self) -> str:
        """The plan and how long it will take, for a person."""
        own = self.settings
        recomputed = ", activations computed again" if own.checkpointing else ""
        minutes = self.seconds * own.steps / 60
        long = f"{minutes / 60:.3g} hours" if minutes >= 60 else f"{minutes:.2g} minutes"
        return (
            f"{own.batch} pairs at once, {own.accumulate} times a step{recomputed}: about {self.peak / 1e9:.1f} of "
            f"{self.limit / 1e9:.1f} GB, {self.seconds:.3g} s a step, about {long} for {own.steps} steps"
        )


@dataclass(frozen=True)
class Passes:
    """What passes of the network take: `base + each * pairs` bytes at their peak, and so many seconds a pair."""

    base: float
    each: float
    seconds: float

    def bytes(self, pairs: int) -> float:
        """At the peak of a pass of so many pairs."""
        return self.base + self.each * pairs


def fit_memory(
    model: ViewModel, pairs: Pairs, settings: TrainSettings, limit: int, device: torch.device | None = None
) -> Plan:
    """The settings with the largest batch that fits, and as many of them a step as give the same number of pairs.

    One and two sets of pairs are passed forward and back, with activations kept and computed again; between what they
    take lies a line. On a GPU the batch chosen is then tried.

    Args:
        model: on the device; is prepared as for training.
        pairs: any of the run's.
        settings: whose `batch * accumulate` pairs per step stay.
        limit: bytes, for everything.
        device: where it runs; None for where the model is.

    Raises:
        ValueError: not even the smallest batch fits; in one line.
    """
    device = device or model.device
    fixed, plans = None, []
    for checkpointing in (False, True):
        trial = replace(settings, checkpointing=checkpointing)
        prepare(model, trial)
        fixed = fixed_bytes(model, settings) + (_CPU_OVERHEAD if device.type == "cpu" else 0)
        passes = measured(model, pairs, trial, device)
        largest = largest_batch(settings, fixed, passes, limit)
        if largest:
            plans.append((trial, largest, passes))
        if largest >= min(_ENOUGH * settings.views, settings.batch * settings.accumulate):
            break
    if fixed is None or not plans:
        needed = (fixed or 0) / _ROOM + passes.bytes(settings.views)
        raise ValueError(
            f"{limit / 1e9:g} GB is too little, this run takes {needed / 1e9:.1f} GB at least; "
            "--set lora=16 or --set optimiser=adamw_8bit take less"
        )
    trial, largest, passes = max(plans, key=lambda plan: plan[1])
    return _tried(model, pairs, trial, largest, passes, fixed, limit, device)


def fixed_bytes(model: ViewModel, settings: TrainSettings) -> int:
    """Memory that does not grow with the batch: weights, gradients, the optimiser's moments and the averages."""
    weights = sum(t.nbytes for t in (*model.parameters(), *model.buffers()))
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    count, size = sum(p.numel() for p in trained.values()), sum(p.nbytes for p in trained.values())
    moments = count * {"adamw": 8, "muon": 4}.get(settings.optimiser, 2 + 8 / 256)
    averages = 4 * sum(trained[name].numel() for name in averaged_names(model, settings))
    averages += 2 * 4 * count if settings.power_averages else 0
    return int(weights + size + moments + averages)


def largest_batch(settings: TrainSettings, fixed: float, passes: Passes, limit: int) -> int:
    """The largest batch that divides the pairs of a step into whole sets of views and fits; 0 if none does."""
    total = settings.batch * settings.accumulate
    sizes = (n for n in range(settings.views, total + 1, settings.views) if total % n == 0)
    return max((n for n in sizes if fixed + passes.bytes(n) <= _ROOM * limit), default=0)


def measured(model: ViewModel, pairs: Pairs, settings: TrainSettings, device: torch.device) -> Passes:
    """Peak and time of passes of one and of two sets of pairs, forward and back."""
    few, many = settings.views, 2 * settings.views
    small = _pass(model, pairs, settings, device, few)
    large = _pass(model, pairs, settings, device, many)
    each = max((large[0] - small[0]) / (many - few), 0.0)
    return Passes(max(small[0] - few * each, 0.0), each, large[1] / many)


def _tried(
    model: ViewModel,
    pairs: Pairs,
    settings: TrainSettings,
    batch: int,
    passes: Passes,
    fixed: int,
    limit: int,
    device: torch.device,
) -> Plan:
    """The plan, its batch made smaller until a GPU does it; the time is that of the batch chosen."""
    total = settings.batch * settings.accumulate
    prepare(model, settings)
    seconds = passes.seconds
    while device.type == "cuda":
        try:
            taken, spent = _pass(model, pairs, settings, device, batch)
            if fixed + taken <= limit or batch <= settings.views:
                seconds = spent / batch
                break
        except torch.cuda.OutOfMemoryError:
            if batch <= settings.views:
                raise ValueError(f"not even {batch} pairs fit on {device} beside what else runs there") from None
        torch.cuda.empty_cache()
        batch = max(n for n in range(settings.views, batch, settings.views) if total % n == 0)
    chosen = replace(settings, batch=batch, accumulate=total // batch)
    return Plan(chosen, int(fixed + passes.bytes(batch)), limit, seconds * total)


def _pass(
    model: ViewModel, pairs: Pairs, settings: TrainSettings, device: torch.device, count: int
) -> tuple[float, float]:
    """Bytes above what was there, at the peak of one pass forward and back, and its seconds."""
    objective, batch = Objective(model.train(), settings.objective), on_device(pairs.batch(0, count), device)
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(settings.precision)
    drop = [p.register_post_accumulate_grad_hook(_forget) for p in model.parameters() if p.requires_grad]
    try:
        for _ in range(2):  # the first warms up
            generator = torch.Generator().manual_seed(0)
            with _peak(device) as peak:
                start = time.perf_counter()
                with torch.autocast(device.type, kind or torch.bfloat16, enabled=kind is not None):
                    loss, _ = objective(batch, generator)
                loss.backward()
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                seconds = time.perf_counter() - start
    finally:
        for handle in drop:
            handle.remove()
    return float(peak.bytes), seconds


def _forget(parameter: torch.Tensor) -> None:
    """Gradients are counted once for all passes, in `fixed_bytes`."""
    parameter.grad = None


@dataclass
class _Peak:
    bytes: int = 0


@contextlib.contextmanager
def _peak(device: torch.device) -> Iterator[_Peak]:
    """The most memory that the block adds at any moment."""
    result = _Peak()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield result
        result.bytes = torch.cuda.max_memory_allocated(device) - before
        return
    counter = _LiveBytes()
    with counter:
        yield result
    result.bytes = counter.most


class _LiveBytes(TorchDispatchMode):
    """Counts the bytes of tensors that are made while it is on, and the most that were alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        known = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs or {})) if isinstance(t, torch.Tensor)}
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in known and storage._cdata not in self._known:
                    self._add(storage)
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        self._known.add(key)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size
