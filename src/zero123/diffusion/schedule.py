"""How much noise each training step holds, and which noise levels a sampler visits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor

Spacing = Literal["trailing", "leading", "original", "karras"]


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """The table of noise levels a network was trained on, from clean to noisy.

    Two scalings of one noisy picture meet here. Variance preserving, as the network sees it:
    `sqrt(alphas_cumprod) * x0 + sqrt(1 - alphas_cumprod) * noise`. Variance exploding, as the samplers see it:
    `x = x0 + sigma * noise`. The first is the second divided by `sqrt(1 + sigma**2)`.

    Attributes:
        alphas_cumprod: share of the signal in the variance at each step, (T,), falling within (0, 1), kept as float64.
    """

    alphas_cumprod: Tensor

    def __post_init__(self) -> None:
        table = torch.as_tensor(self.alphas_cumprod, dtype=torch.float64)
        if table.ndim != 1 or not len(table) or table.max() >= 1 or table.min() <= 0 or (table.diff() >= 0).any():
            raise ValueError(f"alphas_cumprod must be (T,) and fall within (0, 1), got shape {tuple(table.shape)}")
        object.__setattr__(self, "alphas_cumprod", table)

    @classmethod
    def stable_diffusion(cls) -> NoiseSchedule:
        """The schedule of Stable Diffusion and Zero-1-to-3: 1000 steps, sqrt(beta) linear from 0.00085 to 0.012."""
        betas = torch.linspace(0.00085**0.5, 0.0120**0.5, 1000, dtype=torch.float64) ** 2
        return cls(torch.cumprod(1 - betas, dim=0))

    def __len__(self) -> int:
        return len(self.alphas_cumprod)

    @cached_property
    def sigmas(self) -> Tensor:
        """Noise level of each step, rising, (T,) float64: sqrt((1 - alphas_cumprod) / alphas_cumprod)."""
        return ((1 - self.alphas_cumprod) / self.alphas_cumprod).sqrt()

    @cached_property
    def _midpoints(self) -> Tensor:
        return (self.sigmas[1:] + self.sigmas[:-1]) / 2

    def step_of(self, sigma: Tensor) -> Tensor:
        """The step whose noise level is nearest to `sigma`, (...), as int64; levels beyond the table take its ends."""
        # float32 parts neighbouring levels easily, and some devices have nothing wider
        return torch.bucketize(sigma.float(), self._midpoints.to(sigma.device, torch.float32))

    def sampling_sigmas(self, steps: int, spacing: Spacing = "trailing") -> Tensor:
        """The noise levels a sampler walks down, one network evaluation for each but the last.

        - "trailing" starts at the noisiest step and goes down evenly in steps (Section 3.3 of Lin et al., 2024,
          arXiv:2305.08891).
        - "leading" is an even grid that starts at step 1 and does not reach the noisiest step.
        - "karras" is even in sigma^(1/7) (Equation 5 of Karras et al., 2022, arXiv:2206.00364).
        - "original" is what Zero-1-to-3 ran: the stride is T // steps, so the count may differ from `steps`; the
          noisiest step of the grid is dropped; the end is the level of step 0. It asked for 76 evaluations at 75,
          for 1 at 2, and at 1 for none, which returns the noise. Where the original stopped with an error (counts
          whose stride divides T - 1, such as 105, and those above T) the same rule holds: only the step to be
          dropped lay outside the table, and the stride is at least 1.

        Args:
            steps: number of network evaluations, at least 1; all but "karras" count at most T.
            spacing: how the levels are spread, one of the above.

        Returns:
            Falling noise levels, (n + 1,) float64, the last 0 (of "original": `sigmas[0]`).

        Raises:
            ValueError: `steps` is below 1 or `spacing` is unknown.
        """
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        if spacing not in get_args(Spacing):
            raise ValueError(f"spacing must be one of {', '.join(get_args(Spacing))}, got {spacing!r}")
        total = len(self)
        if spacing == "original":
            grid = torch.arange(0, total, max(total // steps, 1)) + 1
            return torch.cat((self.sigmas[grid[:-1].flip(0)], self.sigmas[:1]))
        if spacing == "karras":
            ends = self.sigmas[[-1, 0]] ** (1 / 7)
            levels = (ends[0] + (ends[1] - ends[0]) * torch.linspace(0, 1, steps, dtype=torch.float64)) ** 7
        else:
            count = min(steps, total)
            grid = torch.arange(count, dtype=torch.float64) * total / count
            if spacing == "trailing":
                grid = (total - grid).round() - 1
            else:
                # a full table leaves no room for the shift to step 1
                grid = (grid.floor() + (1 if count < total else 0)).flip(0)
            levels = self.sigmas[grid.long()]
        return torch.cat((levels, levels.new_zeros(1)))
