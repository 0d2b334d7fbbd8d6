"""How far fast settings' pictures are from the picture 200 evaluations draw from the same seed.

    python benchmarks/quality.py [--model mini|FILE] [--device cpu|cuda] [--scale 3] [PICTURES...]

The reference is DDIM with eta 0 in float32: 200 steps follow the probability flow closely, so a solver that is exact
draws the same picture. Distances are root mean square over views and pixels in [0, 1], and the same in decibels.
Without --model, golden numbers in the released shape (see `benchmarks/inference.py`) and a drawn disc.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from ways import ROOT, describe, released_weights

from zero123.diffusion.sampling import SamplingSettings
from zero123.geometry.orbit import RelativePose
from zero123.images.photo import Photo
from zero123.machine import default_device, fast_dtype
from zero123.pipeline import NovelViews


@dataclass(frozen=True)
class Setting:
    """One row of the table; `fast` is the type the machine is fast in."""

    name: str
    sampling: SamplingSettings
    numbers: str = "fast"


def settings(scale: float) -> list[Setting]:
    """The reference first."""

    def sampling(steps: int, **more: object) -> SamplingSettings:
        return SamplingSettings(steps=steps, scale=scale, **more)  # type: ignore[arg-type]

    return [
        Setting("DDIM, 200", sampling(200, solver="euler"), "float32"),
        Setting("DDIM, 76, the original's levels", sampling(75, solver="euler", spacing="original"), "float32"),
        Setting("DDIM, 50, leading (diffusers)", sampling(50, solver="euler", spacing="leading"), "float32"),
        Setting("DPM-Solver++ 2M, 20", sampling(20), "float32"),
        Setting("DPM-Solver++ 2M, 20", sampling(20)),
        Setting("DPM-Solver++ 2M, 20", sampling(20), "int8"),
        Setting("DPM-Solver++ 2M, 20, karras", sampling(20, spacing="karras")),
        Setting("DPM-Solver++ 2M, 16", sampling(16)),
        Setting("DPM-Solver++ 2M, 12", sampling(12)),
        Setting("DPM-Solver++ 2M, 20, guided from 0.3 to 5", sampling(20, guidance_interval=(0.3, 5.0))),
    ]


def load(model: str, device: torch.device, numbers: str) -> NovelViews:
    """The model in one of the number formats."""
    dtype = torch.float32 if numbers == "float32" else fast_dtype(device)
    return NovelViews.from_pretrained(model, device, dtype, int8=numbers == "int8")


def photos(views: NovelViews, pictures: list[Path]) -> list[Photo]:
    """Prepared pictures; a coloured disc where there are none."""
    if pictures:
        return [views.prepare(path) for path in pictures]
    place = (torch.arange(256) + 0.5) / 128 - 1
    alpha = ((0.7 - torch.hypot(place[:, None], place[None])) * 64).clamp(0, 1)
    colour = torch.stack([0.5 + 0.4 * torch.sin(4 * place[:, None] + k * place[None]) for k in range(3)])
    return [views.prepare(torch.cat((colour, alpha[None])))]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="")
    parser.add_argument("--device", default=default_device())
    parser.add_argument("--scale", type=float, default=3.0)
    parser.add_argument("--views", type=int, default=1)
    parser.add_argument("pictures", nargs="*", type=Path)
    given = parser.parse_args()
    device = torch.device(given.device)
    model = given.model or str(released_weights(ROOT / "benchmarks" / "weights" / "released.safetensors"))
    turn = [45.0 + 360.0 * k / given.views for k in range(given.views)]
    moves = RelativePose.from_degrees(turn, [20.0] * given.views, [0.0] * given.views)
    print(f"{Path(model).name} on {describe(device)}, guidance {given.scale:g}\n", flush=True)
    print(
        "| setting | numbers | evaluations | CPU seconds a view | rms | dB |\n|---|---|---:|---:|---:|---:|", flush=True
    )
    reference: Tensor | None = None
    loaded = ("", None)
    for setting in settings(given.scale):
        if setting.numbers != loaded[0]:
            loaded = (setting.numbers, None)  # the one before goes first
            loaded = (setting.numbers, load(model, device, setting.numbers))
        views: NovelViews = loaded[1]  # type: ignore[assignment]
        ready = photos(views, given.pictures)
        begin = time.process_time()
        drawn = torch.cat([views(photo, moves, setting.sampling) for photo in ready])
        seconds = (time.process_time() - begin) / len(drawn)
        reference = drawn if reference is None else reference
        rms = float((drawn - reference).square().mean().sqrt())
        spacing = setting.sampling.spacing or views.model.settings.spacing
        count = len(views.model.schedule.sampling_sigmas(setting.sampling.steps or 1, spacing)) - 1
        numbers = {"fast": str(fast_dtype(device)).removeprefix("torch.")}.get(setting.numbers, setting.numbers)
        shown = f"{rms:.4f} | {-20 * math.log10(rms):.1f}" if rms else "reference | "
        print(f"| {setting.name} | {numbers} | {count} | {seconds:.3g} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
