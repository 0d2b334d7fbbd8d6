"""Which choices of `mini`'s denoiser matter: variants trained alike from one geometry stage, judged on validation.

    python runs/ablations.py --start work/geometry/model --views work/views/train-flat=1 --cache work/cache \
        --validation work/views/validation -o work/ablations base no-tokens flow

The volume and the image encoder stay as they are, so that only what the denoising network is given, predicts and is
trained on differs. A variant that loses a part gets zeros in its place: the same network, the same cost. Every variant
leaves OUT/NAME.json; what is there already is not done again. `--list` names the variants.
"""

from __future__ import annotations

import argparse
import json
import time
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
    """

    without: tuple[str, ...] = ()
    model: dict[str, Any] = field(default_factory=dict)
    objective: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    picture: bool = False


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
    "flow": Variant(model=_FLOW),
    "flow-logit-normal": Variant(model=_FLOW, objective={"times": "logit_normal", "logit_mean": 1.0}),
    "no-drop": Variant(objective={"drop": 0.0}),
    "drop-20": Variant(objective={"drop": 0.1}),
    "joint-4": Variant(model={"joint": True}, training={"views": 4}),
    "rate-2x": Variant(training={"learning_rate": 1e-3}),
}


class PictureObjective(Objective):
    """The squared error of x0 itself."""

    def _denoising(self, batch: Any, draws: Any, condition: Condition) -> Tensor:
        levels = self.model.schedule.sigmas.to(batch.latent)[draws.step][:, None, None, None]
        noisy = (batch.latent + levels * draws.noise) / (1 + levels**2).sqrt()
        return (self.model.network(noisy, draws.step, condition) - batch.latent).square().mean()


class Pictures:
    """Pairs whose latents are made of their pictures on the spot, so that caches of any codec will do."""

    def __init__(self, pairs: PairSampler, model: ViewModel) -> None:
        self._pairs, self._model = pairs, model

    @torch.no_grad()
    def batch(self, step: int, size: int) -> Any:
        """The pairs of a step."""
        batch = self._pairs.batch(step, size)
        return replace(batch, latent=self._model.autoencoder.encode(batch.picture), picture=None)


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
        model.forward = lambda x, sigma, condition: network(
            x if sigma.isinf().all() else x / (1 + sigma.to(x).reshape(-1, 1, 1, 1) ** 2).sqrt(),
            model.schedule.step_of(sigma).to(x.device).expand(len(x)),
            condition,
        )
    return model


def judged(model: ViewModel, views: Path, targets: int) -> dict[str, dict[str, float]]:
    """Means over objects, by steps and guidance; the input's place is told."""
    protocol = Protocol("validation", tuple(range(1, targets + 1)), known_source=True)
    protocol = replace(protocol, size=128, objects=tuple(ListedObject(name) for name in names_in(views)))
    found: dict[str, dict[str, float]] = {}
    for steps, scale in ((1, 1.0), (1, 1.5), (2, 1.5), (4, 1.5)):
        method = OfModel(NovelViews(model), SamplingSettings(steps=steps, scale=scale), known_source=True)
        scores = [score(case, method(case).views).model for case in Cases(views, protocol)]
        names = ("psnr", "psnr_foreground", "ssim", "iou")
        found[f"{steps} steps, {scale:g}"] = {
            name: sum(float(one[name].mean()) for one in scores) / len(scores) for name in names
        }
    return found


def main() -> None:
    """Train and judge the variants named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="*")
    parser.add_argument("--start")
    parser.add_argument("--views", nargs="+", help="FOLDER=WEIGHT")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--validation", type=Path)
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
    caches = [ViewCache.open(given.cache / Path(name).name) for name in names]
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
        pairs = Pictures(PairSampler(caches, [float(w) for w in weights], 0, targets=4, pictures=True), model)
        with patch("zero123.training.trainer.Objective", PictureObjective if variant.picture else Objective):
            trained = train(model, pairs, given.out / name, settings)  # type: ignore[arg-type]
        result = {
            "seconds": time.monotonic() - begun,
            "scores": judged(trained.eval(), given.validation, given.targets),
        }
        file.write_text(json.dumps(result, indent=1))
        print(name, json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
