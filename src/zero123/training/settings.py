"""The settings of a training run: what each means, how one is changed by name, and whether two runs agree."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from zero123.training.objective import ObjectiveSettings
from zero123.training.reading import ReadingSettings

Optimiser = Literal["adamw", "adamw_8bit", "muon"]
Averaged = Literal["trained", "unet"]
Precision = Literal["no", "bf16", "fp16"]


@dataclass(frozen=True)
class TrainSettings:
    """How long, how fast, how often. The rates and their warm-up, AdamW's and the average's decay are the original's.

    The original trained in float32 and did not limit gradients: `precision="no"`, `clip=math.inf`. It averaged the
    UNet alone (`averaged="unet"`) and never trained its encoders (`freeze_encoders`); see `presets.ORIGINAL_TRAINING`.

    Attributes:
        steps: optimiser steps in all.
        batch: pairs per step and device.
        accumulate: batches per optimiser step.
        learning_rate: of all but the pose conditioning.
        pose_rate: the pose conditioning's learning rate over the others'.
        warmup: steps over which the rate rises from 1e-6 of itself, linearly.
        decay: last steps over which the rate falls to 0 along a cosine; 0 keeps it constant.
        weight_decay: AdamW's.
        optimiser: "adamw"; "adamw_8bit" with its two moments kept in 8 bits (see `training.eight_bit`); or "muon",
            which turns matrices' steps orthogonal (see `training.muon`).
        ema: decay of the weight average.
        averaged: what the average holds: all that is trained, or the UNet alone as in the original. The rest of the
            model is then taken as it was at the last step.
        power_averages: also keep two averages by a power of time, from which the average over any span is made
            afterwards (see `training.averages`); costs two more copies of what is trained.
        clip: largest norm of the gradient; infinity for no limit.
        precision: accelerate's: "no", "bf16" or "fp16".
        checkpointing: the UNets' activations are computed again in the backward pass instead of kept: about a third
            more time, a fraction of the memory (Chen et al., 2016, arXiv:1604.06174).
        compile: networks are compiled by `torch.compile`, which takes minutes at the start and a C++ compiler on CPUs.
        freeze_encoders: the image encoder, and what makes a volume of its tokens, are not trained. The autoencoder
            never is.
        lora: rank of low-rank updates of the UNet's attention projections, beside which nothing is trained; 0 trains
            the weights themselves (see `models.lora`).
        views: pairs in a row that are views of one object from one photo, and whose self-attention is joint if over 1
            (see `models.joint_attention`); divides `batch`.
        save_every: steps between checkpoints; the two newest are kept.
        keep_best: so many checkpoints with the lowest validation loss are kept beside those; 0 for none.
        log_every: steps between lines of metrics, which hold means since the last.
        sample_every: steps between sample pictures; 0 for none.
        sample_first: also before the first step.
        sample_count: pairs on a sheet of sample pictures.
        sample_steps: network evaluations of a sample.
        sample_scales: guidance of the samples, one picture of each pair for each.
        validate_every: steps between losses on objects that are not trained on; 0 for none.
        sharded: several processes keep a share each of weights, gradients and moments (FSDP) instead of a copy (DDP).
        track: other programs that are told the metrics: "tensorboard", "wandb" (offline unless WANDB_MODE says else).
        seed: decides pairs, noise and dropout of every step.
        objective: what is minimised.
        data: how views are read.
    """

    steps: int = 105_000
    batch: int = 192
    accumulate: int = 1
    learning_rate: float = 1e-4
    pose_rate: float = 10.0
    warmup: int = 100
    decay: int = 0
    weight_decay: float = 0.01
    optimiser: Optimiser = "adamw"
    ema: float = 0.9999
    averaged: Averaged = "trained"
    power_averages: bool = False
    clip: float = 1.0
    precision: Precision = "bf16"
    checkpointing: bool = False
    compile: bool = False
    freeze_encoders: bool = False
    lora: int = 0
    views: int = 1
    save_every: int = 5000
    keep_best: int = 0
    log_every: int = 50
    sample_every: int = 500
    sample_first: bool = False
    sample_count: int = 8
    sample_steps: int = 10
    sample_scales: tuple[float, ...] = (1.0,)
    validate_every: int = 0
    sharded: bool = False
    track: tuple[str, ...] = ()
    seed: int = 0
    objective: ObjectiveSettings = field(default_factory=ObjectiveSettings)
    data: ReadingSettings = field(default_factory=ReadingSettings)

    def __post_init__(self) -> None:
        check_choices(self)
        positive = ("steps", "batch", "accumulate", "views", "save_every", "log_every", "sample_count", "sample_steps")
        for name in positive:
            _within(self, name, 1, math.inf)
        for name in ("warmup", "decay", "lora", "keep_best", "sample_every", "validate_every", "weight_decay"):
            _within(self, name, 0, math.inf)
        _within(self, "ema", 0, 1)
        _within(self, "seed", 0, 2**40)  # torch takes 64 bits, and every batch has its own
        for name in ("learning_rate", "pose_rate", "clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be over 0, got {getattr(self, name)!r}")
        for name in ("learning_rate", "pose_rate", "weight_decay"):
            if math.isinf(getattr(self, name)):
                raise ValueError(f"{name} must be finite")
        if self.keep_best and not self.validate_every:
            raise ValueError(f"keep_best={self.keep_best} needs a validation loss: set validate_every, or keep_best=0")
        if self.sample_every and not self.sample_scales:
            raise ValueError("sample_scales must name a guidance, such as 1.0,3.0; for no pictures set sample_every=0")
        if self.batch % self.views:
            raise ValueError(f"batch must be a multiple of views, got {self.batch} and {self.views}")
        if self.sharded and (self.optimiser != "adamw" or self.power_averages):
            raise ValueError("sharded=true goes with optimiser=adamw and power_averages=false")
        if self.compile and (self.sharded or self.checkpointing):
            raise ValueError("compile=true goes with sharded=false and checkpointing=false")
        if self.lora and self.power_averages:
            raise ValueError("power_averages is for training the weights themselves; leave it out with lora")


def check_choices(settings: Any) -> None:
    """Raise ValueError if a field of a settings dataclass that is one of a few words is another."""
    for name, kind in get_type_hints(type(settings)).items():
        if get_origin(kind) is Literal and (value := getattr(settings, name)) not in get_args(kind):
            raise ValueError(f"{name} must be one of {', '.join(get_args(kind))}, got {value!r}")


def _within(settings: Any, name: str, low: float, high: float) -> None:
    value = getattr(settings, name)
    if not low <= value <= high:
        limits = f"at least {low:g}" if math.isinf(high) else f"in {low:g} to {high:g}"
        raise ValueError(f"{name} must be {limits}, got {value!r}")


S = TypeVar("S")


def changed(settings: S, changes: Sequence[str]) -> S:
    """A settings dataclass with some fields replaced, each given as "name=value"; the objective's also by "drop=0.1".

    Values are written as Python writes them, words without quotes: `5e-5`, `true`, `min_snr_5`, `1.0,3.0`.

    Raises:
        ValueError: there is no setting of that name, or the value is not one it can have; in one line.
    """
    together: dict[str, Any] = {}
    for change in changes:
        name, sign, text = change.partition("=")
        if not sign:
            raise ValueError(f"{change!r}: expected NAME=VALUE, such as learning_rate=5e-5")
        name = _known_name(settings, name.strip())
        outer, _, leaf = name.rpartition(".")
        part = getattr(settings, outer) if outer else settings
        try:
            together[name] = _parsed(text.strip(), get_type_hints(type(part))[leaf])
        except ValueError as error:
            raise ValueError(f"{name}={text}: {error}") from error
    return _replaced(settings, together)


def _replaced(settings: Any, values: dict[str, Any]) -> Any:
    """The settings with values by name, all at once, since some only go together."""
    outer = {name: value for name, value in values.items() if "." not in name}
    for part in {name.partition(".")[0] for name in values if "." in name}:
        inner = {n.partition(".")[2]: v for n, v in values.items() if n.startswith(f"{part}.")}
        outer[part] = _replaced(getattr(settings, part), inner)
    return replace(settings, **outer)


def _known_name(settings: Any, name: str) -> str:
    known = list(flat(settings))
    matching = [full for full in known if full == name or full.rpartition(".")[2] == name]
    if not matching:
        near = difflib.get_close_matches(name, [*known, *(k.rpartition(".")[2] for k in known)], 1)
        hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(sorted(known))}"
        raise ValueError(f"there is no setting {name!r}{hint}")
    return name if name in matching else matching[0]


def _parsed(text: str, kind: Any) -> Any:
    """The value of a setting of type `kind` that a person wrote as `text`."""
    if kind is bool:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if text.lower() not in words:
            raise ValueError(f"must be true or false, got {text!r}")
        return words[text.lower()]
    if kind is int or kind is float:
        try:
            value = kind(text.replace("_", ""))
        except ValueError:
            raise ValueError(f"must be a {'whole ' if kind is int else ''}number, got {text!r}") from None
        if value != value:
            raise ValueError("must be a number, got nan")
        return value
    if get_origin(kind) is tuple:
        return tuple(_parsed(part.strip(), get_args(kind)[0]) for part in text.strip("()[]").split(",") if part.strip())
    return text


def flat(settings: Any) -> dict[str, Any]:
    """Every setting by its name; those of settings inside settings as "objective.drop"."""
    values: dict[str, Any] = {}
    for f in fields(settings):
        value = getattr(settings, f.name)
        if is_dataclass(value):
            values |= {f"{f.name}.{name}": inner for name, inner in flat(value).items()}
        else:
            values[f.name] = value
    return values


HARMLESS = (
    *("sharded", "track", "log_every", "save_every", "keep_best", "validate_every"),
    *("sample_every", "sample_first", "sample_count", "sample_steps", "sample_scales"),
    *("data.broken_share", "data.threads"),
)
"""Settings that may change between a run and its resumption: they decide what is written, not what is learned."""


def differences(folder: Path, settings: TrainSettings) -> list[str]:
    """What has changed since the run in `folder` was last started, as "name: before -> now"; nothing of a new run.

    A run whose number of steps alone has changed, and whose learning rate does not fall, goes on as it would have.
    A setting that the earlier version of this program did not know is taken to have had its default.

    Raises:
        ValueError: settings.json cannot be read.
    """
    ignored = {*HARMLESS, *(("steps",) if settings.decay == 0 else ())}
    return changes_since(folder / "settings.json", asdict(settings), asdict(TrainSettings()), ignored)


def changes_since(path: Path, now: dict[str, Any], defaults: dict[str, Any], ignored: Collection[str]) -> list[str]:
    """How `now` differs from what the JSON file `path` holds, as "name: before -> now"; nothing if there is no file.

    Args:
        path: of an earlier start.
        now: settings, which may hold settings.
        defaults: what the earlier start had where the file says nothing.
        ignored: names that may differ.

    Raises:
        ValueError: the file cannot be read.
    """
    if not path.is_file():
        return []
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        before = _flat_json(_as_json(defaults)) | _flat_json(stored)
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path}: cannot be read ({error}); remove it to go on with the settings given") from error
    return [
        f"{name}: {before.get(name)} -> {value}"
        for name, value in _flat_json(_as_json(now)).items()
        if name not in ignored and before.get(name) != value
    ]


def _as_json(values: Any) -> Any:
    return json.loads(json.dumps(values))


def _flat_json(stored: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in stored.items():
        if isinstance(value, dict):
            values |= {f"{name}.{inner}": v for inner, v in value.items()}
        else:
            values[name] = value
    return values
