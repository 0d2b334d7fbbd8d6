"""Which score makes a field best: SJC, SDS, NFSD and SDI on procedural objects, by the noise of their gradients and by
the views of the fields they make, against the truth.

    python benchmarks/score_variants.py [--model mini] [--seeds 900001 900002] [--steps 60] [--side 32]
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import replace

import torch
from torch import Tensor

from zero123 import NovelViews
from zero123.data.procedural.generate import family_of, generate
from zero123.data.render.embree import render
from zero123.geometry.camera import Camera
from zero123.geometry.orbit import RADIUS, OrbitPose
from zero123.geometry.paths import turntable
from zero123.images.alpha import composite
from zero123.reconstruction.sds_fit import SdsFit
from zero123.reconstruction.sds_settings import SdsSettings

ELEVATION = 20.0
VARIANTS = {"SJC": {"weight": "sjc"}, "SDS": {"weight": "sds"}, "NFSD": {"noise_free": True}, "SDI": {"inversion": 4}}


def pictures(seed: int, poses: OrbitPose, size: int) -> Tensor:
    """Truth, straight alpha, (V, 4, size, size)."""
    camera, mesh = Camera.from_orbit(poses, hw=(size, size)), generate(seed)
    return torch.stack([render([mesh], camera[k]) for k in range(len(poses))])


def psnr(a: Tensor, b: Tensor) -> float:
    return float(-10 * ((a - b) ** 2).mean().log10())


def steadiness(fit: SdsFit, draws: int = 8) -> float:
    """Squared length of the mean gradient over its variance, at one render and a middling noise level."""
    pose = OrbitPose.from_degrees([120.0], [20.0], [RADIUS]).to(fit.source.azimuth.device)
    with torch.no_grad():
        picture, model = fit.looks(pose)[0], fit.teacher.model
        latents = model.autoencoder.encode(picture.to(model.dtype)).float()
    sigma = model.schedule.sigmas[500:501].float()
    each = []
    for _ in range(draws):
        if fit.settings.inversion:
            noise = fit.teacher.inverted(latents, pose, sigma, fit.settings.inversion)
        else:
            noise = torch.randn(latents.shape, generator=fit._generator)
        each.append(fit.teacher.gradient(latents, pose, sigma, noise))
    stack = torch.cat(each)
    spread = float(stack.var(0).sum())
    return float(stack.mean(0).square().sum()) / spread if spread else math.inf


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="mini")
    parser.add_argument("--seeds", type=int, nargs="+", default=[900001, 900002])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--score-weight", type=float, default=SdsSettings().score_weight)
    given = parser.parse_args()
    views = NovelViews.from_pretrained(given.model)
    size = views.model.settings.image_size
    base = SdsSettings(steps=given.steps, sides=(given.side,), views=(2,), milestones=())
    base = replace(base, orientation=0.0, normal_smoothness=0.0, score_weight=given.score_weight)
    around = turntable(8, 0.35, RADIUS)
    print("| object | score | signal over noise | PSNR | CPU seconds |\n|---|---|---:|---:|---:|", flush=True)
    for seed in given.seeds:
        truth = composite(pictures(seed, around, size), torch.ones(3))
        photo = pictures(seed, OrbitPose.from_degrees([0.0], [ELEVATION], [RADIUS]), size)[0]
        for name, change in VARIANTS.items():
            fit, start = (
                SdsFit(views.model, photo, math.radians(ELEVATION), replace(base, **change)),
                time.process_time(),
            )  # type: ignore[arg-type]
            for _ in range(given.steps):
                fit.step()
            spent = time.process_time() - start
            score = psnr(fit.looks(around)[0], truth)
            print(f"| {family_of(seed)} | {name} | {steadiness(fit):.3g} | {score:.2f} | {spent:.0f} |", flush=True)


if __name__ == "__main__":
    main()
