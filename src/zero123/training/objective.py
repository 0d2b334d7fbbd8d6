"""One pass of training: a batch of pairs to a loss."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from zero123.data.pairs import PairBatch
from zero123.diffusion.loss import Weighting, denoising_loss
from zero123.geometry.orbit import OrbitPose
from zero123.models.view_model import ViewModel

Times = Literal["power", "logit_normal"]


@dataclass(frozen=True)
class ObjectiveSettings:
    """What is minimised.

    Attributes:
        drop: u of the three kinds of dropout for guidance: tokens alone, both, latent alone, with probability u each.
        drop_jointly: tokens and latent are always dropped together, with probability 2u.
        weighting: of the noise levels.
        times: how the step is drawn: T * u ** noise_power with u uniform, or T * sigmoid(n) with n normal, the
            logit-normal times of rectified flow (Section 3.1 of Esser et al., 2024, arXiv:2403.03206).
        noise_power: below 1 the noisy steps, in which a view takes its shape from the condition, come more often.
        logit_mean, logit_spread: mean and standard deviation of n; TRELLIS takes 1 and 1, Esser et al. 0 and 1.
        elevation_weight: of the elevation head's squared error, radians; 0 leaves the head untrained.
        elevation_jitter: standard deviation of the error put on the input elevation the model is told, radians, since
            in use it is an estimate.
    """

    drop: float = 0.05
    drop_jointly: bool = False
    weighting: Weighting = "uniform"
    times: Times = "power"
    noise_power: float = 1.0
    logit_mean: float = 0.0
    logit_spread: float = 1.0
    elevation_weight: float = 0.0
    elevation_jitter: float = 0.0

    def __post_init__(self) -> None:
        for name, kinds in (("weighting", Weighting), ("times", Times)):
            if getattr(self, name) not in get_args(kinds):
                raise ValueError(f"{name} must be one of {', '.join(get_args(kinds))}, got {getattr(self, name)!r}")
        if not 0 <= self.drop <= 1 / 3:
            raise ValueError(f"drop must be in 0 to 1/3, got {self.drop}")
        for name in ("noise_power", "logit_spread"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be over 0 and finite, got {getattr(self, name)}")
        for name in ("elevation_weight", "elevation_jitter"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be at least 0 and finite, got {getattr(self, name)}")
        if not math.isfinite(self.logit_mean):
            raise ValueError(f"logit_mean must be finite, got {self.logit_mean}")


@dataclass(frozen=True)
class Draws:
    """All that is random in one pass.

    Attributes:
        step: steps into the schedule, (B,) int64.
        noise: standard normal, like the latents, (B, C, h, w).
        drop: which samples lose their tokens and their latent, (B, 2) bool.
        elevation_error: of the input elevation the model is told, radians, (B,).
    """

    step: Tensor
    noise: Tensor
    drop: Tensor
    elevation_error: Tensor


class Objective(nn.Module):
    """The training loss as a module, so that accelerate can wrap it for several devices.

    Section 3.2 of Liu et al., 2023 (arXiv:2303.11328); dropout for guidance as its code draws it: one uniform number
    r per sample, tokens dropped where r < 2u, latent where u <= r < 3u.
    """

    def __init__(self, model: ViewModel, settings: ObjectiveSettings) -> None:
        super().__init__()
        if settings.weighting == "min_snr_5" and model.schedule.ends_in_noise:
            raise ValueError(
                f"weighting min_snr_5 gives the last step of the schedule {model.settings.schedule!r}, which holds no "
                "signal, no weight at all; take weighting=uniform"
            )
        self.model = model
        self.settings = settings

    def forward(self, batch: PairBatch, chance: torch.Generator | Draws) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss () and its parts; what is random comes from a generator (CPU), or is given."""
        model, settings = self.model, self.settings
        draws = chance if isinstance(chance, Draws) else self.draw(batch, chance)
        told = OrbitPose(batch.source.azimuth, batch.source.elevation + draws.elevation_error, batch.source.radius)

        tokens, latent = self._look(batch)
        condition = model.join(tokens, latent, batch.relative, told, draws.drop)
        losses = denoising_loss(
            model.network,
            model.schedule,
            batch.latent,
            draws.noise,
            draws.step,
            condition,
            model.settings.prediction,
            settings.weighting,
        )
        loss = losses.mean()
        parts = {"diffusion": loss.detach()}
        if settings.elevation_weight and model.elevation_head is not None:
            guess = model.elevation_head(tokens).float()
            elevation = (guess - batch.source.elevation).square().mean()
            loss = loss + settings.elevation_weight * elevation
            parts["elevation_rms"] = elevation.detach().sqrt()
        return loss, parts

    def _look(self, batch: PairBatch) -> tuple[Tensor, Tensor]:
        """Tokens and latents of the inputs; the encoders only work for what is not precomputed."""
        tokens, latent = batch.precomputed.tokens, batch.precomputed.latent
        if tokens is None and latent is None:
            return self.model.look(batch.photo)
        if tokens is None:
            tokens = self.model.image_encoder(batch.photo)
        if latent is None:
            latent = self.model.autoencoder.encode_condition(batch.photo)
        return tokens, latent

    def draw(self, batch: PairBatch, generator: torch.Generator) -> Draws:
        """Noise, steps and dropout of a batch, on its device."""
        settings, count, device = self.settings, len(batch.latent), batch.latent.device
        step = (self._times(count, generator) * len(self.model.schedule)).long().to(device)
        noise = torch.randn(batch.latent.shape, generator=generator).to(device)
        drop = self.drop_mask(torch.rand(count, generator=generator)).to(device)
        error = torch.randn(count, generator=generator).to(device) * settings.elevation_jitter
        return Draws(step, noise, drop, error)

    def _times(self, count: int, generator: torch.Generator) -> Tensor:
        """Places in the schedule, (B,) float64 in [0, 1)."""
        settings = self.settings
        if settings.times == "power":
            return torch.rand(count, generator=generator, dtype=torch.float64) ** settings.noise_power
        normal = torch.randn(count, generator=generator, dtype=torch.float64)
        return torch.sigmoid(settings.logit_mean + settings.logit_spread * normal).clamp(max=1 - 1e-9)

    def drop_mask(self, uniform: Tensor) -> Tensor:
        """Which samples lose their tokens and their latent, (B, 2) bool, from uniform numbers (B,)."""
        u = self.settings.drop
        if self.settings.drop_jointly:
            return (uniform < 2 * u)[:, None].expand(-1, 2)
        return torch.stack((uniform < 2 * u, (uniform >= u) & (uniform < 3 * u)), dim=1)
