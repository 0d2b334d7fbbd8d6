"""What a denoiser is, and how a network that predicts noise or velocity becomes one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from zero123.diffusion.schedule import NoiseSchedule

Network = Callable[[Tensor, Tensor, Any], Tensor]
"""`network(x_scaled, step, condition)`: unit-variance noisy latents (B, C, h, w) and steps (B,) to a prediction."""


class Denoiser(Protocol):
    """The best guess of the clean picture behind a noisy one; all that samplers, guidance and 3D know of a model."""

    def __call__(self, x: Tensor, sigma: Tensor, condition: Any, /) -> Tensor:
        """Expected x0 given `x = x0 + sigma * noise`.

        Args:
            x: noisy latents, (B, C, h, w); unit noise where sigma is infinite.
            sigma: noise level, () or (B,).
            condition: what the picture should show, in whatever form the model takes.

        Returns:
            Clean latents, (B, C, h, w).
        """
        ...


def per_image(values: Tensor, x: Tensor) -> Tensor:
    """Numbers () or (B,) with the device and dtype of `x` (B, ...), shaped so that they multiply its images."""
    return values.to(x).reshape(-1, *[1] * (x.ndim - 1))


def shares(sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Alpha and beta of `alpha * x0 + beta * noise` with unit variance, at noise levels sigma = beta / alpha (...)."""
    alpha = 1 / (1 + sigma**2).sqrt()
    return alpha, torch.where(sigma.isinf(), torch.ones_like(sigma), sigma * alpha)


def flow_time(sigma: Tensor) -> Tensor:
    """Time t of rectified flow, in [0, 1], at which `(1 - t) * x0 + t * noise` has noise level sigma = t / (1 - t)."""
    return torch.where(sigma.isinf(), torch.ones_like(sigma), sigma / (1 + sigma))


def _network_input(schedule: NoiseSchedule, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """What a network is fed: `x` scaled to unit variance, (B, C, h, w), and its step, (B,) int64."""
    level = per_image(sigma, x)
    scaled = torch.where(level.isinf(), x, x / (1 + level**2).sqrt())
    return scaled, _step(schedule, x, sigma)


def _step(schedule: NoiseSchedule, x: Tensor, sigma: Tensor) -> Tensor:
    return schedule.step_of(sigma).to(x.device).expand(len(x))


@dataclass(frozen=True, eq=False)
class NoisePrediction:
    """The denoiser of a network that predicts the noise: D(x; sigma) = x - sigma * network.

    Table 1 (preconditioning, column VP) of Karras et al., 2022 (arXiv:2206.00364). There is none for infinite levels:
    noise says nothing of the picture.
    """

    network: Network
    schedule: NoiseSchedule

    def __call__(self, x: Tensor, sigma: Tensor, condition: Any) -> Tensor:
        """Expected clean latents; arguments as in `Denoiser`."""
        x_scaled, step = _network_input(self.schedule, x, sigma)
        return x - per_image(sigma, x) * self.network(x_scaled, step, condition)


@dataclass(frozen=True, eq=False)
class VelocityPrediction:
    """The denoiser of a network that sees alpha * x0 + beta * noise and predicts v = alpha * noise - beta * x0.

    Section 4 of Salimans and Ho, 2022 (arXiv:2202.00512): x0 = alpha * x_scaled - beta * v,
    where alpha = 1 / sqrt(1 + sigma^2) and beta = sigma * alpha; at an infinite level x0 = -v.
    """

    network: Network
    schedule: NoiseSchedule

    def __call__(self, x: Tensor, sigma: Tensor, condition: Any) -> Tensor:
        """Expected clean latents; arguments as in `Denoiser`."""
        x_scaled, step = _network_input(self.schedule, x, sigma)
        velocity, level = self.network(x_scaled, step, condition), per_image(sigma, x)
        alpha = 1 / (1 + level**2).sqrt()
        return torch.where(level.isinf(), -velocity, alpha * (x_scaled - level.nan_to_num(posinf=0) * velocity))


@dataclass(frozen=True, eq=False)
class FlowPrediction:
    """The denoiser of a network that sees z = (1 - t) * x0 + t * noise and predicts noise - x0: D = z - t * network.

    Rectified flow: Equation 1 of Liu et al., 2022 (arXiv:2209.03003). With x = x0 + sigma * noise and t / (1 - t) =
    sigma, z = x / (1 + sigma), so every sampler of noise levels walks a flow too.
    """

    network: Network
    schedule: NoiseSchedule

    def __call__(self, x: Tensor, sigma: Tensor, condition: Any) -> Tensor:
        """Expected clean latents; arguments as in `Denoiser`."""
        level = per_image(sigma, x)
        z = torch.where(level.isinf(), x, x / (1 + level))
        return z - flow_time(level) * self.network(z, _step(self.schedule, x, sigma), condition)
