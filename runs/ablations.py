"""Which choices of `mini`'s denoiser matter: variants trained alike from one geometry stage, judged on validation.

    python runs/ablations.py --start work/geometry/model --cache work/cache --views train-textured=.4 train-flat=.6 \
        --validation validation -o work/ablations base no-tokens flow

The volume, the draft and the image encoder stay as they are, so that only what the denoising network is given, predicts
and is trained on differs. A variant that loses a part gets zeros in its place: the same network, the same cost. Judged
by the squared error of x0 at four noise levels, which means the same whatever a network predicts, and by scores of
pictures. Caches are `zero123 train`'s, of the start's codec. Every variant leaves OUT/NAME.json; what is there already
is not done again. `--list` names the variants.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from zero123.data.pairs import PairSampler
from zero123.data.view_cache import ViewCache
from zero123.diffusion.sampling import SamplingSettings
from zero123.evaluation.cases import Cases, names_in
from zero123.evaluation.methods import OfModel
from zero123.evaluation.protocols import ListedObject, Protocol
from zero123.evaluation.scoring import score
from zero123.models.condition import Condition
from zero123.models.pretrained import load_model, reconfigured
from zero123.models.view_model import ViewModel
from zero123.pipeline import NovelViews
from zero123.presets import MINI_TRAINING
from zero123.training.objective import Objective
from zero123.training.trainer import train


@dataclass(frozen=True)
class Variant:
    """What is done otherwise.

    Attributes:
        without: parts of the condition that are zero: tokens, latent, rays, projected, pose.
        model: settings of the model.
        objective: settings of what is minimised.
        training: other settings of training.
        picture: the network predicts x0.
        mix: weights of the kinds of training views, by what their cache's name holds; others get none.
    """

    without: tuple[str, ...] = ()
    model: dict[str, Any] = field(default_factory=dict)
    objective: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    picture: bool = False
    mix: dict[str, float] = field(default_factory=dict)


_FLOW = {"prediction": "flow", "schedule": "flow"}
VARIANTS = {
    "base": Variant(),
    "no-tokens": Variant(without=("tokens",)),
    "no-latent": Variant(without=("latent",)),
    "tokens-alone": Variant(without=("latent", "projected")),
    "no-volume": Variant(without=("projected",)),
    "no-rays": Variant(without=("rays",)),
    "no-pose-label": Variant(without=("pose",)),
    "no-rays-no-label": Variant(without=("rays", "pose")),
    "even-steps": Variant(objective={"noise_power": 1.0}),
    "noisier-steps": Variant(objective={"noise_power": 0.2}),
    "min-snr": Variant(objective={"weighting": "min_snr_5"}),
    "picture": Variant(picture=True),
    "unit-error": Variant(model={"draft_error": 0.44}),
    "unit-error-even": Variant(model={"draft_error": 0.44}, objective={"noise_power": 0.7}),
    "flow": Variant(model=_FLOW),
    "flow-logit-normal": Variant(model=_FLOW, objective={"times": "logit_normal", "logit_mean": 1.0}),
    "no-drop": Variant(objective={"drop": 0.0}),
    "drop-20": Variant(objective={"drop": 0.1}),
    "joint-4": Variant(model={"joint": True}, training={"views": 4}),
    "rate-2x": Variant(training={"learning_rate": 1e-3}),
    "textured-alone": Variant(mix={"textured": 1}),
    "flat-alone": Variant(mix={"flat": 1}),
    "procedural-alone": Variant(mix={"procedural": 1}),
    "no-procedural": Variant(mix={"textured": 0.53, "flat": 0.47}),
}


class PictureObjective(Objective):
    """The squared error of x0 itself."""

    def _denoising(self, batch: Any, draws: Any, condition: Condition) -> Tensor:
        levels = self.model.schedule.sigmas.to(batch.latent)[draws.step][:, None, None, None]
        x0 = batch.latent if condition.mean is None else batch.latent - condition.mean
        noisy = (x0 + levels * draws.noise) / (1 + levels**2).sqrt()
        return (self.model.network(noisy, draws.step, condition) - x0).square().mean()


def prepared(start: str, variant: Variant) -> ViewModel:
    """The model with a fresh denoising network, blind to what the variant lacks."""
    model = load_model(start)
    torch.manual_seed(0)
    model.unet = type(model.unet).from_config(model.unet.config)
    if variant.model:
        model = reconfigured(model, replace(model.settings, **variant.model))
    seeing = model.network

    def network(x_scaled: Tensor, step: Tensor, condition: Condition) -> Tensor:
        blank = {name: torch.zeros_like(getattr(condition, name)) for name in variant.without}
        return seeing(x_scaled, step, replace(condition, **blank))

    model.network = network
    if variant.picture:
        model.forward = lambda x, sigma, condition: x0_of(model, network, x, sigma, condition)
    return model


def x0_of(model: ViewModel, network: Any, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
    """`ViewModel.forward` for a network that predicts x0."""
    mean = 0.0 if condition.mean is None else condition.mean.to(x)
    level = sigma.to(x).expand(len(x)).reshape(-1, 1, 1, 1)
    scaled = torch.where(level.isinf(), x, (x - mean) / (1 + level**2).sqrt())
    return mean + network(scaled, model.schedule.step_of(sigma).to(x.device).expand(len(x)), condition)


STEPS = (999, 750, 500, 250)
"""Where in the schedule of 1,000 steps the error of x0 is looked at."""


@torch.no_grad()
def x0_errors(model: ViewModel, pairs: PairSampler, batches: int = 16, size: int = 32) -> dict[str, float]:
    """Mean squared error of x0 by step, beside that of the draft alone; the inputs' places are told."""
    found = {"draft": 0.0} | {str(step): 0.0 for step in STEPS}
    noises = torch.Generator().manual_seed(0)
    for number in range(batches):
        batch = pairs.batch(number, size)
        every = slice(None, None, batch.group)
        condition = model.join(model.look(batch.photo[every], batch.source[every]), batch.relative)
        noise = torch.randn(batch.latent.shape, generator=noises)
        if condition.mean is not None:
            found["draft"] += float((condition.mean - batch.latent).square().mean()) / batches
        for step in STEPS:
            sigma = model.schedule.sigmas[step]
            x = noise if sigma.isinf() else batch.latent + sigma * noise
            guess = model(x, sigma.expand(size).float(), condition)
            found[str(step)] += float((guess - batch.latent).square().mean()) / batches
    return found


WAYS = ((1, 1.0), (4, 1.0), (4, 1.5))
"""Steps and guidance that views are judged at."""


def judged(
    model: ViewModel, views: Path, targets: int, ways: Sequence[tuple[int, float]] = WAYS
) -> dict[str, dict[str, float]]:
    """Means over objects, by steps and guidance; the input's place is told."""
    protocol = Protocol("validation", tuple(range(1, targets + 1)), known_source=True)
    size, objects = model.settings.image_size, tuple(ListedObject(name) for name in names_in(views))
    protocol = replace(protocol, size=size, objects=objects)
    found: dict[str, dict[str, float]] = {}
    for steps, scale in ways:
        method = OfModel(NovelViews(model), SamplingSettings(steps=steps, scale=scale), known_source=True)
        scores = [score(case, method(case)).model for case in Cases(views, protocol)]
        names = ("psnr", "psnr_foreground", "ssim", "iou")
        found[f"{steps} steps, {scale:g}"] = {
            name: sum(float(one[name].mean()) for one in scores) / len(scores) for name in names
        }
    return found


def mixed(names: Sequence[str], weights: Sequence[str], mix: dict[str, float]) -> list[float]:
    """How often each kind is drawn: as given, or as a variant has it."""
    if not mix:
        return [float(w) for w in weights]
    return [next((share for kind, share in mix.items() if kind in name), 0.0) for name in names]


def main() -> None:
    """Train and judge the variants named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="*")
    parser.add_argument("--start")
    parser.add_argument("--views", nargs="+", help="CACHE=WEIGHT, names of caches")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--validation", help="name of a cache")
    parser.add_argument("--validation-views", type=Path, help="its views; given, pictures are scored too")
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--targets", type=int, default=4)
    parser.add_argument("--list", action="store_true")
    given = parser.parse_args()
    if given.list:
        print("\n".join(VARIANTS))
        return
    torch.set_num_threads(1)
    names, weights = zip(*(text.rsplit("=", 1) for text in given.views), strict=True)
    caches = [ViewCache.open(given.cache / name) for name in names]
    held_out = PairSampler([ViewCache.open(given.cache / given.validation)], [1.0], 0, mirror=False, targets=4)
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.variants:
        file = given.out / f"{name}.json"
        if file.is_file():
            continue
        variant, begun = VARIANTS[name], time.monotonic()
        model = prepared(given.start, variant)
        objective = replace(MINI_TRAINING.objective, volume_weight=0.0, source_weight=0.0, **variant.objective)
        settings = replace(
            MINI_TRAINING, steps=given.steps, warmup=50, decay=given.steps // 3, ema=0.99, freeze_encoders=True,
            sample_every=0, save_every=10**6, objective=objective,
        )  # fmt: skip
        settings = replace(settings, **variant.training)
        pairs = PairSampler(caches, mixed(names, weights, variant.mix), 0, targets=4)
        with patch("zero123.training.trainer.Objective", PictureObjective if variant.picture else Objective):
            trained = train(model, pairs, given.out / name, settings)  # type: ignore[arg-type]
        seconds = time.monotonic() - begun
        result: dict[str, Any] = {"seconds": seconds, "x0": x0_errors(trained.eval(), held_out)}
        if given.validation_views:
            result["scores"] = judged(trained, given.validation_views, given.targets)
        file.write_text(json.dumps(result, indent=1))
        print(name, json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
