"""A model whose answers are known: pictures drawn from a Gaussian, with its exact denoiser, networks and flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zero123.diffusion.schedule import NoiseSchedule


@dataclass(frozen=True, eq=False)
class Gaussian:
    """Pictures x0 ~ N(mean, covariance).

    As a denoiser it returns E[x0 | x]: mean + C (C + sigma^2)^-1 (x - mean). A condition, if given, takes
    the place of the mean.

    Attributes:
        mean: (C, h, w).
        covariance: of the flattened picture, (C h w, C h w), symmetric, positive.
        schedule: what its networks' steps mean.
    """

    mean: Tensor
    covariance: Tensor
    schedule: NoiseSchedule

    @classmethod
    def example(cls, *shape: int, seed: int = 0) -> Gaussian:
        """One with correlated values of variance about 1, in float64, of the Stable Diffusion schedule."""
        generator = torch.Generator().manual_seed(seed)
        size = torch.Size(shape).numel()
        root = torch.randn(size, size, generator=generator, dtype=torch.float64)
        covariance = root @ root.T / size + 0.05 * torch.eye(size, dtype=torch.float64)
        mean = torch.randn(shape, generator=generator, dtype=torch.float64)
        return cls(mean, covariance, NoiseSchedule.stable_diffusion())

    @property
    def variances(self) -> Tensor:
        """Eigenvalues of the covariance."""
        return torch.linalg.eigvalsh(self.covariance)

    def _filter(self, offset: Tensor, gain: Any) -> Tensor:
        """`offset` (B, C, h, w) with each principal direction multiplied by `gain(variances)`, (D,) or (B, D)."""
        variances, axes = torch.linalg.eigh(self.covariance.to(offset))
        return ((offset.flatten(1) @ axes * gain(variances)) @ axes.T).reshape(offset.shape)

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None) -> Tensor:
        mean = (self.mean if condition is None else condition).to(x)
        square = torch.as_tensor(sigma).to(x).reshape(-1, 1) ** 2
        return mean + self._filter(x - mean, lambda variances: variances / (variances + square))

    def flow(self, x: Tensor, high: float, low: float) -> Tensor:
        """Where the probability flow ODE dx/dsigma = (x - D(x; sigma)) / sigma takes `x` from level `high` to `low`."""
        mean = self.mean.to(x)
        gain = lambda variances: ((variances + low**2) / (variances + high**2)).sqrt()  # noqa: E731
        return mean + self._filter(x - mean, gain)

    def noise_network(self, x_scaled: Tensor, step: Tensor, condition: Tensor | None) -> Tensor:
        """E[noise | x], as a network that predicts noise."""
        sigma = self.schedule.sigmas[step].reshape(-1, *[1] * (x_scaled.ndim - 1))
        x = x_scaled * (1 + sigma**2).sqrt()
        return (x - self(x, sigma.flatten(), condition)) / sigma

    def velocity_network(self, x_scaled: Tensor, step: Tensor, condition: Tensor | None) -> Tensor:
        """E[alpha * noise - beta * x0 | x], as a network that predicts velocity."""
        share = self.schedule.alphas_cumprod[step].reshape(-1, *[1] * (x_scaled.ndim - 1))
        x = x_scaled / share.sqrt()
        x0 = self(x, self.schedule.sigmas[step], condition)
        return share.sqrt() * self.noise_network(x_scaled, step, condition) - (1 - share).sqrt() * x0
