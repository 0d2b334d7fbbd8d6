"""How a picture is drawn out of noise: walks down the noise levels, each a pure function of a denoiser.

All samplers take `(denoiser, x, sigmas, condition)`: `x` (B, C, h, w) is the noisy start at level `sigmas[0]`, and
`sigmas` (n + 1,) fall to 0 (see `NoiseSchedule.sampling_sigmas`). They return the picture at level `sigmas[-1]`: clean,
if that is 0. Noise explodes here, `x = x0 + sigma * noise`, while networks are trained on `x / sqrt(1 + sigma**2)` and
start from unit noise in that scaling, so a whole sampling is

    sigmas = schedule.sampling_sigmas(20)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    x = exploding(noise_like(latents, generators), sigmas[0])
    latents = preserving(dpmpp_2m(denoiser, x, sigmas, condition), sigmas[-1])

The last line changes something only where the levels do not end at 0. The first level may be infinite: there is no
signal in its `x`, which is the unit noise. The original Zero-1-to-3 is reproduced exactly
with `sampling_sigmas(steps, "original")` and `euler` (its eta 0) or `ancestral(..., noise=kth_noise)`, where
`kth_noise(k)` returns the unit noise it drew at its k-th step, counted from 0 at the noisiest.

After each step `callback(index, x0)` is told how far the walk is and what the denoiser sees, for progress and previews.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from zero123.diffusion.denoiser import Denoiser

Callback = Callable[[int, Tensor], None]
Noise = Callable[[int], Tensor] | Sequence[torch.Generator]


def noise_like(x: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Unit noise in the shape, dtype and device of `x`, (B, ...), each image from its own generator.

    Thus an image's noise depends on its seed alone, not on the batch it is in. Generators may live on another device.

    Raises:
        ValueError: there is not one generator for each image.
    """
    if len(generators) != len(x):
        raise ValueError(f"generators must be {len(x)}, one for each image, got {len(generators)}")
    images = [torch.randn(x.shape[1:], generator=g, device=g.device).to(x) for g in generators]
    return torch.stack(images) if images else torch.zeros_like(x)


def exploding(x: Tensor, sigma: Tensor | float) -> Tensor:
    """`x` at level `sigma` from the scaling networks see (variance preserving) to the samplers' own.

    At an infinite level it is unit noise in both.
    """
    return x if math.isinf(sigma) else x * math.sqrt(1 + float(sigma) ** 2)


def preserving(x: Tensor, sigma: Tensor | float) -> Tensor:
    """`x` at level `sigma` from the samplers' scaling to that which networks see; the inverse of `exploding`."""
    return x if math.isinf(sigma) else x / math.sqrt(1 + float(sigma) ** 2)


def _nearer(x: Tensor, x0: Tensor, high: float, low: float, share: float = 1.0) -> Tensor:
    """`x` at level `high` moved straight towards `x0`, to `share` of level `low`; a mix, so exactly `x0` at level 0."""
    noise = low * x if math.isinf(high) else low / high * (x - x0)
    return x0 + share * noise


def _steps(sigmas: Tensor) -> Iterator[tuple[int, Tensor, float, float]]:
    """For each step: its index, the level as the denoiser takes it, and the levels it leaves and reaches."""
    levels = [float(level) for level in sigmas.reshape(-1)]
    if sigmas.ndim != 1 or not levels or levels[-1] < 0 or not all(a > b for a, b in pairwise(levels)):
        raise ValueError(f"sigmas must be (n + 1,), fall, and end at 0 or above, got {sigmas}")
    for index, (high, low) in enumerate(pairwise(levels)):
        yield index, sigmas[index], high, low


def euler(denoiser: Denoiser, x: Tensor, sigmas: Tensor, condition: Any, *, callback: Callback | None = None) -> Tensor:
    """Follow the probability flow in straight steps; first order.

    DDIM with eta 0: Equation 13 of Song et al., 2021 (arXiv:2010.02502).
    """
    for index, sigma, high, low in _steps(sigmas):
        x0 = denoiser(x, sigma, condition)
        x = _nearer(x, x0, high, low)
        if callback is not None:
            callback(index, x0)
    return x


def ancestral(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    condition: Any,
    *,
    noise: Noise,
    eta: float = 1.0,
    callback: Callback | None = None,
) -> Tensor:
    """Step down further than asked and make up for it with fresh noise.

    DDIM with eta: Equations 12 and 16 of Song et al., 2021 (arXiv:2010.02502), divided by sqrt(alphas_cumprod).
    eta 1 is DDPM's sampling, eta 0 is `euler` and draws nothing.

    Args:
        denoiser: what cleans `x`.
        x: noisy start, (B, C, h, w).
        sigmas: falling noise levels, (n + 1,).
        condition: handed to the denoiser.
        noise: one generator for each image, or a function from a step's index to its unit noise, (B, C, h, w).
        eta: share of the noise that is renewed, in [0, 1].
        callback: told `(index, x0)` after each step.

    Raises:
        ValueError: `eta` lies outside [0, 1], or `sigmas` do not fall.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must lie in [0, 1], got {eta}")
    for index, sigma, high, low in _steps(sigmas):
        x0 = denoiser(x, sigma, condition)
        share = eta**2 * (1 - (low / high) ** 2)
        x = _nearer(x, x0, high, low, math.sqrt(1 - share))
        if share > 0 and low > 0:
            x = x + low * math.sqrt(share) * (noise(index) if callable(noise) else noise_like(x, noise))
        if callback is not None:
            callback(index, x0)
    return x


def dpmpp_2m(
    denoiser: Denoiser, x: Tensor, sigmas: Tensor, condition: Any, *, callback: Callback | None = None
) -> Tensor:
    """Follow the probability flow and use the step before to see where x0 is heading; second order, the default.

    DPM-Solver++(2M), Algorithm 2 of Lu et al., 2022 (arXiv:2211.01095), with lambda = -log(sigma). The first step
    is first order, and so is a step to level 0, where lambda is infinite.
    """
    before: tuple[Tensor, float] | None = None
    for index, sigma, high, low in _steps(sigmas):
        x0 = denoiser(x, sigma, condition)
        ahead, width = x0, math.log(high / low) if low > 0 else math.inf
        if before is not None and low > 0:
            x0_before, width_before = before
            ahead = x0 + width / (2 * width_before) * (x0 - x0_before)
        x = _nearer(x, ahead, high, low)
        before = x0, width
        if callback is not None:
            callback(index, x0)
    return x
