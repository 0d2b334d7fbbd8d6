"""The training loop, top to bottom: the same for `mini` on two cores and for the 860M model on a cluster."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from zero123.data.pairs import PairBatch, PairSampler
from zero123.machine import default_device
from zero123.models.view_model import ViewModel
from zero123.run_log import RunLog
from zero123.training.objective import Objective, ObjectiveSettings
from zero123.training.state import Ema, checkpoints, load_notes, load_state, save_state


@dataclass(frozen=True)
class TrainSettings:
    """How long, how fast, how often. The rates and their warm-up, AdamW's and the average's decay are the original's.

    The original trained in float32 and did not limit gradients: `precision="no"`, `clip=math.inf`. It averaged the
    UNet alone; here the pose conditioning is averaged too.

    Attributes:
        steps: optimiser steps in all.
        batch: pairs per step and device.
        accumulate: batches per optimiser step.
        learning_rate: of all but the pose conditioning.
        pose_rate: the pose conditioning's learning rate over the others'.
        warmup: steps over which the rate rises from 1e-6 of itself, linearly.
        decay: last steps over which the rate falls to 0 along a cosine; 0 keeps it constant.
        weight_decay: AdamW's.
        ema: decay of the weight average.
        clip: largest norm of the gradient; infinity for no limit.
        precision: accelerate's: "no", "bf16" or "fp16".
        save_every: steps between checkpoints; two are kept.
        log_every: steps between lines of metrics, which hold means since the last.
        sample_every: steps between sample pictures; 0 for none.
        seed: decides pairs, noise and dropout of every step.
        objective: what is minimised.
    """

    steps: int = 105_000
    batch: int = 192
    accumulate: int = 1
    learning_rate: float = 1e-4
    pose_rate: float = 10.0
    warmup: int = 100
    decay: int = 0
    weight_decay: float = 0.01
    ema: float = 0.9999
    clip: float = 1.0
    precision: str = "bf16"
    save_every: int = 5000
    log_every: int = 50
    sample_every: int = 500
    seed: int = 0
    objective: ObjectiveSettings = field(default_factory=ObjectiveSettings)


class NotFinite(ValueError):
    """Training diverged, said in one line."""


def learning_rate_factor(step: int, settings: TrainSettings) -> float:
    """Warm-up, plateau, cosine fall, as a factor in [0, 1] for the optimiser step that follows `step` steps."""
    rise = 1.0 if settings.warmup == 0 else min(1.0, 1e-6 + (1 - 1e-6) * step / settings.warmup)
    left = settings.steps - step
    if not settings.decay or left >= settings.decay:
        return rise
    return rise * (1 - math.cos(math.pi * max(left, 0) / settings.decay)) / 2


def train(
    model: ViewModel,
    sampler: PairSampler,
    folder: str | Path,
    settings: TrainSettings,
    show: Callable[[ViewModel, int, Path], None] | None = None,
    progress: Callable[[int, int, float], None] | None = None,
) -> ViewModel:
    """Train in place, from the folder's newest checkpoint if there is one.

    Args:
        model: all parameters with `requires_grad` are trained.
        sampler: gives the pairs of every step.
        folder: receives settings, metrics, checkpoints and pictures.
        settings: how.
        show: called with the averaged model, the step and a folder for pictures every `sample_every` steps.
        progress: told steps done, steps in all, and the loss.

    Returns:
        The model with averaged weights.

    Raises:
        NotFinite: the loss or the gradient was not a number for 20 steps running; the last checkpoint stands.
    """
    folder = Path(folder)
    accelerator = Accelerator(
        mixed_precision=settings.precision,
        gradient_accumulation_steps=settings.accumulate,
        cpu=default_device() == "cpu",  # asked for nothing, accelerate starts no group of CPU processes
    )
    model.to(accelerator.device).train()
    if accelerator.device.type == "cpu":
        _suit_cpu(model)
    optimiser = _optimiser(model, settings)
    objective, optimiser = accelerator.prepare(Objective(model, settings.objective), optimiser)
    ema = Ema(model, settings.ema)
    found = checkpoints(folder / "checkpoints")
    done = load_state(found[-1], model, ema, optimiser) if found else 0
    log = RunLog(folder, asdict(settings), done) if accelerator.is_main_process else None
    meter = _Meter(**load_notes(found[-1]).get("meter", {})) if found else _Meter()
    for step in range(done, settings.steps):
        parts = _step(step, accelerator, objective, optimiser, sampler, settings)
        ema.update(model)
        meter.add(parts)
        if log is None:
            continue
        if (step + 1) % settings.log_every == 0:
            log.write(step + 1, lr=optimiser.param_groups[0]["lr"], **meter.take())
        if progress is not None:
            progress(step + 1, settings.steps, float(parts["diffusion"]))
        last = step + 1 == settings.steps
        if last or (step + 1) % settings.save_every == 0:
            save_state(folder / "checkpoints", step + 1, model, ema, optimiser, keep=2, notes={"meter": vars(meter)})
        if show is not None and settings.sample_every and (last or (step + 1) % settings.sample_every == 0):
            _show_average(show, model, ema, step + 1, folder / "samples")
    ema.copy_to(model)
    return model.eval()


def _suit_cpu(model: ViewModel) -> None:
    """Plain attention and channels-last convolutions: on CPUs the backward of fused attention in bfloat16 is slower."""
    from diffusers.models.attention_processor import AttnProcessor

    model.unet.set_attn_processor(AttnProcessor())
    model.unet.to(memory_format=torch.channels_last)
    model.image_encoder.network.set_attn_implementation("eager")


def _step(
    step: int,
    accelerator: Accelerator,
    objective: nn.Module,
    optimiser: torch.optim.Optimizer,
    sampler: PairSampler,
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
        batch = _to(sampler.batch(index, settings.batch), accelerator.device)
        with accelerator.accumulate(objective), accelerator.autocast():
            loss, parts = objective(batch, generator)
            accelerator.backward(loss)
        total = {k: total.get(k, torch.zeros(())) + v.cpu() / settings.accumulate for k, v in parts.items()}
    norm = accelerator.clip_grad_norm_(objective.parameters(), settings.clip)
    total["gradient"] = torch.as_tensor(norm).detach().cpu()
    # gradients are averaged over workers, so all of them decide alike
    finite = bool(torch.isfinite(total["gradient"]))
    total["skipped"] = torch.tensor(0.0 if finite else 1.0)
    if finite or accelerator.scaler is not None:  # a float16 scaler leaves the step out itself and lowers its scale
        optimiser.step()
    optimiser.zero_grad()
    return total


def _optimiser(model: ViewModel, settings: TrainSettings) -> torch.optim.AdamW:
    """AdamW in two groups, the pose conditioning's rate being `pose_rate` times the other's."""
    pose = [p for p in model.pose_conditioning.parameters() if p.requires_grad]
    ids = {id(p) for p in pose}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in ids]
    rates = ((rest, settings.learning_rate), (pose, settings.learning_rate * settings.pose_rate))
    groups = [{"params": p, "lr": rate, "base_rate": rate} for p, rate in rates if p]
    return torch.optim.AdamW(groups, weight_decay=settings.weight_decay)


def _to(batch: PairBatch, device: torch.device) -> PairBatch:
    return PairBatch(*(getattr(batch, f.name).to(device) for f in fields(batch)))


def _show_average(
    show: Callable[[ViewModel, int, Path], None], model: ViewModel, ema: Ema, step: int, folder: Path
) -> None:
    """Call `show` with averaged weights in the model, then put its own back."""
    own = {k: p.detach().clone() for k, p in model.named_parameters() if k in ema.shadow}
    ema.copy_to(model)
    model.eval()
    with torch.no_grad():
        show(model, step, folder)
        for name, parameter in model.named_parameters():
            if name in own:
                parameter.copy_(own[name])
    model.train()


class _Meter:
    """Means of what steps report, and the alarm when too many in a row were not finite."""

    def __init__(
        self, sums: dict[str, float] | None = None, counts: dict[str, int] | None = None, bad: int = 0
    ) -> None:
        self.sums = sums or {}
        self.counts = counts or {}
        self.bad = bad

    def add(self, parts: dict[str, Tensor]) -> None:
        self.bad = self.bad + 1 if float(parts["skipped"]) else 0
        if self.bad >= 20:
            raise NotFinite("training diverged: 20 steps without a finite gradient; resume with a lower learning rate")
        for name, value in parts.items():
            if math.isfinite(float(value)):
                self.sums[name] = self.sums.get(name, 0.0) + float(value)
                self.counts[name] = self.counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        means = {name: round(total / self.counts[name], 6) for name, total in self.sums.items()}
        self.sums, self.counts = {}, {}
        return means
