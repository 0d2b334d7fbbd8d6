"""The training loop, top to bottom: the same for `mini` on two cores and for the 860M model on a cluster."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from zero123.data.pairs import Pairs
from zero123.data.shards.stream import StreamedPairs
from zero123.models.view_model import ViewModel
from zero123.training.ahead import Ahead
from zero123.training.averages import PowerAverages
from zero123.training.checkpoints import load_notes, losses
from zero123.training.hardware import pass_flops, peak_flops
from zero123.training.objective import Objective
from zero123.training.parallel import StopSign, accelerator_for, decided, mean_of, on_device, together
from zero123.training.preparation import averaged_names, compile_networks, optimiser_of, prepare, suit_cpu
from zero123.training.resumption import alone, plan
from zero123.training.settings import TrainSettings as TrainSettings
from zero123.training.sharding import gathered, shard, whole
from zero123.training.state import Ema, load_state, save_state
from zero123.training.tracking import Meter, Speed, Tracks, check_trackers
from zero123.training.tracking import NotFinite as NotFinite


def learning_rate_factor(step: int, settings: TrainSettings) -> float:
    """Warm-up, plateau, cosine fall, as a factor in [0, 1] for the optimiser step that follows `step` steps."""
    rise = 1.0 if settings.warmup == 0 else min(1.0, 1e-6 + (1 - 1e-6) * step / settings.warmup)
    left = settings.steps - step
    if not settings.decay or left >= settings.decay:
        return rise
    return rise * (1 - math.cos(math.pi * max(left, 0) / settings.decay)) / 2


def train(
    model: ViewModel,
    sampler: Pairs,
    folder: str | Path,
    settings: TrainSettings,
    show: Callable[[ViewModel, int, Path], None] | None = None,
    progress: Callable[[int, int, float], None] | None = None,
    validate: Callable[[ViewModel], float] | None = None,
) -> ViewModel:
    """Train in place, from the folder's newest checkpoint if there is one; several processes call this together.

    A step takes the same pairs, noise and dropout however many processes share its batches, so a run may go on with
    another number of them: to the same digits with the same number, else to rounding.

    Args:
        model: all parameters with `requires_grad` are trained.
        sampler: gives the pairs of every step.
        folder: receives settings, metrics, checkpoints and pictures; on a disk that all processes see.
        settings: how.
        show: called with the averaged model, the step and a folder for pictures every `sample_every` steps, and before
            the first with `sample_first`; where parameters are sharded by all processes, all but the first having a
            folder that is thrown away.
        progress: told steps done, steps in all, and the loss.
        validate: gives the averaged model's loss on what is held out, for the metrics, every `validate_every` steps.

    Returns:
        The model with averaged weights; another one than `model` where parameters were sharded.

    Raises:
        NotFinite: the loss or the gradient was not a number for 20 steps running; the last checkpoint stands.
        ValueError: the settings do not go together, or not with the run in `folder`, or another run is in there.
        InterruptedError: the run was asked to stop, and did after a checkpoint.
        ConnectionError: another process of the run died.
        OSError: a file cannot be written.
    """
    folder = Path(folder)
    check_trackers(settings.track)
    accelerator = accelerator_for(settings, folder)
    with StopSign() as stop, together(accelerator), alone(accelerator, folder):
        way = decided(accelerator, lambda: plan(folder, settings, accelerator.num_processes))
        run = _Run(accelerator, model, replace(settings, accumulate=way["share"]), folder, sampler, way["lanes"])
        run.begin(way["checkpoint"], settings)
        try:
            if show is not None and settings.sample_first and settings.sample_every and not run.done:
                run.show(show)
            while run.done < settings.steps:
                asked = run.step(stop)
                last = run.done == settings.steps
                measured = validate is not None and _due(run.done, settings.validate_every, last)
                if measured and validate is not None:
                    run.validate(validate)
                run.log()
                if progress is not None and accelerator.is_main_process:
                    progress(run.done, settings.steps, run.loss)
                if asked or _due(run.done, settings.save_every, last) or (measured and run.is_among_best()):
                    run.save()
                if show is not None and _due(run.done, settings.sample_every, last):
                    run.show(show)
                if asked and not last:
                    raise InterruptedError(
                        f"stopped as asked after step {run.done}; the same command goes on from there"
                    )
        finally:
            run.close()
        return run.finished()


def _due(step: int, every: int, last: bool) -> bool:
    """Whether something is to be done after this step; 0 is never."""
    return every > 0 and (last or step % every == 0)


class _Run:
    """A run between its start and its end: the model, its averages, its optimiser, and what is known of the way so far.

    `settings.accumulate` holds this process's batches of a step.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        model: ViewModel,
        settings: TrainSettings,
        folder: Path,
        sampler: Pairs,
        lanes: int = 1,
    ) -> None:
        self.accelerator, self.model, self.settings, self.folder = accelerator, model, settings, folder
        self.lanes = lanes
        if isinstance(sampler, StreamedPairs):
            sampler.deal(lanes)
        device, workers = accelerator.device, accelerator.num_processes
        accelerator.gradient_accumulation_steps = settings.accumulate
        model.to(device).train()
        if device.type == "cpu":
            suit_cpu(model)
        prepare(model, settings)
        self.objective = Objective(model, settings.objective)
        flops, few = None, settings.views if settings.views > 1 else min(settings.batch, 4)  # which may share an input
        if accelerator.is_main_process:
            with accelerator.autocast():
                flops = pass_flops(self.objective, on_device(sampler.batch(0, few), device))
        peak = peak_flops(device, settings.precision)
        self.speed = Speed(device, flops, None if peak is None else peak * workers)
        if settings.compile:
            compile_networks(model)
        self.hollow = shard(model, device) if settings.sharded else None
        self.optimiser = accelerator.prepare(optimiser_of(model, settings))
        self.wrapped = self.objective if settings.sharded else accelerator.prepare(self.objective)
        self.ema = Ema(model, settings.ema, averaged_names(model, settings))
        self.powers = PowerAverages(model) if settings.power_averages else None
        self.sampler = Ahead(sampler, workers, depth=0 if device.type == "cpu" else 2)
        self.done, self.loss = 0, math.nan
        self.validation: float | None = None  # of the step last done

    def begin(self, checkpoint: str | None, settings: TrainSettings) -> None:
        """Take up a checkpoint, and open the record of the run with the settings as they were given."""
        notes: dict[str, Any] = {}
        if checkpoint is not None:
            notes = load_notes(Path(checkpoint))
            self.done = load_state(Path(checkpoint), self.model, self.ema, self.optimiser)
            if self.accelerator.scaler is not None and "scaler" in notes:
                self.accelerator.scaler.load_state_dict(notes["scaler"])
            if self.powers is not None:
                with self.accelerator.main_process_first():  # it tidies up
                    self.powers.restore(self.folder / "averages", self.done)
        self.meter, self.given = Meter(**notes.get("meter", {})), settings
        main = self.accelerator.is_main_process
        self.tracks = Tracks(self.accelerator, settings, self.folder, self.done) if main else None

    def step(self, stop: StopSign) -> bool:
        """One optimiser step; whether somebody asked any process of the run to stop."""
        start = time.perf_counter()
        parts = _step(self.done, self.accelerator, self.wrapped, self.optimiser, self.sampler, self.settings)
        self.ema.update(self.model)
        if self.powers is not None:
            self.powers.update(self.model, self.done + 1)
        parts = mean_of(self.accelerator, {**parts, "asked": stop.seen})
        asked = bool(parts.pop("asked"))
        pairs = self.settings.batch * self.settings.accumulate * self.accelerator.num_processes
        self.speed.add(pairs, time.perf_counter() - start)
        self.meter.add(parts)
        self.loss = float(next(parts[name] for name in ("diffusion", "colour", "elevation") if name in parts))
        self.done, self.validation = self.done + 1, None
        return asked

    def validate(self, validate: Callable[[ViewModel], float]) -> None:
        """Measure the averaged model's loss on what is held out."""
        if self.tracks is not None or self.settings.sharded:
            with self.ema.inside(self.model), torch.no_grad(), self.accelerator.autocast():
                self.validation = round(validate(self.model), 6)

    def is_among_best(self) -> bool:
        """Whether the checkpoint of the loss just measured is to be kept for it; the first process tells the others."""
        best = self.settings.keep_best

        def decide() -> bool:
            known = losses(self.folder / "checkpoints")
            return (
                self.validation is not None
                and math.isfinite(self.validation)
                and sum(loss <= self.validation for loss in known.values()) < best
            )

        return best > 0 and bool(decided(self.accelerator, decide))

    def log(self) -> None:
        """Write a line of metrics if it is time for one, or there is a new validation loss."""
        values: dict[str, float | None] = {}
        if self.done % self.settings.log_every == 0:
            values = {"lr": self.optimiser.param_groups[0]["lr"], **self.meter.take(), **self.speed.take()}
            values["skipped_objects"] = self.sampler.skipped or None
        if self.validation is not None:
            values["validation"] = self.validation
        if values and self.tracks is not None:
            self.tracks.write(self.done, **values)

    def save(self) -> None:
        """Write a checkpoint; the last two are kept, and the best."""
        main = self.accelerator.is_main_process
        if not main and not self.settings.sharded:
            return
        if self.powers is not None:  # first: a checkpoint without its snapshot could not be resumed
            self.powers.save(self.folder / "averages", self.done)
        notes = {
            "meter": vars(self.meter),
            "blocks": self.settings.accumulate * self.accelerator.num_processes,
            "accumulate": self.given.accumulate,
            "lanes": self.lanes,
            "validation": self.validation,
        }
        if self.accelerator.scaler is not None:
            notes["scaler"] = self.accelerator.scaler.state_dict()
        folder, best = self.folder / "checkpoints", self.settings.keep_best
        save_state(folder, self.done, self.model, self.ema, self.optimiser, 2, notes, writes=main, best=best)

    def show(self, show: Callable[[ViewModel, int, Path], None]) -> None:
        """Pictures by the averaged model."""
        with self.ema.inside(self.model), torch.no_grad():
            if self.tracks is not None:
                show(self.model, self.done, self.folder / "samples")
            elif self.settings.sharded:
                with tempfile.TemporaryDirectory() as nowhere:
                    show(self.model, self.done, Path(nowhere) / "samples")

    def close(self) -> None:
        """End what runs beside the loop."""
        self.sampler.close()
        if self.tracks is not None:
            self.tracks.close()

    def finished(self) -> ViewModel:
        """The model with averaged weights, whole."""
        self.ema.copy_to(self.model)
        return (self.model if self.hollow is None else gathered(self.hollow, self.model)).eval()


def _step(
    step: int,
    accelerator: Accelerator,
    objective: nn.Module,
    optimiser: torch.optim.Optimizer,
    sampler: Pairs,
    settings: TrainSettings,
) -> dict[str, Tensor]:
    """One optimiser step; one whose gradient is not finite is left out and reported as `skipped`."""
    factor = learning_rate_factor(step, settings)
    for group in optimiser.param_groups:
        group["lr"] = group["base_rate"] * factor
    worker, workers = accelerator.process_index, accelerator.num_processes
    total: dict[str, Tensor] = {}
    for part in range(settings.accumulate):
        index = (step * settings.accumulate + part) * workers + worker
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + index)
        torch.manual_seed(settings.seed * 1_000_003 + index)  # of layers that draw for themselves
        batch = on_device(sampler.batch(index, settings.batch), accelerator.device)
        with accelerator.accumulate(objective), accelerator.autocast():
            loss, parts = objective(batch, generator)
            accelerator.backward(loss)
        total = {k: total.get(k, torch.zeros(())) + v.cpu() / settings.accumulate for k, v in parts.items()}
    norm = whole(accelerator.clip_grad_norm_(objective.parameters(), settings.clip))
    total["gradient"] = torch.as_tensor(norm).detach().cpu()
    # gradients are averaged over workers, so all of them decide alike
    finite = bool(torch.isfinite(total["gradient"]))
    total["skipped"] = torch.tensor(0.0 if finite else 1.0)
    if finite or accelerator.scaler is not None:  # a float16 scaler leaves the step out itself and lowers its scale
        optimiser.step()
    optimiser.zero_grad()
    return total
