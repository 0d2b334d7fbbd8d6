"""Options of `zero123 train`, in two groups: how the run goes, and which pairs it learns from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from zero123.training.settings import TrainSettings

MODEL = "model."
"""Before the name of a setting that is the model's."""


def _preset(text: str, *names: str, **limits: Any) -> Any:
    """An option whose default is the preset's."""
    return typer.Option(*names, help=f"{text} [default: the preset's]", show_default=False, **limits)


@dataclass(frozen=True)
class SettingsOptions:
    """A preset and what is changed in it."""

    preset: Annotated[str, typer.Option(help="original, mini, mini-large or finetune.")] = "mini"
    change: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=VALUE of any setting, such as learning_rate=5e-5 or model.tokens=grid."),
    ] = None
    steps: Annotated[int | None, _preset("Optimiser steps in all.", min=1)] = None
    decay: Annotated[int | None, _preset("Last steps, over which the learning rate falls to 0.", min=0)] = None
    batch: Annotated[int | None, _preset("Pairs per step.", min=1)] = None
    seed: Annotated[int | None, _preset("Same seed, same model.")] = None
    scale_lr: Annotated[
        bool, typer.Option("--scale-lr/--no-scale-lr", help="Learning rate times processes, batch and accumulation.")
    ] = False
    track: Annotated[
        list[str] | None, typer.Option(help="Tell the metrics to tensorboard, or to wandb (offline), too.")
    ] = None

    @property
    def model_changes(self) -> list[str]:
        """Those of `--set` that are the model's settings."""
        return [c.removeprefix(MODEL) for c in self.change or [] if c.startswith(MODEL)]

    def settings(self) -> TrainSettings:
        """The preset with what the person changed: options first, then `--set`, then the learning rate's factor.

        Raises:
            ValueError: the preset, a name or a value is unknown; in one line.
        """
        from accelerate import PartialState

        from zero123.machine import default_device
        from zero123.presets import PRESETS
        from zero123.training.settings import changed
        from zero123.training.tracking import check_trackers

        if self.preset not in PRESETS:
            raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {self.preset!r}")
        given = {name: getattr(self, name) for name in ("steps", "decay", "batch", "seed")}
        settings = replace(PRESETS[self.preset], **{name: value for name, value in given.items() if value is not None})
        settings = changed(settings, [c for c in self.change or [] if not c.startswith(MODEL)])
        settings = settings if self.track is None else replace(settings, track=tuple(self.track))
        check_trackers(settings.track)
        if self.scale_lr:  # as the original's --scale_lr
            workers = PartialState(cpu=default_device() == "cpu").num_processes
            rate = settings.learning_rate * workers * settings.batch * settings.accumulate
            settings = replace(settings, learning_rate=rate)
        return settings


@dataclass(frozen=True)
class PairOptions:
    """Which pairs a run learns from."""

    near_deg: Annotated[
        float | None, typer.Option(help="Prefer targets within about this angle of the input.", show_default=False)
    ] = None
    same: Annotated[float, typer.Option(min=0, max=1, help="Share of pairs whose target is the input itself.")] = 0.0
    targets: Annotated[
        int, typer.Option(min=1, help="Pairs in a row that share their input, which is then encoded once.")
    ] = 1
    mirror: Annotated[bool | None, _preset("Half of the pairs are mirrored.", "--mirror/--no-mirror")] = None
    edges: Annotated[str | None, _preset("blended, or original: soft edges stay dark.")] = None
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Encode all views first, into this folder. [default: OUT/cache for mini]", show_default=False
        ),
    ] = None
