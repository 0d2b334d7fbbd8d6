"""How strongly a sample follows its condition: classifier-free guidance as a denoiser around a denoiser."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from zero123.diffusion.denoiser import Denoiser, per_image


@dataclass(frozen=True)
class Pair:
    """What a guided denoiser is conditioned on.

    Attributes:
        conditional: what the picture should show.
        unconditional: the same with nothing said, for the same number of pictures.
    """

    conditional: Any
    unconditional: Any

    @cached_property
    def joined(self) -> Any:
        """Both in one batch, unconditional first, or None where they cannot be joined; made once for all steps."""
        return self.unconditional.join(self.conditional) if isinstance(self.unconditional, Joinable) else None


@runtime_checkable
class Joinable(Protocol):
    """A condition that can be laid behind another along the batch axis."""

    def join(self, other: Any, /) -> Any:
        """The condition of both batches, this one first."""
        ...


@dataclass(frozen=True, eq=False)
class Guided:
    """The denoiser `unconditional + scale * (conditional - unconditional)`.

    Equation 6 of Ho and Salimans, 2022 (arXiv:2207.12598), with scale = 1 + w. Scale 1 is off and costs one pass of the
    denoiser, any other costs two: one pass of a doubled batch where the conditions can be joined, else two calls.

    Attributes:
        denoiser: the denoiser to guide.
        scale: 1 is off, 0 leaves the condition out, above 1 follows it more than the data does.
        interval: noise levels (low, high) with low < sigma <= high in which guidance acts, elsewhere it is off
            (Kynkäänniemi et al., 2024, arXiv:2404.07724). None: everywhere.
    """

    denoiser: Denoiser
    scale: float = 3.0
    interval: tuple[float, float] | None = None

    def __call__(self, x: Tensor, sigma: Tensor, condition: Pair) -> Tensor:
        """Guided clean latents; arguments as in `Denoiser`, the condition a `Pair`."""
        acts = self._acts(sigma)
        if self.scale == 1 or not bool(acts.any()):
            return self.denoiser(x, sigma, condition.conditional)
        unconditional, conditional = self._both(x, sigma, condition)
        guided = unconditional + self.scale * (conditional - unconditional)
        return torch.where(per_image(acts, x).bool(), guided, conditional)

    def _acts(self, sigma: Tensor) -> Tensor:
        """Whether guidance acts at each noise level, () or (B,)."""
        low, high = (0.0, math.inf) if self.interval is None else self.interval
        return (low < sigma) & (sigma <= high)

    def _both(self, x: Tensor, sigma: Tensor, condition: Pair) -> tuple[Tensor, Tensor]:
        """Clean latents without and with the condition."""
        joined = condition.joined
        if joined is None:
            return self.denoiser(x, sigma, condition.unconditional), self.denoiser(x, sigma, condition.conditional)
        x0 = self.denoiser(torch.cat((x, x)), sigma if sigma.ndim == 0 else torch.cat((sigma, sigma)), joined)
        unconditional, conditional = x0.chunk(2)
        return unconditional, conditional
