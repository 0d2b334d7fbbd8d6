"""How views are drawn: the settings of a sampling, and the walk from noise to latents that obeys them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from zero123.diffusion.denoiser import Denoiser
from zero123.diffusion.guidance import Guided, Pair
from zero123.diffusion.samplers import ancestral, dpmpp_2m, euler, exploding, noise_like, preserving
from zero123.diffusion.schedule import NoiseSchedule, Spacing

Solver = Literal["dpmpp_2m", "euler", "ancestral"]
Symmetry = Literal["auto", "none"] | float


@dataclass(frozen=True)
class SamplingSettings:
    """How views are drawn.

    Attributes:
        steps: network evaluations per view; None for what suits the model.
        scale: guidance, 1 is off; None for what suits the model.
        guidance_interval: noise levels (low, high) within which guidance acts, 0 to about 15; it is off, and costs
            nothing, elsewhere. None: everywhere.
        seed: same seed, same pictures, whatever the batch; a whole number, 0 or more.
        solver: "dpmpp_2m" (second order), "euler" (DDIM, eta 0) or "ancestral" (DDIM, eta 1).
        spacing: how the noise levels are spread, see `NoiseSchedule.sampling_sigmas`; None for what suits the model.
        same_noise: all views are drawn from the same noise, which makes neighbours agree better.
        samples: pictures of each view; those of one view lie side by side in the result. Sample s of view v is drawn
            from seed + s, or from seed + v * samples + s without `same_noise`.
        batch: views per network call; None for what is fast and fits.
        joint: the views of a call share self-attention, which makes them agree better, more so in a model that learned
            it; None for what the model learned. They then depend on each other, and on how many go into a call.
        tilted_looks: a model with second looks also looks at the photo as if taken from lower and from higher, which is
            nearer to the truth in the mean. False for views that shall be of one solid, which such looks tilt.
        symmetry: the upright plane about which the object is its own mirror image, degrees from where the photo was
            taken, counter-clockwise seen from above: 0 for a photo of its front or back, 90 for one of its side. "none"
            takes it to have none, "auto" takes the plane that a model finds, which of things seen from the front is
            often that of their side, with a second face behind.
        photo_detail: views take the photo's own fine detail, in models that do so. False for views to which a field is
            fitted: a photo's detail in slightly different places is no evidence of where the surface is.
    """

    steps: int | None = None
    scale: float | None = None
    guidance_interval: tuple[float, float] | None = None
    seed: int = 0
    solver: Solver = "dpmpp_2m"
    spacing: Spacing | None = None
    same_noise: bool = True
    samples: int = 1
    batch: int | None = None
    joint: bool | None = None
    tilted_looks: bool = True
    symmetry: Symmetry = "none"
    photo_detail: bool = True

    def __post_init__(self) -> None:
        if self.steps is not None and not 1 <= self.steps <= 1000:
            raise ValueError(f"steps must be in 1 to 1000, got {self.steps}")
        if self.scale is not None and not 0 <= self.scale <= 100:
            raise ValueError(f"scale must be in 0 to 100, got {self.scale}")
        if self.guidance_interval is not None and not 0 <= self.guidance_interval[0] < self.guidance_interval[1]:
            raise ValueError(f"guidance_interval must be two rising noise levels, 0 or more: {self.guidance_interval}")
        if self.solver not in get_args(Solver):
            raise ValueError(f"solver must be one of {', '.join(get_args(Solver))}, got {self.solver!r}")
        if isinstance(self.symmetry, str) and self.symmetry not in ("auto", "none"):
            raise ValueError(f'symmetry must be "auto", "none" or degrees, got {self.symmetry!r}')
        if not isinstance(self.symmetry, str) and (isinstance(self.symmetry, bool) or not abs(self.symmetry) <= 360):
            raise ValueError(f"symmetry must be from -360 to 360 degrees, got {self.symmetry}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be in 0 to 2^63 - 1, got {self.seed}")
        if self.spacing is not None and self.spacing not in get_args(Spacing):
            raise ValueError(f"spacing must be one of {', '.join(get_args(Spacing))}, got {self.spacing!r}")
        if self.joint and self.samples > 1:
            raise ValueError(f"joint views are drawn one sample at a time, got samples {self.samples}; change the seed")
        for name in ("samples", "batch"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")

    @classmethod
    def original(cls, seed: int = 0) -> SamplingSettings:
        """What the original's page ran: 75 steps asked for (76 done), DDIM with eta 1, guidance 3, its timetable."""
        return cls(steps=75, scale=3.0, seed=seed, solver="ancestral", spacing="original")

    def seeds(self, views: int) -> list[int]:
        """The seed of each picture: all samples of the first view, then of the second, and so on."""
        step = 0 if self.same_noise else self.samples
        return [self.seed + view * step + sample for view in range(views) for sample in range(self.samples)]


@dataclass(frozen=True)
class Begin:
    """Pictures that views are drawn anew from, instead of from noise alone.

    Noised part of the way and denoised again, they keep their bulk and get the model's detail: SDEdit (Meng et al.,
    2021, arXiv:2108.01073).

    Attributes:
        pictures: one for each view, on white, (V, 3, S, S), in [0, 1].
        strength: share of the noise levels that are walked, in (0, 1]; 1 forgets nearly everything.
    """

    pictures: Tensor
    strength: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.strength <= 1:
            raise ValueError(f"strength must be over 0 and at most 1, got {self.strength}")

    def sigmas(self, schedule: NoiseSchedule, steps: int, spacing: Spacing) -> Tensor:
        """The last noise levels of a longer walk: `steps` of them, that begin `strength` of the way up."""
        return schedule.sampling_sigmas(math.ceil(steps / self.strength), spacing)[-steps - 1 :]


def draw(
    denoiser: Denoiser,
    pair: Pair,
    sigmas: Tensor,
    start: Tensor,
    seeds: Sequence[int],
    settings: SamplingSettings,
    scale: float,
    callback: Callable[[int, Tensor], None] | None = None,
    begin: Tensor | None = None,
) -> Tensor:
    """Latents drawn from noise, (B, C, h, w).

    Args:
        denoiser: the model, without guidance.
        pair: conditions of the B views.
        sigmas: falling noise levels, (n + 1,).
        start: gives shape, dtype and device of the latents, (B, C, h, w); its values are not used.
        seeds: one for each view.
        settings: solver and guidance interval.
        scale: guidance.
        callback: as for the samplers.
        begin: clean latents to noise to the first level and walk down from, (B, C, h, w); None for noise alone.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    noise = noise_like(start, generators)
    if begin is None or sigmas[0].isinf():  # noise alone holds nothing of what was begun with
        x = exploding(noise, sigmas[0])
    else:
        x = begin.to(noise) + sigmas[0].to(noise) * noise
    guided = Guided(denoiser, scale, settings.guidance_interval)
    if settings.solver == "ancestral":
        x = ancestral(guided, x, sigmas, pair, noise=generators, callback=callback)
    else:
        solver = {"dpmpp_2m": dpmpp_2m, "euler": euler}[settings.solver]
        x = solver(guided, x, sigmas, pair, callback=callback)
    return preserving(x, sigmas[-1])
