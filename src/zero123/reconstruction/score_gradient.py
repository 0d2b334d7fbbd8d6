"""How a denoiser would change a render: the gradient of SJC and SDS, one function with a weight."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor

from zero123.diffusion.denoiser import Denoiser, per_image
from zero123.diffusion.guidance import Guided, Pair

Weight = Callable[[Tensor], Tensor]
"""Noise levels (B,) to factors of the gradient (B,)."""


def sjc_weight(sigma: Tensor) -> Tensor:
    """1 at every level: Equation 8 of SJC (Wang et al., 2022, arXiv:2212.00774) as its code has it."""
    return torch.ones_like(sigma)


def sds_weight(sigma: Tensor) -> Tensor:
    """1 - alpha_bar = sigma^2 / (1 + sigma^2): w(t) of DreamFusion's SDS as the field's code has it.

    Equation 3 of Poole et al., 2022 (arXiv:2209.14988); DreamFusion itself only says that w depends on the step.
    """
    return sigma**2 / (1 + sigma**2)


WeightName = Literal["sjc", "sds"]

WEIGHTS: dict[WeightName, Weight] = {"sjc": sjc_weight, "sds": sds_weight}
"""By their names in settings."""


@torch.no_grad()
def score_gradient(
    denoiser: Denoiser,
    render: Tensor,
    sigma: Tensor,
    condition: Any,
    noise: Tensor,
    weight: Weight = sjc_weight,
    reduce_variance: bool = True,
) -> Tensor:
    """Gradient with respect to a render, to go down along: `weight * (predicted noise - noise)`.

    Perturb-and-average scoring (Algorithm 1 of SJC, arXiv:2212.00774): the score at a render is the mean over noise
    of what the denoiser would change about the noised render, `(D(render + sigma noise) - render) / sigma`. Nothing
    flows back through the denoiser.

    Args:
        denoiser: guided, if guidance is wanted.
        render: (B, C, h, w), latents or whatever the denoiser works on.
        sigma: noise level, () or (B,).
        condition: what the render should show.
        noise: standard normal, (B, C, h, w).
        weight: of noise levels.
        reduce_variance: measure the change from the render; else from the noised render, which has the same mean over
            noise, since that averages to 0, and more variance where noise is stronger than the pictures' own spread.

    Returns:
        (B, C, h, w), in the type of the render.
    """
    level = per_image(sigma, render)
    noised = render + level * noise
    clean = denoiser(noised, sigma, condition)
    change = (clean - (render if reduce_variance else noised)) / level
    return -per_image(weight(sigma), render) * change


@torch.no_grad()
def noise_free_gradient(
    guided: Guided, render: Tensor, sigma: Tensor, pair: Pair, noise: Tensor, weight: Weight = sds_weight
) -> Tensor:
    """Gradient of NFSD, in which the noise itself has no part, to go down along; arguments as for `score_gradient`.

    Equation 8 of Katzir et al., 2023 (arXiv:2310.17590): guidance's direction, and where noise is low (below step 200
    of Stable Diffusion's schedule) also what the denoiser would change with nothing said. Their negative prompt, which
    stands for the latter where noise is high, has no likeness in a model that is told a picture.
    """
    level = per_image(sigma, render)
    noised = render + level * noise
    nothing = guided.denoiser(noised, sigma, pair.unconditional)
    said = guided.denoiser(noised, sigma, pair.conditional)
    change = guided.scale * (said - nothing) + (level < _LOW_NOISE) * (nothing - noised)
    return -per_image(weight(sigma), render) * change / level


_LOW_NOISE = 0.46
"""Sigma of step 200."""


@torch.no_grad()
def inverted_noise(denoiser: Denoiser, render: Tensor, sigma: Tensor, condition: Any, steps: int) -> Tensor:
    """The noise under which a denoiser's own ODE would have drawn a render: the same for the same render.

    Score distillation via inversion (Section 4 of Lukoianov et al., 2024, arXiv:2405.15891) takes it in the place of
    random noise, so that the gradient no longer changes its mind from step to step. Here by Euler's steps of
    dx / dsigma = (x - D(x; sigma)) / sigma (Equation 1 of Karras et al., 2022, arXiv:2206.00364), upwards.

    Args:
        denoiser: guided or not.
        render: (B, C, h, w).
        sigma: noise levels to arrive at, over 0, (B,).
        condition: what the render should show.
        steps: evaluations of the denoiser, at least 1, at levels spread evenly in sigma^(1/3); the first step, from no
            noise, takes the slope at its end.

    Returns:
        (B, C, h, w), about standard normal.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    levels = torch.linspace(0.0, 1.0, steps + 1, device=sigma.device, dtype=sigma.dtype)[:, None] ** 3 * sigma
    x = render
    for low, high in pairwise(levels):
        known = torch.where(low > 0, low, high)
        x = x + per_image((high - low) / known, x) * (x - denoiser(x, known, condition))
    return (x - render) / per_image(sigma, render)
