"""How much noise each training step holds, and which noise levels a sampler visits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor

Spacing = Literal["trailing", "leading", "original", "karras"]
ScheduleName = Literal["stable_diffusion", "zero_snr", "flow"]


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """The table of noise levels a network was trained on, from clean to noisy.

    Two scalings of one noisy picture meet here. Variance preserving, as the network sees it:
    `sqrt(alphas_cumprod) * x0 + sqrt(1 - alphas_cumprod) * noise`. Variance exploding, as the samplers see it:
    `x = x0 + sigma * noise`. The first is the second divided by `sqrt(1 + sigma**2)`.

    The noisiest step may hold no signal at all. Its `sigma` is infinite, and the `x` of an infinite level is the unit
    noise itself, which is what both scalings tend to when they are divided by the length of the noise in them.

    Attributes:
        alphas_cumprod: share of the signal in the variance at each step, (T,), falling within (0, 1), kept as float64;
            the last may be 0.
    """

    alphas_cumprod: Tensor

    def __post_init__(self) -> None:
        table = torch.as_tensor(self.alphas_cumprod, dtype=torch.float64)
        within = table.ndim == 1 and len(table) and table.max() < 1 and table.min() >= 0 and table[0] > 0
        if not within or (table.diff() >= 0).any():
            raise ValueError(
                f"alphas_cumprod must be (T,) and fall within (0, 1), the last may be 0; got shape {tuple(table.shape)}"
            )
        object.__setattr__(self, "alphas_cumprod", table)

    @classmethod
    def stable_diffusion(cls) -> NoiseSchedule:
        """The schedule of Stable Diffusion and Zero-1-to-3: 1000 steps, sqrt(beta) linear from 0.00085 to 0.012."""
        betas = torch.linspace(0.00085**0.5, 0.0120**0.5, 1000, dtype=torch.float64) ** 2
        return cls(torch.cumprod(1 - betas, dim=0))

    @classmethod
    def flow(cls) -> NoiseSchedule:
        """The times 0.001 to 1 of rectified flow, at which (1 - t) * x0 + t * noise has sigma = t / (1 - t).

        Equation 1 of Liu et al., 2022 (arXiv:2209.03003), with time from the picture to the noise as in Section 2 of
        Esser et al., 2024 (arXiv:2403.03206).
        """
        time = torch.arange(1, 1001, dtype=torch.float64) / 1000
        return cls((1 - time) ** 2 / ((1 - time) ** 2 + time**2))

    @classmethod
    def named(cls, name: ScheduleName) -> NoiseSchedule:
        """The schedule a model's settings name: "zero_snr" is Stable Diffusion's, shifted to end in pure noise."""
        if name not in get_args(ScheduleName):
            raise ValueError(f"schedule must be one of {', '.join(get_args(ScheduleName))}, got {name!r}")
        if name == "flow":
            return cls.flow()
        schedule = cls.stable_diffusion()
        return schedule.with_zero_terminal_snr() if name == "zero_snr" else schedule

    def with_zero_terminal_snr(self) -> NoiseSchedule:
        """The schedule shifted and stretched so that its last step holds no signal and its first stays as it is.

        Algorithm 1 of Lin et al., 2024 (arXiv:2305.08891). A network that predicts noise cannot use it: at the last
        step the noise is what it is shown.
        """
        root = self.alphas_cumprod.sqrt()
        shifted = (root - root[-1]) * (root[0] / (root[0] - root[-1]))
        return NoiseSchedule(shifted**2)

    def __len__(self) -> int:
        return len(self.alphas_cumprod)

    @cached_property
    def sigmas(self) -> Tensor:
        """Noise level of each step, rising, (T,) float64: sqrt((1 - alphas_cumprod) / alphas_cumprod)."""
        return ((1 - self.alphas_cumprod) / self.alphas_cumprod).sqrt()

    @cached_property
    def ends_in_noise(self) -> bool:
        """Whether the last step holds no signal."""
        return bool(self.alphas_cumprod[-1] == 0)

    @cached_property
    def _midpoints(self) -> Tensor:
        middle = (self.sigmas[1:] + self.sigmas[:-1]) / 2
        if self.ends_in_noise:  # nothing is near infinity; what is twice as noisy as the step before belongs there
            middle[-1] = 2 * self.sigmas[-2]
        return middle

    def step_of(self, sigma: Tensor) -> Tensor:
        """The step whose noise level is nearest to `sigma`, (...), as int64; levels beyond the table take its ends."""
        # float32 parts neighbouring levels easily, and some devices have nothing wider
        return torch.bucketize(sigma.float(), self._midpoints.to(sigma.device, torch.float32))

    def sampling_sigmas(self, steps: int, spacing: Spacing = "trailing") -> Tensor:
        """The noise levels a sampler walks down, one network evaluation for each but the last.

        - "trailing" starts at the noisiest step and goes down evenly in steps (Section 3.3 of Lin et al., 2024,
          arXiv:2305.08891).
        - "leading" is an even grid that starts at step 1 and does not reach the noisiest step.
        - "karras" is even in sigma^(1/7) (Equation 5 of Karras et al., 2022, arXiv:2206.00364), from the noisiest
          step that holds a signal.
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
            ends = self.sigmas[[-2 if self.ends_in_noise else -1, 0]] ** (1 / 7)
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
