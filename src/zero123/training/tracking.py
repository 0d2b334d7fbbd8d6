"""What a run tells of itself: JSON lines always, TensorBoard or Weights & Biases on request, curves at the end."""

from __future__ import annotations

import logging
import math
import os
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from zero123.run_log import RunLog
from zero123.training.curves import draw_curves
from zero123.training.hardware import peak_memory
from zero123.training.settings import TrainSettings, flat

log = logging.getLogger(__name__)

TRACKERS = ("tensorboard", "wandb")


class NotFinite(ValueError):
    """Training diverged, said in one line."""


class Meter:
    """Means of what steps report, and the alarm when too many in a row were not finite.

    Args:
        sums, counts, bad: what another one had gathered, from its `vars`.
    """

    def __init__(
        self, sums: dict[str, float] | None = None, counts: dict[str, int] | None = None, bad: int = 0
    ) -> None:
        self.sums = sums or {}
        self.counts = counts or {}
        self.bad = bad

    def add(self, parts: dict[str, Tensor]) -> None:
        """Take in what a step reports; numbers that are not finite do not count.

        Raises:
            NotFinite: the gradient was not finite in the last 20 steps.
        """
        self.bad = self.bad + 1 if float(parts["skipped"]) else 0
        if self.bad >= 20:
            raise NotFinite("training diverged: 20 steps without a finite gradient; resume with a lower learning rate")
        for name, value in parts.items():
            if math.isfinite(float(value)):
                self.sums[name] = self.sums.get(name, 0.0) + float(value)
                self.counts[name] = self.counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        """Means since the last time they were asked for."""
        means = {name: round(total / self.counts[name], 6) for name, total in self.sums.items()}
        self.sums, self.counts = {}, {}
        return means


def check_trackers(names: tuple[str, ...]) -> None:
    """Refuse a tracker that does not exist or is not installed.

    Raises:
        ValueError: there is none of that name.
        ImportError: its package is missing; says what to install.
    """
    for name in names:
        if name not in TRACKERS:
            raise ValueError(f"track must be out of {', '.join(TRACKERS)}, got {name!r}")
        if find_spec(name) is None:
            raise ImportError(f"track={name} needs the package {name}: pip install 'zero123[track]'")


class Tracks:
    """The first process's record of a run: metrics to the run's folder and to accelerate's trackers.

    Args:
        accelerator: made with the trackers that `settings.track` names.
        settings: kept with the metrics.
        folder: of the run.
        done: steps done so far; what an interrupted run wrote of later ones is dropped.
    """

    def __init__(self, accelerator: Accelerator, settings: TrainSettings, folder: Path, done: int) -> None:
        self._accelerator = accelerator
        self._log = RunLog(folder, asdict(settings), done)
        self._tracked = bool(settings.track)
        if self._tracked:
            os.environ.setdefault("WANDB_MODE", "offline")
            options: dict[str, Any] = {
                "tensorboard": {"purge_step": done + 1},
                "wandb": {"dir": str(folder), "name": folder.name},
            }
            known = {k: v if isinstance(v, int | float | str) else str(v) for k, v in flat(settings).items()}
            accelerator.init_trackers("zero123", known, {name: options[name] for name in settings.track})

    def write(self, step: int, **values: float | None) -> None:
        """One line of metrics; those that are None are left out."""
        known = {name: value for name, value in values.items() if value is not None}
        self._log.write(step, **known)
        if self._tracked:
            self._accelerator.log(known, step)

    def close(self) -> None:
        """Draw the curves and end what trackers have running."""
        try:
            draw_curves(self._log.lines(), self._log.folder / "curves.png")
        except OSError as error:  # a picture must not hide what ended the run, nor undo a run that is done
            log.warning("no curves were drawn: %s", error)
        if self._tracked:
            self._accelerator.end_training()


class Speed:
    """Pairs per second and share of the hardware's peak since the last time they were asked for.

    Args:
        device: of this process.
        flops: floating point operations of training on one pair; None if unknown.
        peak: operations per second of all the run's devices together; None if unknown.
    """

    def __init__(self, device: torch.device, flops: float | None, peak: float | None) -> None:
        self._device = device
        self._share = flops / peak if flops and peak else None
        self._pairs, self._seconds = 0, 0.0

    def add(self, pairs: int, seconds: float) -> None:
        """Count a step of all devices together; what lies between steps (pictures, checkpoints) does not count."""
        self._pairs += pairs
        self._seconds += seconds

    def take(self) -> dict[str, float | None]:
        """The figures, and the most memory used so far, in GB."""
        rate = self._pairs / self._seconds if self._seconds else None
        self._pairs, self._seconds = 0, 0.0
        share = None if rate is None or self._share is None else round(rate * self._share, 4)
        memory = peak_memory(self._device)
        return {
            "pairs_per_second": None if rate is None else round(rate, 3),
            "share_of_peak": share,
            "memory_gb": None if memory is None else round(memory, 3),
        }
